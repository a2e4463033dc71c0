"""Server hooks for gunicorn's configuration: ``on_starting``, ``child_exit`` and ``on_exit``.

The first two keep the metrics that the processes of a listener share, and do nothing where none are shared. The last
says why a listener ends that nobody asks (see :mod:`imagerec_worker.idleness`).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from imagerec_worker import idleness, shared_metrics
from imagerec_worker.on_demand import ASLEEP

if TYPE_CHECKING:
    from gunicorn.arbiter import Arbiter
    from gunicorn.workers.base import Worker


def on_starting(_server: Arbiter) -> None:
    """Make the folder of the shared metrics, and forget those of an earlier start."""
    if (shared := shared_metrics.folder()) is not None:
        shared_metrics.clear(shared)


def child_exit(server: Arbiter, worker: Worker) -> None:
    """Take a process that ended out of the gauges; its counts stay in the sums."""
    shared_metrics.inherit_safely(worker.pid, server.log)


def on_exit(server: Arbiter) -> None:
    """End with a status of its own where nobody has asked for long, so that a connection alone starts it anew."""
    shared = idleness.shared()
    if shared is not None and shared.ended:
        server.log.info("Nobody has asked for %g s: asleep until the next connection.", shared.limit_s)
        sys.exit(ASLEEP)
