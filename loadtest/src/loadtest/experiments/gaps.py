"""Seconds between the answers of workers that have a queue: what a capacity is made of."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from loadtest.generate.samples import Sample

LEAST_GAPS = 20  # of each worker


def gaps_of(unloaded: Sequence[Sample], saturated: Sequence[Sample]) -> dict[str, list[float]]:
    """Seconds between a worker's answers, by worker and in their order: the samples behind a capacity.

    They are those of a worker that has a queue; where workers do not state their queue, of all their answers.
    """
    alone = [sample for sample in unloaded if sample.ok]
    busy = sorted((sample for sample in saturated if sample.ok), key=lambda sample: sample.done_s)
    totals = [sample.total_s for sample in busy if sample.total_s is not None]
    gaps = busy_gaps(alone, busy, float(np.mean(totals))) if totals else {}
    if are_enough(gaps):
        return gaps
    ends: dict[str, list[float]] = defaultdict(list)
    for sample in busy:
        ends[sample.worker or "unknown"].append(sample.done_s)
    return {name: np.diff(own).tolist() for name, own in ends.items()}


def are_enough(gaps: dict[str, list[float]]) -> bool:
    """Whether every worker has enough of them."""
    return bool(gaps) and all(len(own) >= LEAST_GAPS for own in gaps.values())


def busy_gaps(alone: Sequence[Sample], busy: Sequence[Sample], total_s: float) -> dict[str, list[float]]:
    """Gaps by worker of a load that leaves none idle; `alone` is one user, `total_s` the mean total of a worker."""
    # hosts' clocks differ: what a lone request seems to have queued is the zero of each worker's queue time
    zeros: dict[str | None, list[float]] = defaultdict(list)
    for sample in alone:
        if sample.queue_s is not None:
            zeros[sample.worker].append(sample.queue_s)
    threshold_s = max(0.003, 0.3 * total_s)
    last: dict[str, float] = {}
    gaps: dict[str, list[float]] = defaultdict(list)
    for sample in busy:
        if sample.worker is None or sample.queue_s is None:
            continue
        zero = float(np.median(zeros[sample.worker])) if zeros.get(sample.worker) else 0.0
        own = gaps[sample.worker]
        if sample.worker in last and sample.queue_s - zero > threshold_s:
            own.append(sample.done_s - last[sample.worker])
        last[sample.worker] = sample.done_s
    return dict(gaps)
