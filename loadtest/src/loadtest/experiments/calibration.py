"""What a deployment can do: its capacity from two short closed loops, its two regimes from two open ones.

The closed loops are one user, and workers that always have a queue. The open ones ask for a fifth of the capacity,
so that most requests find their worker idle, and for more than the capacity, so that hardly one does. With longer
pauses workers would be colder, and slower, than under any load that is measured.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from loadtest.arrays import Floats
from loadtest.errors import LoadtestError
from loadtest.experiments.cores import count_of
from loadtest.experiments.gaps import LEAST_GAPS, are_enough, busy_gaps
from loadtest.experiments.regimes import LEAST, after_idleness, answered_hz, network_of, when_busy
from loadtest.generate.samples import Sample

IDLE_LOAD, BUSY_LOAD = 0.2, 1.3  # of the capacity: what the two open loops ask
IDLE_MOST_S = 60.0  # the longer of them lasts no longer


@dataclass(frozen=True, slots=True)
class Regime:
    """Service times of workers that were idle before, or of workers that were busy.

    Attributes:
        service_s: Mean over the requests, in seconds.
        cv2: Squared coefficient of variation, each time divided by the mean of its worker.
        requests: How many there were.
        workers: Name of each worker and its mean in seconds.
    """

    service_s: float
    cv2: float
    requests: int
    workers: dict[str, float]


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
        idle: Service times after idleness, in an open loop; None where it was not run, as in earlier runs.
        busy: Service times of requests that waited, in an open loop; None where it was not run.
        network_s: Mean time outside the worker, in seconds; None where there is no open loop.
        closed_hz: Answers a second of the closed loop that saturates; None in earlier runs.
        open_hz: Answers a second of the open loop that asks for too much; None where it was not run.
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
    idle: Regime | None = None
    busy: Regime | None = None
    network_s: float | None = None
    closed_hz: float | None = None
    open_hz: float | None = None

    def text(self) -> str:
        """The same in words."""
        words = (
            f"{self.capacity_hz:.1f} answers/s, service time {self.service_s * 1e3:.1f} ms, c² {self.cv2:.2f} "
            f"(by {self.how})"
        )
        if self.open_hz is None:
            return words
        means = [f"{one.service_s * 1e3:.1f} ms" if one else "–" for one in (self.idle, self.busy)]
        return f"{words}; {means[0]} after idleness, {means[1]} busy"

    def facts(self) -> dict[str, Any]:
        """The same as JSON values."""
        given = asdict(self) | {"workers": dict(sorted(self.workers.items()))}
        return {key: _short(value) for key, value in given.items() if value is not None or key == "unloaded_total_s"}


def estimate(unloaded: Sequence[Sample], saturated: Sequence[Sample], batch: int = 1) -> Capacity:
    """Estimate capacity and service times.

    A worker's answers that follow each other without a pause are one service time apart. The request behind such a gap
    is known by its queue time: it was waiting when the one before it ended. So capacity is measured even where the
    balancer leaves a worker idle now and then, and each worker's own speed shows.

    Args:
        unloaded: Samples of one user.
        saturated: Samples of several users for each worker.
        batch: Most photographs of a run of the network; under saturation a process answers so many at once.

    Raises:
        LoadtestError: Too few requests were answered.
    """
    alone = [sample for sample in unloaded if sample.ok]
    busy = sorted((sample for sample in saturated if sample.ok), key=lambda sample: sample.done_s)
    if len(alone) < 5 or len(busy) < LEAST_GAPS:
        failed = [sample.error for sample in (*unloaded, *saturated) if sample.error]
        raise LoadtestError(
            f"calibration failed: {len(alone)} and {len(busy)} requests were answered"
            + (f", the last failure was {failed[-1]!r}" if failed else "")
            + ". Look at the deployment"
        )
    unloaded_response_s = float(np.mean([sample.service_s for sample in alone]))
    totals = [sample.total_s for sample in alone if sample.total_s is not None]
    unloaded_total_s = float(np.mean(totals)) if totals else None
    busy_totals = np.array([sample.total_s for sample in busy if sample.total_s is not None])
    total_s = float(busy_totals.mean()) if len(busy_totals) else unloaded_response_s
    gaps = busy_gaps(alone, busy, total_s)
    if are_enough(gaps):
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
    # a worker of k processes answers k times as often as its own total allows, and in batches so many more
    processes = max(1, round(capacity_hz / len(workers) * total_s / batch))
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
        closed_hz=answered_hz(saturated),
    )


def with_regimes(capacity: Capacity, idle: Sequence[Sample], busy: Sequence[Sample]) -> Capacity:
    """Add what open loops of IDLE_LOAD and of BUSY_LOAD say of workers; a regime with too few requests stays None."""
    network_s = network_of(idle, capacity.processes, capacity.overhead_s)
    return replace(
        capacity,
        idle=_regime(after_idleness(idle, capacity.processes, network_s)),
        busy=_regime(when_busy(busy, capacity.processes, network_s)),
        network_s=network_s,
        open_hz=answered_hz(busy),
    )


def _regime(times: dict[str, Floats]) -> Regime | None:
    every = np.concatenate(list(times.values())) if times else np.zeros(0)
    if len(every) < LEAST:
        return None
    means = {name: float(own.mean()) for name, own in times.items()}
    shapes = [own / means[name] for name, own in times.items() if means[name] > 0]
    cv2 = float(np.concatenate(shapes).var()) if shapes else 0.0
    return Regime(float(every.mean()), cv2, len(every), means)


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _short(one) for key, one in value.items()}
    return round(value, 7) if isinstance(value, float) else value


def from_facts(facts: dict[str, Any]) -> Capacity:
    """Rebuild a capacity from its JSON values.

    Raises:
        LoadtestError: The processes of a worker are no number.
    """
    count_of(facts, "processes")
    regimes: dict[str, Any] = {name: Regime(**facts[name]) for name in ("idle", "busy") if name in facts}
    return Capacity(**(facts | regimes))
