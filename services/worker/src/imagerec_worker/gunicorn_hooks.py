"""Server hooks for gunicorn's configuration: ``on_starting`` and ``child_exit``.

They keep the metrics that the processes of a listener share, and do nothing where none are shared.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import multiprocess

if TYPE_CHECKING:
    from gunicorn.arbiter import Arbiter
    from gunicorn.workers.base import Worker

_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


def on_starting(_server: Arbiter) -> None:
    """Make the folder of the shared metrics, and forget those of an earlier start."""
    if _VARIABLE in os.environ:
        folder = Path(os.environ[_VARIABLE])
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob("*.db"):
            leftover.unlink()


def child_exit(_server: Arbiter, worker: Worker) -> None:
    """Take a process that ended out of the gauges; its counts stay in the sums."""
    if _VARIABLE in os.environ:
        multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
