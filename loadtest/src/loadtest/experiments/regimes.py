"""How long a worker takes after idleness and how long when it is busy, from when answers came.

Only the client's clock is used. A worker is taken for one queue: first come, first served, by all of its processes.
"""

import heapq
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from loadtest.arrays import Floats
from loadtest.generate.samples import Sample

LEAST = 10  # samples that make a regime


def lone(samples: Sequence[Sample], processes: int) -> list[Sample]:
    """Answers to requests that left while a process of their worker was idle."""
    return [one for one, free_at in _in_turn(samples, processes) if one.sent_s >= free_at]


def network_of(samples: Sequence[Sample], processes: int, overhead_s: float) -> float:
    """Mean time that an answer takes outside its worker, in seconds: client, network, balancer; never negative.

    Where the balancer states how long it waited for the worker, it is the rest of the response time. Elsewhere it is
    what the worker's own total and the overhead do not explain.

    Args:
        samples: Of a load that leaves workers idle.
        processes: Server processes of each worker.
        overhead_s: What a request occupies a process besides the worker's own total.
    """
    alone = lone(samples, processes)
    outside = [one.response_s - one.upstream_s for one in alone if one.upstream_s is not None]
    if len(outside) < LEAST:
        outside = [one.response_s - one.total_s - overhead_s for one in alone if one.total_s is not None]
    return max(0.0, float(np.mean(outside))) if outside else 0.0


def after_idleness(samples: Sequence[Sample], processes: int, network_s: float) -> dict[str, Floats]:
    """Service times in seconds of requests that found a process idle, by worker: response time less the network's."""
    found: dict[str, list[float]] = defaultdict(list)
    for one in lone(samples, processes):
        found[str(one.worker)].append(max(0.0, one.response_s - network_s))
    return {name: np.array(times) for name, times in sorted(found.items())}


def when_busy(samples: Sequence[Sample], processes: int, network_s: float) -> dict[str, Floats]:
    """Service times in seconds of requests that waited for others, by worker: from a free process to the answer.

    Requests that left about when a process became free are in neither regime.
    """
    found: dict[str, list[float]] = defaultdict(list)
    for one, free_at in _in_turn(samples, processes):
        if free_at - one.sent_s > 2 * network_s:
            found[str(one.worker)].append(max(0.0, one.done_s - free_at))
    return {name: np.array(times) for name, times in sorted(found.items())}


def answered_hz(samples: Sequence[Sample]) -> float | None:
    """Answers a second while the load lasted, its first quarter left out; None where there are too few."""
    last_s = max((one.sent_s for one in samples), default=0.0)
    done = [one.done_s for one in samples if one.ok and last_s / 4 <= one.done_s <= last_s]
    return None if len(done) < LEAST else (len(done) - 1) / (max(done) - min(done))


def _in_turn(samples: Sequence[Sample], processes: int) -> Iterator[tuple[Sample, float]]:
    """Each answer, and when a process of its worker became free of the requests before it, on the client's clock."""
    workers: dict[str, list[Sample]] = defaultdict(list)
    for one in samples:
        if one.ok and one.worker is not None:
            workers[one.worker].append(one)
    for own in workers.values():
        # one process answers in the order in which it serves; of several, requests are served in the order of sending
        own.sort(key=lambda one: one.done_s if processes == 1 else one.sent_s)
        latest: list[float] = []  # the last ends, one a process; the earliest of them is when one becomes free
        for one in own:
            if len(latest) < processes:
                yield one, -np.inf
                heapq.heappush(latest, one.done_s)
            else:
                yield one, latest[0]
                heapq.heappushpop(latest, one.done_s)
