"""How many workers a rate needs in the steady state, what they cost, and what a failed one does."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from loadtest.analyse.smallest import smallest, smallest_if_any
from loadtest.analyse.statistics import t_interval
from loadtest.analyse.theory.formulas import LEAST_SETTLING, settling_s
from loadtest.errors import LoadtestError
from loadtest.simulate.arrivals import poisson
from loadtest.simulate.events import Fault
from loadtest.simulate.measured import Measured
from loadtest.simulate.service import Service
from loadtest.simulate.system import BLIND, Outcome, System, simulate

LONGEST_S = 60.0  # no client waits longer
_PARTS = 10
_COUNTED = 150_000  # requests that count, of each number of workers
_MOST_PLAYED = 1_000_000  # so near to ρ = 1 that more are needed is taken for too few workers, and said
_ALIKE = 100  # workers of a larger pool that are simulated: behind a policy that does not look each queue is alone
_FAULT_S = 10.0
_FAILURES = 20  # one alone says little: how the queues stood when the worker died decides it


@dataclass(frozen=True, slots=True)
class Steady:
    """What so many workers do in the steady state.

    Attributes:
        workers: How many there are.
        utilisation: ρ, share of their capacity.
        mean_s: Mean response of the answers in seconds.
        p99_s: Time within which 99 of 100 requests are answered, in seconds; a refused one never is.
        p99_half_s: Half-width of its 95 % t-interval over ten parts, of the time or of the workers.
        refused: Share of requests that are refused.
    """

    workers: int
    utilisation: float
    mean_s: float
    p99_s: float
    p99_half_s: float
    refused: float


@dataclass(frozen=True, slots=True)
class Plan:
    """An answer, with what it assumes.

    Attributes:
        rate_hz: Requests a second.
        slo_p99_s: Time within which 99 of 100 answers must come, in seconds.
        policy: Balancing policy.
        measured: Service times, processes and network.
        workers: Smallest number whose p99 is within the objective, its interval included.
        fewest: Fewest that may do, by the intervals of the simulation and of the measured service times.
        most: As many as may be needed, by the same; infinite where perhaps none are enough.
        tried: What was simulated, by number of workers.
        after_failure: One worker less, in the steady state; None where they cannot serve the rate, or it is not known.
        failed_late: Share of requests that are later than the objective, refused or lost in the ten seconds after one
            worker died; the mean of 20 plays.
        failed_half: Half-width of its 95 % t-interval.
    """

    rate_hz: float
    slo_p99_s: float
    policy: str
    measured: Measured
    workers: int
    fewest: int
    most: float
    tried: dict[int, Steady]
    after_failure: Steady | None
    failed_late: float
    failed_half: float

    @property
    def near_full(self) -> bool:
        """One worker less has a capacity above the rate, but so little that it was not simulated."""
        busy = self.rate_hz * self.measured.service.mean_s / self.measured.processes
        return self.after_failure is None and self.workers - 1 > busy

    @property
    def cost_s(self) -> float:
        """Worker-seconds for a million good answers."""
        return 1e6 * self.workers / (self.rate_hz * (1 - self.tried[self.workers].refused))


class Sizing:
    """The steady state of any number of workers, and what follows from it."""

    def __init__(
        self, measured: Measured, rate_hz: float, policy: str, *, max_conns: int, seed: int, scale: float = 1.0
    ) -> None:
        self.service: Service = measured.service.scaled(scale)
        self.processes = measured.processes
        self.network_s = measured.network_s
        self.rate_hz = rate_hz
        self.policy = policy
        self.max_conns = max_conns * measured.processes
        self.seed = seed
        self._known: dict[int, Steady | None] = {}

    def least(self) -> int:
        """The fewest workers whose capacity is above the rate."""
        return math.floor(self.rate_hz * self.service.mean_s / self.processes) + 1

    @property
    def tried(self) -> dict[int, Steady]:
        """What was simulated."""
        return {workers: found for workers, found in sorted(self._known.items()) if found is not None}

    def steady(self, workers: int) -> Steady | None:
        """The steady state of so many workers; None where there is none, or it is too far to be simulated."""
        if workers not in self._known:
            self._known[workers] = self._simulated(workers)
        return self._known[workers]

    def _simulated(self, workers: int) -> Steady | None:
        utilisation = self.rate_hz * self.service.mean_s / (workers * self.processes)
        if utilisation >= 1:
            return None
        part = min(workers, _ALIKE) if self.policy in BLIND else workers
        rate_hz = self.rate_hz * part / workers
        begin_s = self.settling_s(workers)
        count = math.ceil(rate_hz * begin_s + max(_COUNTED, rate_hz * begin_s))
        if count > _MOST_PLAYED and begin_s > LEAST_SETTLING * self.service.mean_s:
            return None
        outcome = self.play(part, count, rate_hz=rate_hz).between(begin_s, math.inf)
        times = np.where(outcome.answered, outcome.ends_s - outcome.arrivals_s + self.network_s, math.inf)
        split = outcome.parts(_PARTS, apart=self.policy == "random")
        parts = [float(np.quantile(times[part], 0.99, method="higher")) for part in split]
        good = times[outcome.answered]
        p99_s = float(np.quantile(times, 0.99, method="higher"))
        half_s = t_interval(parts)[1] if all(map(math.isfinite, parts)) else None
        return Steady(
            workers,
            utilisation,
            float(good.mean()),
            p99_s,
            math.inf if half_s is None else half_s,
            1 - len(good) / len(times),
        )

    def settling_s(self, workers: int) -> float:
        """Seconds until queues no longer know that they began empty; policies that look settle sooner."""
        utilisation = self.rate_hz * self.service.mean_s / (workers * self.processes)
        queues = 1 if self.policy in BLIND else workers
        return settling_s(self.service.mean_s, self.service.cv2, utilisation, queues * self.processes)

    def play(
        self, workers: int, count: int, fault: Fault | None = None, number: int = 0, *, rate_hz: float | None = None
    ) -> Outcome:
        """Send so many requests to so many workers, one of which may fail."""
        rng = np.random.default_rng([self.seed, workers, number] if fault else [self.seed, workers])
        system = System(self.policy, workers, max_conns=self.max_conns, processes=self.processes)
        arrivals_s = poisson(count, rate_hz or self.rate_hz, rng)
        return simulate(system, arrivals_s, self.service, rng, [fault] if fault else [])

    def within(self, slo_s: float, sign: float) -> Callable[[int], bool]:
        """Whether so many workers keep an objective: for sure (sign 1), or perhaps (sign −1)."""

        def keep(workers: int) -> bool:
            found = self.steady(workers)
            if found is None or not math.isfinite(found.p99_s):
                return False
            if not math.isfinite(found.p99_half_s):
                return sign < 0  # some part of the time refuses too much
            return found.p99_s + sign * found.p99_half_s <= slo_s

        return keep

    def late_after_failure(self, workers: int, slo_s: float) -> tuple[float, float]:
        """Share of requests of ten seconds that are not in time when a worker dies first: mean and half-width."""
        begin_s = self.settling_s(workers)
        count = math.ceil(1.05 * self.rate_hz * (begin_s + _FAULT_S))
        fault = Fault((0,), begin_s, 2 * _FAULT_S)
        shares = []
        for number in range(_FAILURES):
            outcome = self.play(workers, count, fault, number).between(begin_s, begin_s + _FAULT_S)
            late = ~outcome.answered | (outcome.ends_s - outcome.arrivals_s + self.network_s > slo_s)
            shares.append(float(late.mean()) if len(late) else 0.0)
        mean, half = t_interval(shares)
        return mean or 0.0, half or 0.0


def plan(measured: Measured, rate_hz: float, slo_p99_s: float, policy: str, *, seed: int, max_conns: int = 16) -> Plan:
    """Find the smallest number of workers whose p99 is within the objective in the steady state.

    Args:
        measured: What a run says of its workers.
        rate_hz: Requests a second, above 0.
        slo_p99_s: Objective for the 99th percentile in seconds, above 0.
        policy: A balancer's policy.
        seed: Seed of the simulation.
        max_conns: Requests that the balancer lets a worker have at a time, for each of its processes; 0 for no limit.

    Raises:
        LoadtestError: An argument is impossible, or no number of workers can do it.
    """
    if slo_p99_s > LONGEST_S:
        raise LoadtestError(f"--slo-p99 {slo_p99_s:g} is in seconds; {slo_p99_s:g} ms are {slo_p99_s / 1e3:g}")
    idle_s = float(np.quantile(measured.service.idle_s, 0.99))
    alone = f"a request that never waits takes {1e3 * (idle_s + measured.network_s):.1f} ms at p99"
    if idle_s + measured.network_s > slo_p99_s:
        raise LoadtestError(
            f"no number of workers gives p99 ≤ {1e3 * slo_p99_s:g} ms: {alone}. Give workers more CPU, or a larger "
            "--slo-p99"
        )
    own = Sizing(measured, rate_hz, policy, max_conns=max_conns, seed=seed)
    try:
        workers = smallest(own.within(slo_p99_s, 1.0), own.least())
    except LoadtestError as error:
        raise LoadtestError(f"{error}: {alone}") from error
    # the service times are a sample too: as if they were shorter, and longer, by its interval
    off = _off(measured.service)
    quick, slow = (
        Sizing(measured, rate_hz, policy, max_conns=max_conns, seed=seed, scale=1 + sign * off) for sign in (-1, 1)
    )
    fewest = smallest(quick.within(slo_p99_s, -1.0), quick.least(), near=workers)
    slowest_s = (1 + off) * idle_s + measured.network_s
    most = smallest_if_any(slow.within(slo_p99_s, 1.0), slow.least(), workers) if slowest_s <= slo_p99_s else math.inf
    fewer = own.steady(workers - 1) if workers > 1 else None
    return Plan(
        rate_hz, slo_p99_s, policy, measured, workers, min(fewest, workers), max(most, workers), own.tried, fewer,
        *own.late_after_failure(workers, slo_p99_s),
    )  # fmt: skip


def _off(service: Service) -> float:
    """Half-width of the 95 % interval of the mean busy service time, as a share of it, over 20 parts of the sample.

    Fewer than 40 are a part each. A single one tells nothing of how far it strays.
    """
    count = len(service.busy_s)
    parts = [float(part.mean()) for part in np.array_split(service.busy_s, 20 if count >= 40 else count)]
    half_s = t_interval(parts)[1]
    return min(0.5, half_s / service.mean_s) if half_s else 0.0
