"""What the modules of this role know of supervisor: its socket, its programs, and the processes that it has lost."""

from __future__ import annotations

import configparser
import contextlib
import http.client
import os
import shlex
import signal
import socket
import time
import xml.parsers.expat
import xmlrpc.client
from pathlib import Path
from typing import Any

# Of supervisor's documentation, "Process States" and the faults of its XML-RPC interface.
STARTING, RUNNING, BACKOFF = 10, 20, 30
# There is no such program; it runs; it does not run; it is added.
DONE_ALREADY = {10, 60, 70, 90}
# The program ended within its first second, or could not be started at all: its log says why.
SOON_ENDED = {40, 50}
MODE = 0o644  # of a file that is written
UNREACHABLE = (OSError, http.client.HTTPException, xmlrpc.client.ProtocolError, xml.parsers.expat.ExpatError)


class UnixConnection(http.client.HTTPConnection):
    """A connection over a Unix socket."""

    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self.path = path

    def connect(self) -> None:
        """Open it."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(self.path)
        except OSError:
            self.sock.close()
            raise


class _Transport(xmlrpc.client.Transport):
    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__()
        self.path = path
        self.timeout_s = timeout_s

    def make_connection(self, host: Any) -> http.client.HTTPConnection:  # noqa: ARG002
        return UnixConnection(self.path, self.timeout_s)


def connect(path: str, timeout_s: float = 600) -> Any:
    """Return supervisord's interface; its methods raise OSError where nobody listens at the socket's path."""
    return xmlrpc.client.ServerProxy("http://localhost/RPC2", _Transport(path, timeout_s)).supervisor


def lives(supervisor: Any) -> bool:
    """Ask whether supervisord answers; one that is about to end does not."""
    try:
        return bool(supervisor.getPID())
    except (*UNREACHABLE, xmlrpc.client.Error):
        return False


def is_open(path: str) -> bool:
    """Tell whether somebody listens at a socket."""
    try:
        with contextlib.closing(UnixConnection(path, timeout_s=1)) as connection:
            connection.connect()
    except OSError:
        return False
    return True


def about(supervisor: Any, name: str) -> dict[str, Any]:
    """Return what supervisord says of a program, as its getProcessInfo; empty where it has none, or does not answer."""
    try:
        said = supervisor.getProcessInfo(name)
    except (*UNREACHABLE, xmlrpc.client.Error):
        return {}
    return said if isinstance(said, dict) else {}


def holds(file: Path, text: str) -> bool:
    """Tell whether a file holds a text; one that cannot be read holds none."""
    try:
        return file.read_text(encoding="utf-8") == text
    except (OSError, UnicodeDecodeError):
        return False


def write(file: Path, text: str) -> None:
    """Give a file a text that all may read, whole or not at all."""
    beside = file.with_name(f"{file.name}.new")
    beside.write_text(text, encoding="utf-8")
    beside.chmod(MODE)
    beside.replace(file)


def read_program(path: Path) -> tuple[list[str], signal.Signals, float]:
    """Return a program's command, its stop signal and the seconds that a stop may take.

    A file that is lost or damaged has no command.
    """
    parser = configparser.RawConfigParser(inline_comment_prefixes=(" ;",))
    try:
        parser.read(path, encoding="utf-8")
        section = parser[parser.sections()[0]]
        return (
            shlex.split(section["command"].replace("%%", "%")),
            signal.Signals[f"SIG{section.get('stopsignal', 'TERM')}"],
            section.getfloat("stopwaitsecs", 10),
        )
    except (configparser.Error, LookupError, ValueError):
        return [], signal.SIGTERM, 0


def _commands() -> dict[int, tuple[int, str]]:
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


def _supervisor_pid(pidfile: Path, processes: dict[int, tuple[int, str]]) -> int | None:
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
    processes = _commands()
    supervisor = _supervisor_pid(pidfile, processes)

    def is_looked_after(pid: int) -> bool:
        while pid in processes and pid != supervisor:
            pid = processes[pid][0]
        return pid == supervisor

    line = " ".join(command)
    return sorted(pid for pid, (_, text) in processes.items() if text.endswith(line) and not is_looked_after(pid))


def end_orphans(program: Path, pidfile: Path) -> list[int]:
    """End the processes of a program that no supervisord looks after; kill what is left after its stop time.

    Args:
        program: its file in supervisor's folder conf.d.
        pidfile: the file in which supervisord writes its process id.

    Returns:
        The process ids that were found.

    Raises:
        PermissionError: one belongs to another user.
    """
    command, stop, seconds = read_program(program)
    found = left = orphans(command, pidfile)
    deadline = time.monotonic() + seconds
    for number in (stop, signal.SIGKILL):
        for pid in left:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
            except PermissionError as error:
                raise PermissionError(
                    f"process {pid} ({' '.join(command)}) belongs to another user; end it, then run this again"
                ) from error
        while left and (left := orphans(command, pidfile)) and time.monotonic() < deadline:
            time.sleep(0.1)
        deadline = time.monotonic() + 5
    return found
