"""Queues whose answer is known: formulas that the simulations and the product's own formula are held against.

Throughout: S = mean service time in seconds, c² = squared coefficient of variation of the service time
(variance / S²), n = number of workers, λ = arrivals a second over all workers, ρ = λS/n = utilisation. At ρ ≥ 1 there
is no steady state and every mean is infinite.
"""

import math
from dataclasses import dataclass

import numpy as np

from loadtest.analyse.theory.formulas import erlang_c
from loadtest.arrays import Floats
from loadtest.find.probe import Answers

SERVICE_S = 0.02


def mg1_wait(service_s: float, cv2: float, utilisation: float) -> float:
    """Mean wait of one FIFO worker under Poisson arrivals, in seconds (Pollaczek–Khinchine).

    W = ρ S (1 + c²) / (2 (1 − ρ)). With Poisson arrivals and random balancing every worker is such a queue.
    """
    if utilisation >= 1:
        return math.inf
    return utilisation * service_s * (1 + cv2) / (2 * (1 - utilisation))


def mg1_response(service_s: float, cv2: float, utilisation: float) -> float:
    """Mean wait plus service of one FIFO worker under Poisson arrivals, in seconds: S + W of mg1_wait."""
    return service_s + mg1_wait(service_s, cv2, utilisation)


def first_service_response(idle_s: float, idle_cv2: float, busy_s: float, busy_cv2: float, rate_hz: float) -> float:
    """Mean response of one FIFO process under Poisson arrivals whose service after idleness has a law of its own.

    I is the service time of a request that finds the process idle, B that of one that waits, λ the arrivals a second:

    T = E[I] / (1 − λ(E[B] − E[I])) + λE[B²] / (2(1 − λE[B])) + λ(E[I²] − E[B²]) / (2(1 − λ(E[B] − E[I]))).

    It is mg1_response where I and B have one law. Source: P. D. Welch, On a generalized M/G/1 queuing process in
    which the first customer of each busy period receives exceptional service, Operations Research 12 (1964) 736–752.

    Args:
        idle_s: E[I] in seconds.
        idle_cv2: Squared coefficient of variation of I.
        busy_s: E[B] in seconds.
        busy_cv2: Squared coefficient of variation of B.
        rate_hz: λ.

    Returns:
        Wait plus service in seconds; infinite where λE[B] ≥ 1.
    """
    if rate_hz * busy_s >= 1:
        return math.inf
    idle2, busy2 = idle_s**2 * (1 + idle_cv2), busy_s**2 * (1 + busy_cv2)
    first = 1 - rate_hz * (busy_s - idle_s)
    served = idle_s / first
    waited = rate_hz * busy2 / (2 * (1 - rate_hz * busy_s)) + rate_hz * (idle2 - busy2) / (2 * first)
    return served + waited


def mgn_response(service_s: float, cv2: float, workers: int, utilisation: float) -> float:
    """Mean response of n workers with one queue and any service law, in seconds; an approximation.

    Lee and Longton's: the wait of M/M/n times (1 + c²)/2. Exact for n = 1 and for c² = 1.
    """
    if utilisation >= 1:
        return math.inf
    wait = erlang_c(workers, utilisation * workers) * service_s / (workers * (1 - utilisation))
    return service_s + wait * (1 + cv2) / 2


def two_choices_response(service_s: float, utilisation: float, choices: int = 2) -> float:
    """Mean response when each arrival joins the shortest of d random queues, in seconds; the limit of large n.

    Exponential service. T = S Σ_{i≥1} ρ^((d^i − d)/(d − 1)) (Mitzenmacher, 1996).
    """
    if utilisation >= 1:
        return math.inf
    total = 0.0
    for level in range(1, 64):
        term = utilisation ** ((choices**level - choices) / (choices - 1))
        total += term
        if term < 1e-15:
            break
    return service_s * total


def mm1_beyond(utilisation: float, time: float, least: int) -> float:
    """Probability that an M/M/1 that began empty holds at least so many requests after a time, in service times.

    By uniformisation: a chain of jumps at the rate 1 + ρ. Their number is taken for its mean, which has an error of a
    few per cent of the time.
    """
    share = np.zeros(8 * least)
    share[0] = 1.0
    for _ in range(round(time * (1 + utilisation))):
        up, down = share * utilisation / (1 + utilisation), share / (1 + utilisation)
        share = np.concatenate((down[:1], up[:-1])) + np.concatenate((down[1:], up[-1:]))
    return float(share[least:].sum())


def lindley(arrivals_s: Floats, services_s: Floats) -> Floats:
    """Waits before one FIFO worker by Lindley's recursion.

    W₁ = 0, Wᵢ₊₁ = max(0, Wᵢ + Sᵢ − (Aᵢ₊₁ − Aᵢ)), with A the arrival times and S the service times.

    Args:
        arrivals_s: Arrival times in seconds, ascending, shape (m,).
        services_s: Service times in seconds, shape (m,).

    Returns:
        The waits in seconds, shape (m,).
    """
    if len(arrivals_s) == 0:
        return np.zeros(0)
    # a random walk that is reflected at 0: subtract its running minimum
    walk = np.concatenate(([0.0], np.cumsum(services_s[:-1] - np.diff(arrivals_s))))
    waits: Floats = walk - np.minimum.accumulate(walk)
    return waits


@dataclass
class Queues:
    """FIFO workers behind random balancing; a probe without a clock."""

    seed: int
    workers: int = 1
    cv2: float = 1.0
    asked_s: float = 0.0
    highest_hz: float = 0.0

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng([self.seed, self.workers])

    def __call__(self, rate_hz: float, length_s: float) -> Answers:
        self.asked_s += length_s
        self.highest_hz = max(self.highest_hz, rate_hz)
        count = int(self.rng.poisson(rate_hz * length_s))
        due = np.sort(self.rng.uniform(0.0, length_s, count))
        took: Floats = np.full(count, SERVICE_S)
        if self.cv2:
            took = self.rng.gamma(1 / self.cv2, SERVICE_S * self.cv2, count)
        chosen = self.rng.integers(0, self.workers, count)
        done = np.empty(count)
        for worker in range(self.workers):
            own = np.flatnonzero(chosen == worker)
            done[own] = due[own] + lindley(due[own], took[own]) + took[own]
        return Answers(due, done, length_s)

    def of_times(self, factor: float, rate_hz: float, length_s: float) -> Answers:
        """What workers whose services take so many times as long would do with such a load."""
        found = self(factor * rate_hz, length_s / factor)
        return Answers(factor * found.due_s, factor * found.done_s, length_s)
