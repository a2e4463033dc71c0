"""What processes cost: processor time and memory of everything below one, from /proc (Linux, proc(5))."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> list[int]:
    """Return a process and all below it."""
    return [pid, *(below for child in _children(pid) for below in tree(child))]


def cpu_s(roots: Iterable[int]) -> float:
    """Return the processor seconds that the trees have used; a process that ended is no longer counted."""
    return sum(_cpu_s(pid) for root in roots for pid in tree(root))


def memory_mb(roots: Iterable[int]) -> list[float]:
    """Return the proportional set size of each process in the trees, in MB: a shared page counts for its part."""
    found = (_pss_bytes(pid) for root in roots for pid in tree(root))
    return [round(size / 1e6, 1) for size in found if size]


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):  # each thread has the processes that it started
        with contextlib.suppress(OSError):
            found += [int(child) for child in thread.read_text().split()]
    return found


def _cpu_s(pid: int) -> float:
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS
    return 0.0


def _pss_bytes(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
