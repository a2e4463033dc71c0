"""How long a worker takes for a request: two samples of service times, after idleness and after another request."""

from dataclasses import dataclass

import numpy as np

from loadtest.analyse.theory.simulation import Floats
from loadtest.errors import LoadtestError
from loadtest.experiments.calibration import Capacity, from_facts
from loadtest.experiments.folder import RunFolder
from loadtest.generate.samples import Sample, read_trial

_LEAST = 20  # samples of a regime
_DRAWN = 20_000


@dataclass(frozen=True, slots=True)
class Service:
    """Service times of one worker process, from which those of requests are drawn.

    Attributes:
        idle_s: Of requests that found the worker idle, in seconds, shape (i,).
        busy_s: Of requests that waited for another one, in seconds, shape (b,).
        source: Where they come from, as a sentence.
    """

    idle_s: Floats
    busy_s: Floats
    source: str

    @property
    def mean_s(self) -> float:
        """Mean of a busy worker's service times in seconds; its reciprocal is a worker's capacity."""
        return float(self.busy_s.mean())

    def draw(self, count: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Service times of this many requests, should they find the worker idle, and should they find it busy."""
        return rng.choice(self.idle_s, count), rng.choice(self.busy_s, count)


def supposed(mean_s: float, cv2: float, seed: int) -> Service:
    """Service times of a gamma law with this mean in seconds and c²; constant where c² is 0."""
    drawn: Floats = np.full(1, mean_s)
    if cv2:
        drawn = np.random.default_rng(seed).gamma(1 / cv2, mean_s * cv2, _DRAWN)
        drawn *= mean_s / drawn.mean()
    return Service(drawn, drawn, f"supposed: {1e3 * mean_s:g} ms, c² = {cv2:g}, idle or busy")


def of_run(folder: RunFolder) -> Service:
    """Service times that a run's calibration measured, at the level with most equal workers.

    The busy sample is what workers say of requests under saturation, the idle one what they say to a single user.
    Both get what a worker's own total does not contain (accepting, parsing, closing), as the calibration found it.

    Raises:
        LoadtestError: The run has no calibration.
    """
    levels = sorted(folder.measured_levels(), key=lambda level: (level.slow_worker, -(level.pool_size or 0), level.id))
    for level in levels:
        capacities = (folder.read_level(level) or {}).get("capacity", {})
        for cell in folder.design.cells:
            busy, idle = (folder.calibration_path(level, cell.images_id, kind) for kind in ("saturated", "unloaded"))
            if cell.images_id in capacities and busy.exists():
                alone = read_trial(idle).samples if idle.exists() else ()
                source = f"{folder.path.name}, {level.id}, {cell.images_id}"
                return two_regimes(from_facts(capacities[cell.images_id]), read_trial(busy).samples, alone, source)
    raise LoadtestError(
        f"{folder.path} has no calibration, from which service times come; use a run of scaling or policies, "
        "or give --service-ms"
    )


def two_regimes(
    capacity: Capacity, saturated: tuple[Sample, ...], unloaded: tuple[Sample, ...], source: str
) -> Service:
    """Make both samples from a calibration; where it has only one regime, both are the same and `source` says so."""
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
    means = f"{1e3 * float(idle.mean()):.2f} ms after idleness, {1e3 * float(busy.mean()):.2f} ms busy"
    return Service(idle, busy, f"measured ({source}): {means} (means of {len(idle)} and {len(busy)})")


def _totals(samples: tuple[Sample, ...]) -> Floats:
    return np.array([one.total_s for one in samples if one.ok and one.total_s is not None and one.total_s > 0])
