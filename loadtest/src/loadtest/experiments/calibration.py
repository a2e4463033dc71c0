"""What a deployment can do, from two short closed loops: one user, and workers that always have a queue."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from loadtest.errors import LoadtestError
from loadtest.generate.samples import Sample

_LEAST_GAPS = 20


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a deployment can do with one kind of image.

    Attributes:
        capacity_hz: Answers a second of all workers together, when each always has work.
        service_s: Mean time that one request occupies one server process, S.
        cv2: Squared coefficient of variation of it, c².
        overhead_s: The part of service_s that the worker's own total does not contain (accepting, parsing, closing).
        unloaded_response_s: Mean response time of a request that is alone.
        unloaded_total_s: Mean of the worker's own total then; None where it does not say.
        workers: Name of each worker and its answers a second.
        processes: Server processes a worker has, as far as its throughput shows.
        how: `gaps` where capacity comes from workers with a queue, `throughput` where workers do not state their queue.
    """

    capacity_hz: float
    service_s: float
    cv2: float
    overhead_s: float
    unloaded_response_s: float
    unloaded_total_s: float | None
    workers: dict[str, float]
    processes: int
    how: str

    def facts(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {
            "capacity_hz": round(self.capacity_hz, 4),
            "service_s": round(self.service_s, 7),
            "cv2": round(self.cv2, 5),
            "overhead_s": round(self.overhead_s, 7),
            "unloaded_response_s": round(self.unloaded_response_s, 7),
            "unloaded_total_s": None if self.unloaded_total_s is None else round(self.unloaded_total_s, 7),
            "workers": {name: round(rate, 4) for name, rate in sorted(self.workers.items())},
            "processes": self.processes,
            "how": self.how,
        }


def estimate(unloaded: Sequence[Sample], saturated: Sequence[Sample]) -> Capacity:
    """Estimate capacity and service times.

    A worker's answers that follow each other without a pause are one service time apart. The request behind such a gap
    is known by its queue time: it was waiting when the one before it ended. So capacity is measured even where the
    balancer leaves a worker idle now and then, and each worker's own speed shows.

    Args:
        unloaded: Samples of one user.
        saturated: Samples of several users for each worker.

    Raises:
        LoadtestError: Too few requests were answered.
    """
    alone = [sample for sample in unloaded if sample.ok]
    busy = sorted((sample for sample in saturated if sample.ok), key=lambda sample: sample.done_s)
    if len(alone) < 5 or len(busy) < _LEAST_GAPS:
        failed = [sample.error for sample in (*unloaded, *saturated) if sample.error]
        raise LoadtestError(
            f"calibration failed: {len(alone)} and {len(busy)} requests were answered"
            + (f", the last failure was {failed[-1]!r}" if failed else "")
            + ". Look at the deployment, then run the same command with --resume"
        )
    unloaded_response_s = float(np.mean([sample.service_s for sample in alone]))
    totals = [sample.total_s for sample in alone if sample.total_s is not None]
    unloaded_total_s = float(np.mean(totals)) if totals else None
    busy_totals = np.array([sample.total_s for sample in busy if sample.total_s is not None])
    total_s = float(busy_totals.mean()) if len(busy_totals) else unloaded_response_s

    gaps = _busy_gaps(alone, busy, total_s)
    if gaps and all(len(own) >= _LEAST_GAPS for own in gaps.values()):
        workers = {name: 1.0 / float(np.mean(own)) for name, own in gaps.items()}
        how = "gaps"
    else:
        counts: dict[str, int] = defaultdict(int)
        for sample in busy:
            counts[sample.worker or "unknown"] += 1
        span = busy[-1].done_s - min(sample.sent_s for sample in busy)
        workers = {name: count / span for name, count in counts.items()}
        how = "throughput"
    capacity_hz = sum(workers.values())
    # a worker of k processes answers k times as often as its own total allows
    processes = max(1, round(capacity_hz / len(workers) * total_s))
    service_s = processes * len(workers) / capacity_hz
    variance = float(busy_totals.var()) if len(busy_totals) else 0.0
    return Capacity(
        capacity_hz=capacity_hz,
        service_s=service_s,
        cv2=variance / service_s**2,
        overhead_s=max(0.0, service_s - total_s),
        unloaded_response_s=unloaded_response_s,
        unloaded_total_s=unloaded_total_s,
        workers=workers,
        processes=processes,
        how=how,
    )


def _busy_gaps(alone: Sequence[Sample], busy: Sequence[Sample], total_s: float) -> dict[str, list[float]]:
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


def from_facts(facts: dict[str, Any]) -> Capacity:
    """Rebuild a capacity from its JSON values."""
    return Capacity(**facts)
