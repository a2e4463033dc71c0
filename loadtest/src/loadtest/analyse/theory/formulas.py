"""The mean response time of a worker in the steady state, and how soon it is reached."""

import math

LEAST_SETTLING = 20.0  # mean service times until any queue has settled


def erlang_c(workers: int, offered: float) -> float:
    """Probability that an arrival must wait before n workers with one queue, a = λS offered work (Erlang's C).

    Computed through Erlang's B by its recursion B(k) = a B(k−1) / (k + a B(k−1)), which stays in range for any n.
    """
    if offered >= workers:
        return 1.0
    blocked = 1.0
    for number in range(1, workers + 1):
        blocked = offered * blocked / (number + offered * blocked)
    utilisation = offered / workers
    return blocked / (1 - utilisation * (1 - blocked))


def first_service_mgn_response(
    idle_s: float, idle_cv2: float, busy_s: float, busy_cv2: float, *, servers: int, rate_hz: float
) -> float:
    """Mean response of n processes with one queue whose service after idleness has a law of its own.

    I is the service time of a request that finds a process idle, B that of one that waits, λ the arrivals a second,
    C(n, a) Erlang's C and ρ = λE[B]/n. The mean service S and the chance to wait follow from each other:
    S = (1 − C(n, λS)) E[I] + C(n, λS) E[B]. Then

    T = S + C(n, λS) ((1 − ρ) E[I²]/E[I] + ρ E[B²]/E[B]) / (2n(1 − ρ)).

    It is an approximation. For n = 1 it is exact: P. D. Welch, On a generalized M/G/1 queuing process in which the
    first customer of each busy period receives exceptional service, Operations Research 12 (1964) 736–752. Where I and
    B have one law it is Lee and Longton's for M/G/n: the wait of M/M/n times (1 + c²)/2.

    Args:
        idle_s: E[I] in seconds.
        idle_cv2: Squared coefficient of variation of I: its variance / E[I]².
        busy_s: E[B] in seconds.
        busy_cv2: The same of B.
        servers: n.
        rate_hz: λ.

    Returns:
        Wait plus service in seconds; infinite where ρ ≥ 1, for there is no steady state.
    """
    utilisation = rate_hz * busy_s / servers
    if utilisation >= 1:
        return math.inf
    served, waits = _served(idle_s, busy_s, servers, rate_hz)
    rest = (1 - utilisation) * idle_s * (1 + idle_cv2) + utilisation * busy_s * (1 + busy_cv2)
    return served + waits * rest / (2 * servers * (1 - utilisation))


def _served(idle_s: float, busy_s: float, servers: int, rate_hz: float) -> tuple[float, float]:
    """The S that solves S = (1 − C(n, λS)) E[I] + C(n, λS) E[B], and C there; the arguments are those of the caller."""
    low, served, waits = busy_s, busy_s, 0.0
    high = idle_s
    for _ in range(200):
        if idle_s > busy_s:  # the right side falls as S grows, and steps could swing: halve the interval
            served = (low + high) / 2
        waits = erlang_c(servers, rate_hz * served)
        wanted = (1 - waits) * idle_s + waits * busy_s
        low, high = (served, high) if wanted > served else (low, served)
        before, served = served, wanted
        if abs(served - before) <= 1e-12 * busy_s:
            break
    return served, waits


def settling_s(mean_s: float, cv2: float, utilisation: float, servers: int = 1) -> float:
    """Time in seconds after which a queue of Poisson arrivals no longer knows that it began empty.

    Near ρ = 1 the queue is a reflected Brownian motion, whose unit of time is (1 + c²) S/(1 − ρ)². After 5 of them all
    but 6 % of the waits beyond p99 are there, which makes p99 1 % too short.

    Args:
        mean_s: Mean service time S of one server, in seconds.
        cv2: Its squared coefficient of variation c².
        utilisation: ρ.
        servers: How many share the queue.
    """
    forgotten = 5 * (1 + cv2) / (1 - utilisation) ** 2 / servers if utilisation < 1 else math.inf
    return mean_s * max(LEAST_SETTLING, forgotten)
