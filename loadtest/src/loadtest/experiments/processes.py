"""Processes of this host, from /proc (Linux, proc(5)): trees, their processor time, and who listens on a port."""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_LISTENS = "0A"


def tree(pid: int) -> list[int]:
    """Return a process and all below it."""
    return [pid, *(below for child in _children(pid) for below in tree(child))]


def cpu_s(roots: Iterable[int], but: int | None = None) -> float:
    """Return the processor seconds that the trees have used, and those of ended processes that they have waited for.

    Each process counts once, and `but` not at all.
    """
    pids = {pid for root in roots for pid in tree(root)} - {but}
    found = (stat(pid)[11:15] for pid in pids)  # utime, stime, cutime, cstime
    return sum(int(ticks) for times in found for ticks in times) / _TICKS


def stat(pid: int) -> list[str]:
    """Return the fields after the process' name; none where it is gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return []


def all_are_seen() -> bool:
    """Whether this host's processes are all to be seen; in a container only its own are, and no thread of the kernel.

    Yet its /proc/stat counts the processor time of all.
    """
    with contextlib.suppress(OSError):
        return Path("/proc/2/comm").read_text().strip() == "kthreadd"
    return False


def root_of_listener(port: int) -> int | None:
    """Return the first process of the service that listens on a TCP port of this host.

    From the process that holds the socket it goes up as far as the session goes, so that a supervisor and all that it
    keeps are one service, but not up to a process that this one descends from.

    Returns:
        None where nothing listens there, or it belongs to a user whose sockets cannot be seen.
    """
    inodes = _listening(port)
    owners = [pid for pid in _all() if inodes & _sockets(pid)]
    if not owners:
        return None
    found = min(owners)
    ours = {os.getpid(), *_ancestors(os.getpid())}
    for parent in _ancestors(found):
        if parent in ours or parent == 1 or stat(parent)[3:4] != stat(found)[3:4]:
            break
        found = parent
    return found


def threads(pid: int) -> list[Path]:
    """Return the folders of a process' threads; none where it is gone."""
    with contextlib.suppress(OSError):
        return list(Path(f"/proc/{pid}/task").iterdir())
    return []


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for thread in threads(pid):  # each has the processes that it started
        with contextlib.suppress(OSError):
            found += [int(child) for child in (thread / "children").read_text().split()]
    return found


def _ancestors(pid: int) -> list[int]:
    """From the parent on upwards."""
    found: list[int] = []
    while (fields := stat(pid)) and (pid := int(fields[1])) > 0:
        found.append(pid)
    return found


def _all() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _sockets(pid: int) -> set[str]:
    """Inodes of a process' sockets; none where it is another user's."""
    found: set[str] = set()
    with contextlib.suppress(OSError):
        for file in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                kind, _, inode = str(file.readlink()).partition(":[")
                if kind == "socket":
                    found.add(inode.rstrip("]"))
    return found


def _listening(port: int) -> set[str]:
    found: set[str] = set()
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
                fields = line.split()  # sl local_address rem_address st … inode is the tenth
                if fields[3] == _LISTENS and int(fields[1].rpartition(":")[2], 16) == port:
                    found.add(fields[9])
    return found
