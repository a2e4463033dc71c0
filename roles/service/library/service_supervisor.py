#!/usr/bin/python
"""Ansible module: the processes of a supervised program that no supervisord looks after."""

from __future__ import annotations

import configparser
import os
import shlex
import signal
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: service_orphans
short_description: Ends the processes of a supervised program that no supervisord looks after
description:
  - Finds them by the command of the program's configuration. They remain, and serve, where supervisord was killed.
  - Sends them the program's stop signal, and kills what is left after its stop time. In check mode it only counts.
options:
  program:
    description: The program's file in supervisor's folder conf.d.
    type: path
    required: true
  pidfile:
    description: The file in which supervisord writes its process id.
    type: path
    required: true
author: imagerec
"""
RETURN = """
orphans:
  description: The process ids that were found.
  returned: always
  type: list
"""


def read_program(path: Path) -> tuple[list[str], signal.Signals, float]:
    """Return a program's command, its stop signal and the seconds that a stop may take; no command without the file."""
    parser = configparser.RawConfigParser(inline_comment_prefixes=(" ;",))
    parser.read(path, encoding="utf-8")
    if not parser.sections():
        return [], signal.SIGTERM, 0
    section = parser[parser.sections()[0]]
    return (
        shlex.split(section["command"].replace("%%", "%")),
        signal.Signals[f"SIG{section.get('stopsignal', 'TERM')}"],
        section.getfloat("stopwaitsecs", 10),
    )


def commands() -> dict[int, tuple[int, str]]:
    """Return every process: its parent and its command line, the arguments joined by blanks."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")
            parent = int((entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
        except (OSError, IndexError, ValueError):  # it has ended meanwhile
            continue
        found[int(entry.name)] = parent, line
    return found


def supervisor_pid(pidfile: Path, processes: dict[int, tuple[int, str]]) -> int | None:
    """Return the process id of the supervisord that lives; None where it is gone."""
    try:
        pid = int(pidfile.read_text())
    except (OSError, ValueError):
        return None
    return pid if "supervisord" in processes.get(pid, (0, ""))[1] else None


def orphans(command: list[str], pidfile: Path) -> list[int]:
    """Return the processes of a command, however they call themselves before it, without a supervisord above them."""
    if not command:
        return []
    processes = commands()
    supervisor = supervisor_pid(pidfile, processes)

    def is_looked_after(pid: int) -> bool:
        while pid in processes and pid != supervisor:
            pid = processes[pid][0]
        return pid == supervisor

    line = " ".join(command)
    return sorted(pid for pid, (_, text) in processes.items() if text.endswith(line) and not is_looked_after(pid))


def main() -> None:
    """Find them, end them, say which."""
    module = AnsibleModule(
        argument_spec={"program": {"type": "path", "required": True}, "pidfile": {"type": "path", "required": True}},
        supports_check_mode=True,
    )
    pidfile = Path(module.params["pidfile"])
    command, stop, seconds = read_program(Path(module.params["program"]))
    found = orphans(command, pidfile)
    left = found
    if not module.check_mode:
        deadline = time.monotonic() + seconds
        for number in (stop, signal.SIGKILL):
            for pid in left:
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    continue
                except PermissionError:
                    module.fail_json(
                        msg=f"process {pid} ({' '.join(command)}) belongs to another user; end it, then run this again"
                    )
            while (left := orphans(command, pidfile)) and time.monotonic() < deadline:
                time.sleep(0.1)
            deadline = time.monotonic() + 5
    module.exit_json(changed=bool(found), orphans=found)


if __name__ == "__main__":
    main()
