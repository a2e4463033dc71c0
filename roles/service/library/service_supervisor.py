#!/usr/bin/python
"""Ansible module: programs that supervisor keeps alive, their supervisord, and what it has lost."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import subprocess
import time
import xmlrpc.client
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.supervised import (
    BACKOFF,
    DONE_ALREADY,
    RUNNING,
    STARTING,
    UNREACHABLE,
    about,
    connect,
    end_orphans,
    lives,
    orphans,
    read_program,
)

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
  state:
    description:
      - present starts what has no process or another configuration; absent stops the programs and removes their files.
      - reloaded sends the first a signal; restarted starts it anew and waits for its port. read changes nothing.
    choices: [present, absent, reloaded, restarted, read]
    default: present
  signal:
    description: The signal of a reload, without SIG.
    type: str
    default: HUP
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
running:
  description: Whether it has a process, or is about to, or one remains that no supervisord looks after.
  returned: always
  type: bool
"""
WAIT_S = 30.0


class Supervisor:
    """The supervisord of a folder, and this module's programs."""

    def __init__(self, params: dict[str, Any]) -> None:
        self.folder = Path(params["folder"])
        self.socket = Path(params["socket"])
        self.pidfile = self.folder / "supervisord.pid"
        self.supervisord = params["supervisord"]
        self.names: list[str] = params["names"]
        self.interface = connect(str(self.socket))
        self.started = False

    def file_of(self, name: str) -> Path:
        """Return a program's file."""
        return self.folder / "conf.d" / f"{name}.conf"

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep this module's other runs on this machine away from the same supervisord."""
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def is_running(self) -> bool:
        """Tell whether the first program has a process, also where supervisord is gone: the port is theirs."""
        known = about(self.interface, self.names[0]).get("state") in {STARTING, RUNNING}
        return known or bool(orphans(read_program(self.file_of(self.names[0]))[0], self.pidfile))

    def make_socket_folder(self) -> None:
        """Make the folder of the socket for this user alone: somebody else may have made it first."""
        folder = self.socket.parent
        if folder == self.folder:
            return
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        if folder.is_symlink() or not folder.is_dir() or folder.stat().st_uid != os.geteuid():
            raise PermissionError(f"{folder} belongs to another user or is no folder; remove it, then run this again")

    def start(self) -> bool:
        """Start supervisord unless it lives; it starts every program of its folder."""
        if lives(self.interface):
            return False
        command = [self.supervisord, "-c", str(self.folder / "supervisord.conf")]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)  # noqa: S603 - of the inventory
        if done.returncode != 0:
            raise OSError(f"supervisord does not start: {(done.stderr or done.stdout).strip()}")
        return True

    def do(self, method: str, name: str) -> None:
        """Do something to a program, unless that is done already."""
        try:
            getattr(self.interface, method)(name)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode not in DONE_ALREADY:
                raise

    def forget(self, name: str) -> None:
        """Stop a program and let supervisord forget it."""
        self.do("stopProcess", name)
        self.do("removeProcessGroup", name)

    def present(self) -> bool:
        """Bring the programs up as their files say; return whether anything was changed."""
        ended = [pid for name in self.names for pid in end_orphans(self.file_of(name), self.pidfile)]
        with self.alone():
            self.make_socket_folder()
            changed = self.started = self.start()
            ((added, others, _),) = self.interface.reloadConfig()
            for name in self.names:
                if name in others:
                    self.forget(name)
                if name in others or name in added:
                    self.do("addProcessGroup", name)
                elif about(self.interface, name).get("state") not in {STARTING, RUNNING, BACKOFF}:
                    self.do("startProcess", name)
                else:
                    continue
                changed = True
                self.started |= name == self.names[0]
        return changed or bool(ended)

    def absent(self, *, dry: bool) -> bool:
        """Stop the programs, remove their files, and end supervisord after the last one."""
        files = [self.file_of(name) for name in self.names]
        changed = any(file.exists() for file in files)
        if dry:
            return changed
        if lives(self.interface):
            for name in self.names:
                self.forget(name)
        for file in files:
            changed |= bool(end_orphans(file, self.pidfile))
            file.unlink(missing_ok=True)
            file.with_suffix(".logrotate").unlink(missing_ok=True)
        if self.folder.is_dir():
            with self.alone():
                self.end()
        return changed

    def end(self) -> None:
        """End supervisord where it has no program left, and remove what it leaves."""
        if lives(self.interface):
            if self.interface.getAllProcessInfo():
                return
            self.interface.shutdown()
            deadline = time.monotonic() + WAIT_S
            while self.socket.exists() and time.monotonic() < deadline:
                time.sleep(0.05)
        self.socket.unlink(missing_ok=True)
        if self.socket.parent != self.folder:
            with contextlib.suppress(OSError):
                self.socket.parent.rmdir()

    def restart(self, port: dict[str, Any]) -> None:
        """Start the first program anew: one at a time, so that another host's can be asked meanwhile."""
        with self.alone():
            self.do("stopProcess", self.names[0])
            self.do("startProcess", self.names[0])
            deadline = time.monotonic() + WAIT_S
            while port and time.monotonic() < deadline:
                try:
                    socket.create_connection((port["address"], int(port["port"])), 1).close()
                except OSError:
                    time.sleep(0.1)
                else:
                    return


def main() -> None:
    """Do what is asked for, and say how the first program is."""
    module = AnsibleModule(
        argument_spec={
            "folder": {"type": "path", "required": True},
            "socket": {"type": "path", "required": True},
            "supervisord": {"type": "path"},
            "names": {"type": "list", "elements": "str", "required": True},
            "state": {"choices": ["present", "absent", "reloaded", "restarted", "read"], "default": "present"},
            "signal": {"type": "str", "default": "HUP"},
            "port": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    state, dry = module.params["state"], module.check_mode
    supervisor = Supervisor(module.params)
    first = supervisor.names[0]
    changed = state in {"reloaded", "restarted"}
    try:
        if state == "absent":
            changed = supervisor.absent(dry=dry)
        elif state == "present" and not dry:
            changed = supervisor.present()
        elif state == "reloaded" and not dry:
            supervisor.interface.signalProcess(first, module.params["signal"])
        elif state == "restarted" and not dry:
            supervisor.restart(module.params["port"])
    except xmlrpc.client.Fault as fault:
        module.fail_json(msg=f"supervisor: {fault.faultString}")
    except UNREACHABLE as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=changed, started=supervisor.started, running=supervisor.is_running())


if __name__ == "__main__":
    main()
