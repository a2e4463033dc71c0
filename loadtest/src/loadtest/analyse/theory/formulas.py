"""Mean response times in the steady state.

Throughout: S = mean service time in seconds, c² = squared coefficient of variation of the service time
(variance / S²), n = number of workers, λ = arrivals a second over all workers, ρ = λS/n = utilisation. At ρ ≥ 1 there
is no steady state and every mean is infinite.
"""

import math


def mg1_wait(service_s: float, cv2: float, utilisation: float) -> float:
    """Mean wait of one FIFO worker under Poisson arrivals, in seconds (Pollaczek–Khinchine).

    W = ρ S (1 + c²) / (2 (1 − ρ)). With Poisson arrivals and random balancing every worker is such a queue.
    """
    _check(service_s, cv2, utilisation)
    if utilisation >= 1:
        return math.inf
    return utilisation * service_s * (1 + cv2) / (2 * (1 - utilisation))


def mg1_response(service_s: float, cv2: float, utilisation: float) -> float:
    """Mean wait plus service of one FIFO worker under Poisson arrivals, in seconds: S + W of mg1_wait."""
    return service_s + mg1_wait(service_s, cv2, utilisation)


def erlang_c(workers: int, offered: float) -> float:
    """Probability that an arrival must wait before n workers with one queue, a = λS offered work (Erlang's C).

    Computed through Erlang's B by its recursion B(k) = a B(k−1) / (k + a B(k−1)), which stays in range for any n.
    """
    if workers < 1 or offered < 0:
        raise ValueError(f"{workers} workers and {offered} offered work: give at least 1 and at least 0")
    if offered >= workers:
        return 1.0
    blocked = 1.0
    for number in range(1, workers + 1):
        blocked = offered * blocked / (number + offered * blocked)
    utilisation = offered / workers
    return blocked / (1 - utilisation * (1 - blocked))


def mmn_response(service_s: float, workers: int, utilisation: float) -> float:
    """Mean response of n workers with one queue and exponential service, in seconds.

    T = S + C(n, λS) S / (n (1 − ρ)).
    """
    return mgn_response(service_s, 1.0, workers, utilisation)


def mgn_response(service_s: float, cv2: float, workers: int, utilisation: float) -> float:
    """Mean response of n workers with one queue and any service law, in seconds; an approximation.

    Lee and Longton's: the wait of M/M/n times (1 + c²)/2. Exact for n = 1 and for c² = 1.
    """
    _check(service_s, cv2, utilisation)
    if utilisation >= 1:
        return math.inf
    wait = erlang_c(workers, utilisation * workers) * service_s / (workers * (1 - utilisation))
    return service_s + wait * (1 + cv2) / 2


def two_choices_response(service_s: float, utilisation: float, choices: int = 2) -> float:
    """Mean response when each arrival joins the shortest of d random queues, in seconds; the limit of large n.

    Exponential service. T = S Σ_{i≥1} ρ^((d^i − d)/(d − 1)) (Mitzenmacher, 1996).

    Raises:
        ValueError: choices is below 2; one choice is mg1_response.
    """
    _check(service_s, 1.0, utilisation)
    if choices < 2:
        raise ValueError(f"{choices} choices: give at least 2")
    if utilisation >= 1:
        return math.inf
    total = 0.0
    for level in range(1, 64):
        term = utilisation ** ((choices**level - choices) / (choices - 1))
        total += term
        if term < 1e-15:
            break
    return service_s * total


def _check(service_s: float, cv2: float, utilisation: float) -> None:
    if not (service_s >= 0 and cv2 >= 0 and utilisation >= 0):
        raise ValueError(f"service {service_s} s, c² {cv2}, utilisation {utilisation}: none may be negative")
