"""What a pool of a given size can do: shares of its time and the slowest answer of a hundred, from queueing theory.

Each worker is a queue of its own, since a balancer at random gives each the same share: M/D/c with Poisson arrivals,
service times that are all the same, and c processes. Mean waits of M/D/c are half of those of M/M/c, whose waits have
the exponential tail C(c, a) exp(-c (1 - ρ) t / S), with Erlang's C (Kleinrock, Queueing Systems I, 1975; Cosmetatos
1976 for the half).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

_SLOWEST = 0.01


def erlang_c(servers: int, load: float) -> float:
    """Return the share of arrivals that wait, of a queue with so many servers and a load in erlang below that."""
    blocked = 1.0
    for number in range(1, servers + 1):
        blocked = load * blocked / (number + load * blocked)
    utilisation = load / servers
    return blocked / (1 - utilisation + utilisation * blocked)


def slowest_s(load: float, processes: Sequence[int], service_s: float) -> float:
    """Return the response time that 99 of 100 answers stay below; infinite where the load is more than can be done.

    Args:
        load: Arrivals a second times service time: how many processes are busy on average.
        processes: Processes of each worker that serves.
        service_s: Seconds of one answer.
    """
    total = sum(processes)
    if load >= total:
        return math.inf
    servers = max(1, round(total / len(processes)))
    utilisation = load / total
    waits = erlang_c(servers, utilisation * servers)
    if waits <= _SLOWEST:
        return service_s
    return service_s + service_s / (2 * servers * (1 - utilisation)) * math.log(waits / _SLOWEST)


def least_objective_s(processes: Sequence[int], utilisation: float, service_s: float) -> float:
    """Return the shortest objective that workers can hold who are as busy as they may be.

    Args:
        processes: Processes of each worker.
        utilisation: Share of their time that they may be busy.
        service_s: Seconds of one answer.
    """
    every = list(processes) or [1]
    return slowest_s(utilisation * sum(every), every, service_s)
