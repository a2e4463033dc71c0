"""How many workers a rate needs, from the service times that a run measured."""

import math
from dataclasses import dataclass, replace

from loadtest.analyse.laws import law_of
from loadtest.analyse.theory.law import ServiceLaw
from loadtest.analyse.theory.prediction import Prediction, predict
from loadtest.errors import LoadtestError
from loadtest.experiments.checks import POLICIES
from loadtest.experiments.folder import RunFolder

_MOST_WORKERS = 4096
_LONGEST_SLO_S = 60.0  # no client waits longer
_TRIALS = 30
_REQUESTS = 4000


@dataclass(frozen=True, slots=True)
class Plan:
    """An answer, with what it assumes.

    Attributes:
        rate_hz: Requests a second.
        slo_p99_s: Time within which 99 of 100 answers must come, in seconds.
        policy: Balancing policy.
        law: Measured service times of one worker process.
        source: Run and cell they come from.
        tried: Simulated response times by number of workers, up to the first that suffices.
    """

    rate_hz: float
    slo_p99_s: float
    policy: str
    law: ServiceLaw
    source: str
    tried: dict[int, Prediction]

    @property
    def workers(self) -> int:
        """Smallest number of workers that suffices."""
        return max(self.tried)

    def text(self) -> str:
        """The answer for a person."""
        service_ms = 1e3 * self.law.service_s
        utilisation = self.rate_hz * self.law.service_s / self.workers
        lines = [
            f"{self.workers} workers answer {self.rate_hz:g} requests/s with p99 ≤ {1e3 * self.slo_p99_s:g} ms under "
            f"{self.policy} balancing, at ρ = {utilisation:.2f}.",
            f"{'workers':>8} {'ρ':>6} {'mean ms':>9} {'p99 ms':>9}",
        ]
        lines += [
            f"{count:>8} {self.rate_hz * self.law.service_s / count:>6.2f} {1e3 * found.mean_s:>9.1f} "
            f"{1e3 * found.p99_s:>9.1f}"
            for count, found in sorted(self.tried.items())
        ]
        lines += [
            f"Measured: S = {service_ms:.2f} ms, c² = {self.law.cv2:.2f}, {1e3 * self.law.outside_s:+.2f} ms outside "
            f"the worker ({self.source}).",
            "Assumed: Poisson arrivals; equal workers, one request at a time each, with these service times whatever "
            f"the load; a balancer and a network that do not saturate. p99 is simulated: {_TRIALS} trials of "
            f"{_REQUESTS} requests, of which the first tenth is cut.",
        ]
        return "\n".join(lines)


def plan(folder: RunFolder, rate_hz: float, slo_p99_s: float, policy: str, *, seed: int) -> Plan:
    """Find the smallest number of workers whose simulated p99 is within the objective.

    Args:
        folder: A run with a calibration.
        rate_hz: Requests a second, above 0.
        slo_p99_s: Objective for the 99th percentile in seconds, above 0.
        policy: One of the simulated policies.
        seed: Seed of the simulation.

    Raises:
        LoadtestError: An argument is impossible, the run has no calibration, or no number of workers can do it.
    """
    if policy not in POLICIES:
        raise LoadtestError(f"there is no policy {policy!r}; choose one of {', '.join(POLICIES)}")
    if not (0 < rate_hz < math.inf and 0 < slo_p99_s < math.inf):
        raise LoadtestError("--rate and --slo-p99 must be finite numbers above 0")
    if slo_p99_s > _LONGEST_SLO_S:
        raise LoadtestError(f"--slo-p99 {slo_p99_s:g} is in seconds; {slo_p99_s:g} ms are {slo_p99_s / 1e3:g}")
    law, source = _find_law(folder)
    fastest_s = min(law.shape) * law.service_s + law.outside_s
    floor_s = predict(replace(law, means_s=(law.service_s,)), "random", 1e-3 / law.service_s, duration_s=1e6 *
                      law.service_s, seed=seed, trials=3).p99_s  # fmt: skip
    if floor_s > slo_p99_s:
        raise LoadtestError(
            f"no number of workers gives p99 ≤ {1e3 * slo_p99_s:g} ms: a request that never waits takes "
            f"{1e3 * floor_s:.1f} ms at p99 (fastest {1e3 * fastest_s:.1f} ms). Give "
            "workers more CPU, or a larger --slo-p99"
        )
    count = max(1, math.floor(rate_hz * law.service_s) + 1)
    tried: dict[int, Prediction] = {}
    duration_s = _REQUESTS / rate_hz
    while count <= _MOST_WORKERS:
        own = replace(law, means_s=(law.service_s,) * count)
        tried[count] = predict(own, policy, rate_hz, duration_s=duration_s, warmup_s=duration_s / 10, seed=seed,
                               trials=_TRIALS)  # fmt: skip
        if tried[count].p99_s <= slo_p99_s:
            return Plan(rate_hz, slo_p99_s, policy, law, source, tried)
        count += 1
    raise LoadtestError(f"more than {_MOST_WORKERS} workers would be needed; check --rate and --slo-p99")


def _find_law(folder: RunFolder) -> tuple[ServiceLaw, str]:
    """The law of the level with most workers whose workers are equal: it has the most samples."""
    levels = sorted(folder.measured_levels(), key=lambda level: (level.slow_worker, -(level.pool_size or 0), level.id))
    for level in levels:
        record = folder.read_level(level)
        if record is None:
            continue
        for cell in folder.design.cells:
            law = law_of(folder, level, record, cell)
            if law is not None:
                return law, f"{folder.path.name}, {level.id}, {cell.images_id}"
    raise LoadtestError(
        f"{folder.path} has no calibration, from which service times come; use a run of scaling or policies"
    )
