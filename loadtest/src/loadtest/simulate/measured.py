"""Service times that a run's calibration measured."""

from dataclasses import dataclass

import numpy as np

from loadtest.arrays import Floats
from loadtest.errors import LoadtestError
from loadtest.experiments.calibration import Capacity, from_facts
from loadtest.experiments.cores import shared_cores
from loadtest.experiments.folder import RunFolder
from loadtest.experiments.record import batch_of
from loadtest.experiments.regimes import after_idleness, network_of, when_busy
from loadtest.generate.samples import Sample, read_trial
from loadtest.simulate.service import Service

_LEAST = 20  # samples of a regime


@dataclass(frozen=True, slots=True)
class Measured:
    """What a run says of its workers.

    Attributes:
        service: Service times of one process.
        processes: Processes of each worker.
        network_s: Mean time of an answer outside the worker, in seconds.
        caveat: Why busy workers were slower than they are elsewhere; None where they had cores of their own.
    """

    service: Service
    processes: int
    network_s: float
    caveat: str | None = None


def of_run(folder: RunFolder) -> Measured:
    """Service times that a run's calibration measured, at the level with most equal workers.

    A level whose workers shared the cores of one machine is only taken where there is no other, and none that takes
    several photographs at once: its answers are no service times.

    Where the calibration had open loops, both samples are times between what the client sent and what it got. Of an
    earlier run the busy sample is what workers say of requests under saturation, the idle one what they say to a
    single user; both get what a worker's own total does not contain (accepting, parsing, closing).

    Raises:
        LoadtestError: The run has no calibration.
    """
    caveats = {
        level: shared_cores(record)
        for level in folder.measured_levels()
        if (record := folder.read_level(level)) is not None and batch_of(level, record) == 1
    }
    order = sorted(caveats, key=lambda one: (one.slow_worker, caveats[one] is not None, -(one.pool_size or 0), one.id))
    for level in order:
        capacities = (folder.read_level(level) or {}).get("capacity", {})
        for cell in folder.design.cells:
            facts = capacities.get(cell.images_id)
            if facts is None:
                continue
            samples = {
                kind: read_trial(path).samples
                for kind in ("idle", "busy", "unloaded", "saturated")
                if (path := folder.calibration_path(level, cell.images_id, kind)).exists()
            }
            if "saturated" not in samples:
                continue
            capacity = from_facts(facts)
            source = f"{folder.path.name}, {level.id}, {cell.images_id}"
            alone = samples.get("unloaded", ())
            network_s = capacity.network_s
            if network_s is None:
                network_s = network_of(alone, capacity.processes, capacity.overhead_s)
            if capacity.idle and capacity.busy and {"idle", "busy"} <= samples.keys():
                service = _of_open_loops(capacity, samples["idle"], samples["busy"], network_s, source)
            else:
                service = two_regimes(capacity, samples["saturated"], alone, source)
            return Measured(service, capacity.processes, network_s, caveats[level])
    raise LoadtestError(
        f"{folder.path} has no calibration of workers that take one photograph at a time, from which service times "
        "come; use a run of scaling or policies, or give --service-ms"
    )


def _of_open_loops(
    capacity: Capacity, idle: tuple[Sample, ...], busy: tuple[Sample, ...], network_s: float, source: str
) -> Service:
    alone = np.concatenate(list(after_idleness(idle, capacity.processes, network_s).values()))
    queued = np.concatenate(list(when_busy(busy, capacity.processes, network_s).values()))
    return Service(alone, queued, _both(alone, queued, source))


def two_regimes(
    capacity: Capacity, saturated: tuple[Sample, ...], unloaded: tuple[Sample, ...], source: str
) -> Service:
    """Make both samples from closed loops; where there is only one regime, both are the same and `source` says so."""
    busy = _totals(saturated)
    if len(busy) < _LEAST:
        one = np.full(1, capacity.service_s)
        return Service(one, one, f"measured ({source}): one regime, the mean of {1e3 * capacity.service_s:.2f} ms")
    # the mean is what gaps between answers measured; a total misses the overhead, and a slow worker has a larger one
    busy = busy * (capacity.service_s / float(busy.mean()))
    idle = _totals(unloaded)
    if len(idle) < _LEAST:
        return Service(busy, busy, f"measured ({source}): one regime, {1e3 * capacity.service_s:.2f} ms idle or busy")
    idle = idle + capacity.overhead_s
    return Service(idle, busy, _both(idle, busy, source))


def _both(idle: Floats, busy: Floats, source: str) -> str:
    means = f"{1e3 * float(idle.mean()):.2f} ms after idleness, {1e3 * float(busy.mean()):.2f} ms busy"
    return f"measured ({source}): {means} (means of {len(idle)} and {len(busy)})"


def _totals(samples: tuple[Sample, ...]) -> Floats:
    return np.array([one.total_s for one in samples if one.ok and one.total_s is not None and one.total_s > 0])
