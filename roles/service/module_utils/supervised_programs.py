"""The programs that a host gives to supervisor: started, stopped, and what a supervisord that was killed has left."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import stat
import subprocess
import time
import xmlrpc.client
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible.module_utils.supervised import (
    BACKOFF,
    DONE_ALREADY,
    MODE,
    RUNNING,
    SOON_ENDED,
    STARTING,
    UNREACHABLE,
    about,
    connect,
    end_orphans,
    holds,
    is_open,
    lives,
    orphans,
    read_program,
    write,
)

WAIT_S = 130.0  # more than a program has for its end


class Supervisor:
    """The supervisord of a folder, and this module's programs."""

    def __init__(self, params: dict[str, Any]) -> None:
        self.folder = Path(params["folder"])
        self.socket = Path(params["socket"])
        self.pidfile = self.folder / "supervisord.pid"
        self.supervisord = params["supervisord"]
        self.names: list[str] = params["names"]
        texts = dict(zip(map(self.file_of, self.names), params["programs"], strict=False))
        if params["configuration"]:
            texts[self.folder / "supervisord.conf"] = params["configuration"]
        self.texts: dict[Path, str] = texts
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
        self.await_end()
        command = [self.supervisord, "-c", str(self.folder / "supervisord.conf")]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)  # noqa: S603 - of the inventory
        if done.returncode != 0:
            raise OSError(f"supervisord does not start: {(done.stderr or done.stdout).strip()}")
        return True

    def await_end(self) -> None:
        """Wait until a supervisord that is about to end has closed its socket."""
        deadline = time.monotonic() + WAIT_S
        while is_open(str(self.socket)) and time.monotonic() < deadline:
            time.sleep(0.05)

    def do(self, method: str, name: str) -> None:
        """Do something to a program, unless that is done already; whether it stays up is for others to find out."""
        try:
            getattr(self.interface, method)(name)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode not in DONE_ALREADY | SOON_ENDED:
                raise

    def forget(self, name: str) -> None:
        """Stop a program and let supervisord forget it."""
        self.do("stopProcess", name)
        self.do("removeProcessGroup", name)

    def altered(self) -> dict[Path, str]:
        """Return the files that are not as given, with their texts."""
        return {
            file: text
            for file, text in self.texts.items()
            if not holds(file, text) or stat.S_IMODE(file.stat().st_mode) != MODE
        }

    def configure(self) -> bool:
        """Write the files that are not as given; return whether there was any."""
        with self.alone():
            altered = self.altered()
            for file, text in altered.items():
                write(file, text)
        return bool(altered)

    def end_orphans(self) -> list[int]:
        """End what a supervisord that was killed has left of the programs, as their files name it."""
        return [pid for name in self.names for pid in end_orphans(self.file_of(name), self.pidfile)]

    def present(self) -> bool:
        """Write the files, and bring the programs up as they say; return whether anything was changed."""
        ended = self.end_orphans()  # by the command that they were started with
        written = self.configure()
        if written:  # a file that was lost or damaged named none
            ended += self.end_orphans()
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
        return changed or written or bool(ended)

    def absent(self, *, dry: bool) -> bool:
        """Stop the programs, remove their files, and end supervisord after the last one."""
        files = [self.file_of(name) for name in self.names]
        changed = any(file.exists() for file in files)
        if dry:
            return changed
        for name in self.names:
            if self.file_of(name).exists() and lives(self.interface):
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
        with contextlib.suppress(*UNREACHABLE):
            if lives(self.interface):
                if self.interface.getAllProcessInfo():
                    return
                self.interface.shutdown()
        self.await_end()
        self.socket.unlink(missing_ok=True)
        if self.socket.parent != self.folder:
            with contextlib.suppress(OSError):
                self.socket.parent.rmdir()

    def reload(self, command: list[str]) -> None:
        """Have the first program read its configuration again, or start it where it has no process."""
        if command and about(self.interface, self.names[0]).get("state") in {STARTING, RUNNING}:
            done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - of the definition
            if done.returncode != 0:
                raise OSError(f"{self.names[0]} is not reloaded: {done.stderr.strip()}")
            return
        try:
            self.interface.signalProcess(self.names[0], "HUP")
        except xmlrpc.client.Fault as fault:
            if fault.faultCode not in DONE_ALREADY:
                raise
            self.do("startProcess", self.names[0])

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
