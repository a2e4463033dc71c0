#!/usr/bin/python
"""Ansible module: programs that supervisor keeps alive, their supervisord, and what it has lost."""

from __future__ import annotations

import configparser
import stat
import xmlrpc.client
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.supervised import UNREACHABLE
from ansible.module_utils.supervised_programs import Supervisor

DOCUMENTATION = """
module: service_supervisor
short_description: Keeps programs alive by supervisor
description:
  - Several hosts of one machine may share a supervisord. It starts with the first program and ends with the last.
  - Where supervisord was killed, the processes of a program remain and serve. They are ended before anything else.
options:
  folder:
    description: Folder of supervisord.conf, supervisord.pid, and conf.d with a file for each program.
    type: path
    required: true
  socket:
    description: Where supervisord listens. Its folder is made for this user alone where it is not the folder above.
    type: path
    required: true
  supervisord:
    description: The program supervisord; needed for present.
    type: path
  names:
    description: The programs. What is returned is about the first.
    type: list
    required: true
  configuration:
    description: Text of supervisord.conf, for present.
    type: str
  programs:
    description: Text of the file of each program, in the order of names. present writes those that differ.
    type: list
  folders:
    description: What present makes first, for all to read.
    type: list
    default: []
  state:
    description:
      - present starts what has no process or another configuration; absent stops the programs and removes their files.
      - reloaded has the first read its configuration again; restarted starts it anew and waits for its port;
        read changes nothing.
    choices: [present, absent, reloaded, restarted, read]
    default: present
  command:
    description: The command of a reload; without, the program gets the signal HUP.
    type: list
  port:
    description: address and port of the first program; nothing is waited for without.
    type: dict
author: imagerec
"""
RETURN = """
started:
  description: Whether present has given the first program new processes.
  returned: always
  type: bool
differ:
  description: The files that were not as given.
  returned: always
  type: list
running:
  description: Whether it has a process, or is about to, or one remains that no supervisord looks after.
  returned: always
  type: bool
"""


def read(file: Path) -> str:
    """Return what a file holds; nothing of one that cannot be read."""
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def make(folders: list[str], *, dry: bool) -> bool:
    """Make folders that all may read; return whether one was not there, or not so.

    Raises:
        NotADirectoryError: Something else has its name.
    """
    wrong = [path for path in map(Path, folders) if not path.is_dir() or stat.S_IMODE(path.stat().st_mode) != 0o755]
    for path in wrong if not dry else []:
        if path.exists() and not path.is_dir():
            raise NotADirectoryError(f"{path} is no folder; move it away, then run this again")
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o755)
    return bool(wrong)


def main() -> None:
    """Do what is asked for, and say how the first program is."""
    module = AnsibleModule(
        argument_spec={
            "folder": {"type": "path", "required": True},
            "socket": {"type": "path", "required": True},
            "supervisord": {"type": "path"},
            "names": {"type": "list", "elements": "str", "required": True},
            "configuration": {"type": "str"},
            "programs": {"type": "list", "elements": "str", "default": []},
            "folders": {"type": "list", "elements": "path", "default": []},
            "state": {"choices": ["present", "absent", "reloaded", "restarted", "read"], "default": "present"},
            "command": {"type": "list", "elements": "str", "default": []},
            "port": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    state, dry = module.params["state"], module.check_mode
    supervisor = Supervisor(module.params)
    try:
        made = state == "present" and make(module.params["folders"], dry=dry)
        altered = supervisor.altered()
        differences = [
            {"before_header": str(file), "before": read(file), "after_header": str(file), "after": text}
            for file, text in altered.items()
        ]
        changed = state in {"reloaded", "restarted"} or (state == "present" and bool(altered))
        if state == "absent":
            changed = supervisor.absent(dry=dry)
        elif state == "present" and not dry:
            changed = supervisor.present()
        elif state == "reloaded" and not dry:
            supervisor.reload(module.params["command"])
        elif state == "restarted" and not dry:
            supervisor.restart(module.params["port"])
        changed = changed or made
        running = supervisor.is_running()
    except (PermissionError, NotADirectoryError) as error:
        module.fail_json(msg=str(error))
    except xmlrpc.client.Fault as fault:
        module.fail_json(msg=f"supervisord at {supervisor.socket} refuses: {fault.faultString}")
    except (*UNREACHABLE, ValueError, KeyError, configparser.Error) as error:
        module.fail_json(msg=f"supervisord at {supervisor.socket}, or a file of {supervisor.folder}: {error}")
    shown = {"diff": differences} if module._diff else {}
    module.exit_json(
        changed=changed, started=supervisor.started, running=running, differ=list(map(str, altered)), **shown
    )


if __name__ == "__main__":
    main()
