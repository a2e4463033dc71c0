"""What processes cost: processor time and memory of everything below one, from /proc (Linux, proc(5))."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from loadtest.experiments.processes import cpu_s, stat, threads, tree

__all__ = ["Memory", "alive", "cpu_s", "memory", "program", "tree"]


class Memory(NamedTuple):
    """The resident memory of a system, in MB.

    Attributes:
        processes: How many there are.
        private_mb: Pages that one process alone has mapped, summed over the processes.
        shared_mb: The other resident pages of the process that has most of them: what several share, counted once.
        largest_mb: All resident pages of the process that has most.
    """

    processes: int
    private_mb: float
    shared_mb: float
    largest_mb: float


def alive(pid: int) -> bool:
    """Tell whether a process is there and has not ended."""
    fields = stat(pid)
    return bool(fields) and fields[0] not in {"Z", "X"}


def exact_cpu_ms(root: int) -> float:
    """Return the processor milliseconds of the threads that a tree has now, to the nanosecond (proc_pid_schedstat)."""
    spent_ns = 0
    for pid in tree(root):
        for thread in threads(pid):
            with contextlib.suppress(OSError):
                spent_ns += int((thread / "schedstat").read_text().split()[0])
    return spent_ns / 1e6


def pin(root: int, core: int) -> None:
    """Let the processes of a tree run on one core."""
    for pid in tree(root):
        os.sched_setaffinity(pid, {core})


def memory(roots: Iterable[int]) -> Memory:
    """Return what the trees hold in memory; what else maps the same pages hardly changes it."""
    found = [size for root in roots for pid in tree(root) if (size := _resident_and_private(pid))]
    private = sum(private for _, private in found)
    shared = max((resident - private for resident, private in found), default=0)
    largest = max((resident for resident, _ in found), default=0)
    return Memory(len(found), *(round(size / 1e6, 1) for size in (private, shared, largest)))


def program(roots: Iterable[int], name: str) -> int | None:
    """Return the topmost process of the trees that runs a program of this name; None where there is none."""
    for pid in (pid for root in roots for pid in tree(root)):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/exe").readlink().name == name:
                return pid
    return None


def _resident_and_private(pid: int) -> tuple[int, int] | None:
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
        sizes = {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines)}
        return sizes["Rss"], sizes["Private_Clean"] + sizes["Private_Dirty"]
    return None
