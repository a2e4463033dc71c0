"""What nginx is told: the list of servers, of which some are marked down, and whether anybody serves.

The members of the list belong to the deployment, the mark `down` belongs to this program. Each change is written
beside and renamed; nginx reads it when it is told to (HUP).
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

# This program, and the command by which anybody else has nginx reload, say for 0.8 s that clients are parted with.
_KILLED_S = 5.0
_LINE = re.compile(r"server (?P<address>\S+):(?P<port>\d+)(?P<options>[^;#]*?)(?P<down> down)?;  # (?P<name>\S+)")


@dataclass(frozen=True, slots=True)
class Server:
    """A member of the list: a worker's name and where it listens."""

    name: str
    address: str
    port: int
    down: bool

    @property
    def upstream(self) -> str:
        """How the access log calls it."""
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


def servers_in(text: str) -> list[Server]:
    """Return the members of a list."""
    found = map(_LINE.fullmatch, text.splitlines())
    return [
        Server(line["name"], line["address"].strip("[]"), int(line["port"]), line["down"] is not None)
        for line in found
        if line is not None
    ]


def marked(text: str, down: Collection[str]) -> str:
    """Return the list with ``down`` on exactly these names; every other line and letter stays."""

    def mark(line: str) -> str:
        found = _LINE.fullmatch(line)
        if found is None:
            return line
        flag = " down" if found["name"] in down else ""
        return f"server {found['address']}:{found['port']}{found['options']}{flag};  # {found['name']}"

    return "".join(f"{mark(line)}\n" for line in text.splitlines())


def serves_text(*, serves: bool) -> str:
    """Return the file that sets the variable by which nginx knows whether anybody serves."""
    return f"map $server_port $anybody_serves {{ default {int(serves)}; }}\n"


class Nginx:
    """The files that nginx includes, and its process."""

    def __init__(self, servers: Path, serves: Path, pid: Path) -> None:
        self._servers = servers
        self._serves = serves
        self._pid = pid
        # While one of these is there, each answer is the last of its connection. The other is the reload command's.
        self._parting, self._reloading = servers.with_name("parting"), servers.with_name("reloading")

    def list(self) -> str:
        """Return the list as it stands; empty where there is none yet.

        Raises:
            OSError: it is there but cannot be read.
            UnicodeError: it is not text.
        """
        try:
            return self._servers.read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""

    def mark(self, read: str, text: str) -> bool:
        """Write the list that was made of ``read``; return whether it was written.

        Nothing is written where nothing changes, or where the list is no longer what was read: then a deployment has
        written it meanwhile.
        """
        return text != read and _replace(self._servers, text, read)

    def tell(self, *, serves: bool) -> bool:
        """Write whether anybody serves where that changes; return whether it did."""
        text = serves_text(serves=serves)
        with contextlib.suppress(OSError, UnicodeError):
            if self._serves.read_text(encoding="utf-8") == text:
                return False
        return _replace(self._serves, text)

    def part(self, *, wanted: bool) -> None:
        """Have nginx keep no client's connection beyond the answer that is due on it; or keep them again.

        Raises:
            OSError: the file that says so cannot be written.
        """
        if wanted:
            self._parting.touch()
        else:
            self._parting.unlink(missing_ok=True)

    def tidy(self) -> None:
        """Have clients' connections kept again where an agent or a reload command was killed before it could say so."""
        for left in (self._parting, self._reloading):
            with contextlib.suppress(OSError):
                if abs(time.time() - left.stat().st_mtime) > _KILLED_S:
                    left.unlink()

    def reload(self) -> bool:
        """Tell nginx to read its configuration again; return whether there was a process to tell.

        Raises:
            PermissionError: this process may not tell it.
        """
        try:
            pid = int(self._pid.read_text())
        except (OSError, ValueError):
            return False
        command = Path(f"/proc/{pid}/cmdline")
        # Where /proc hides other services the file alone decides: systemd removes it with the service.
        with contextlib.suppress(OSError):
            if b"nginx" not in command.read_bytes():
                return False
        try:
            os.kill(pid, signal.SIGHUP)
        except ProcessLookupError:
            return False
        return True


def _replace(path: Path, text: str, read: str | None = None) -> bool:
    aside = path.with_name(f".{path.name}.partial")
    with aside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())  # nginx could not start after a power cut with half a list
    aside.chmod(0o644)
    if read is not None and path.read_text(encoding="utf-8") != read:
        aside.unlink()
        return False
    aside.replace(path)
    return True
