"""Server hooks for gunicorn's configuration: ``on_starting`` and ``child_exit``.

They keep the metrics that the processes of a listener share, and do nothing where none are shared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from imagerec_worker import shared_metrics

if TYPE_CHECKING:
    from gunicorn.arbiter import Arbiter
    from gunicorn.workers.base import Worker


def on_starting(_server: Arbiter) -> None:
    """Make the folder of the shared metrics, and forget those of an earlier start."""
    if (shared := shared_metrics.folder()) is not None:
        shared_metrics.clear(shared)


def child_exit(server: Arbiter, worker: Worker) -> None:
    """Take a process that ended out of the gauges; its counts stay in the sums."""
    if (shared := shared_metrics.folder()) is not None:
        try:
            shared_metrics.inherit(shared, worker.pid)
        except Exception as error:  # half a file of a killed process must not end the listener
            server.log.warning("the counts of process %s are lost: %s", worker.pid, error)
