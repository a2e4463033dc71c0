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
    _check(idle_s, idle_cv2, rate_hz * idle_s)
    _check(busy_s, busy_cv2, rate_hz * busy_s)
    if rate_hz * busy_s >= 1:
        return math.inf
    idle2, busy2 = idle_s**2 * (1 + idle_cv2), busy_s**2 * (1 + busy_cv2)
    first = 1 - rate_hz * (busy_s - idle_s)
    served = idle_s / first
    waited = rate_hz * busy2 / (2 * (1 - rate_hz * busy_s)) + rate_hz * (idle2 - busy2) / (2 * first)
    return served + waited


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


def first_service_mgn_response(
    idle_s: float, idle_cv2: float, busy_s: float, busy_cv2: float, *, servers: int, rate_hz: float
) -> float:
    """Mean response of n processes with one queue whose service after idleness has a law of its own; an approximation.

    With the letters of first_service_response, C(n, a) Erlang's C and ρ = λE[B]/n, the mean service S and the chance to
    wait follow from each other: S = (1 − C(n, λS)) E[I] + C(n, λS) E[B]. Then

    T = S + C(n, λS) ((1 − ρ) E[I²]/E[I] + ρ E[B²]/E[B]) / (2n(1 − ρ)).

    It is first_service_response for n = 1, and mgn_response where I and B have one law.
    """
    _check(idle_s, idle_cv2, rate_hz * idle_s)
    _check(busy_s, busy_cv2, rate_hz * busy_s)
    utilisation = rate_hz * busy_s / servers
    if utilisation >= 1:
        return math.inf
    served, waits = busy_s, 0.0
    for _ in range(200):
        waits = erlang_c(servers, rate_hz * served)
        before, served = served, (1 - waits) * idle_s + waits * busy_s
        if abs(served - before) <= 1e-12 * busy_s:
            break
    rest = (1 - utilisation) * idle_s * (1 + idle_cv2) + utilisation * busy_s * (1 + busy_cv2)
    return served + waits * rest / (2 * servers * (1 - utilisation))


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
