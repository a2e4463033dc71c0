"""The folder in which the processes of a listener share their metrics: for each a file of counters, one of histograms.

A process that has ended leaves its counts to one common file and nothing else, so a scrape costs the same after any
number of processes. Scrapes and legacies take turns by a lock: no count is missing from a sum, or in it twice.
Who ends a process sees to its legacy; a scrape sees to those of whom nobody has heard that they ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest, multiprocess
from prometheus_client.mmap_dict import MmapedDict

if TYPE_CHECKING:
    from gunicorn.glogging import Logger

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_LOCK = "lock"
_SUMMED = ("counter", "histogram")


def folder() -> Path | None:
    """Return the folder that the environment names; None when every process counts for itself."""
    return Path(os.environ[VARIABLE]) if VARIABLE in os.environ else None


def clear(shared: Path) -> None:
    """Make the folder and forget the metrics of an earlier start."""
    shared.mkdir(parents=True, exist_ok=True)
    for leftover in shared.glob("*.db"):
        leftover.unlink()


def inherit(shared: Path, pid: int) -> None:
    """Add the counts of the process ``pid``, which has ended, to those of all that ended before; forget its gauges."""
    with _locked(shared, fcntl.LOCK_EX):
        for kind in _SUMMED:
            own = shared / f"{kind}_{pid}.db"
            if own.is_file():
                try:
                    _add(own, shared / f"{kind}_ended.db")
                finally:
                    own.unlink()
        multiprocess.mark_process_dead(pid, str(shared))  # type: ignore[no-untyped-call]


def inherit_safely(pid: int, log: Logger | logging.Logger) -> None:
    """Call inherit where counts are shared. A damaged file of a killed process is logged and raises nothing."""
    if (shared := folder()) is not None:
        try:
            inherit(shared, pid)
        except Exception as error:
            log.warning("the counts of process %s are lost: %s", pid, error)


def render(shared: Path) -> bytes:
    """Return the sums of all processes in Prometheus' text format."""
    for pid in _unheard_of(shared):
        inherit_safely(pid, logging.getLogger("gunicorn.error"))
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry, str(shared))  # type: ignore[no-untyped-call]
    with _locked(shared, fcntl.LOCK_SH):
        return generate_latest(registry)


def _unheard_of(shared: Path) -> set[int]:
    """Return the processes that have ended and left files: children of one that was killed, for example."""
    ends = {path.stem.rpartition("_")[2] for path in shared.glob("*.db")}
    return {int(end) for end in ends if end.isdecimal() and not _is_alive(int(end))}


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except OSError:
        return False


def _add(source: Path, target: Path) -> None:
    total = MmapedDict(str(target))  # type: ignore[no-untyped-call]
    try:
        for key, value, stamp, _ in MmapedDict.read_all_values_from_file(str(source)):  # type: ignore[no-untyped-call]
            total.write_value(key, total.read_value(key)[0] + value, stamp)  # type: ignore[no-untyped-call]
    finally:
        total.close()  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def _locked(shared: Path, kind: int) -> Iterator[None]:
    with (shared / _LOCK).open("a") as lock:
        fcntl.flock(lock, kind)
        yield
