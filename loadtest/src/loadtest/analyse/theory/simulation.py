"""Simulate balancing policies in front of FIFO workers, exactly, from given arrivals and service times."""

import heapq
from collections import deque
from collections.abc import Iterator
from typing import Any, cast

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float64]]
Ints = np.ndarray[Any, np.dtype[np.int64]]

POLICIES = ("random", "round_robin", "least_conn", "random_two", "shared_queue")


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


def simulate(
    policy: str,
    arrivals_s: Floats,
    services_s: Floats,
    workers: int,
    rng: np.random.Generator,
    *,
    slowness: Floats | None = None,
) -> tuple[Floats, Ints]:
    """Send arrivals to FIFO workers as a policy does.

    random and round_robin choose without looking; least_conn takes a worker with the fewest requests (ties in turn, as
    nginx does); random_two takes the better of two different random workers; shared_queue is no balancer but the ideal
    one queue before all workers.

    Args:
        policy: One of POLICIES.
        arrivals_s: Arrival times in seconds, ascending, shape (m,).
        services_s: Service times in seconds on a worker of slowness 1, shape (m,).
        workers: Number of workers n.
        rng: Source of the policy's choices.
        slowness: Factor on the service time of each worker, shape (n,); all 1 by default.

    Returns:
        Response times (wait + service) in seconds and the worker of each request, both of shape (m,).

    Raises:
        ValueError: The policy is unknown.
    """
    factors = np.ones(workers) if slowness is None else slowness
    if policy in ("random", "round_robin"):
        count = len(arrivals_s)
        chosen = rng.integers(0, workers, count) if policy == "random" else np.arange(count) % workers
        responses = np.empty(count)
        for worker in range(workers):
            own = np.flatnonzero(chosen == worker)
            services = services_s[own] * factors[worker]
            responses[own] = lindley(arrivals_s[own], services) + services
        return responses, chosen
    if policy == "shared_queue":
        return _shared_queue(arrivals_s, services_s, factors)
    if policy in ("least_conn", "random_two"):
        return _by_load(policy, arrivals_s, services_s, factors, rng)
    raise ValueError(f"no policy {policy!r}; there are {', '.join(POLICIES)}")


def _pairs(arrivals_s: Floats, services_s: Floats) -> Iterator[tuple[float, float]]:
    # plain floats: a loop over numpy's own is five times slower
    return zip(cast("list[float]", arrivals_s.tolist()), cast("list[float]", services_s.tolist()), strict=True)


def _shared_queue(arrivals_s: Floats, services_s: Floats, factors: Floats) -> tuple[Floats, Ints]:
    free = [(0.0, worker) for worker in range(len(factors))]
    responses = np.empty(len(arrivals_s))
    chosen = np.empty(len(arrivals_s), dtype=np.int64)
    for number, (arrival, service) in enumerate(_pairs(arrivals_s, services_s)):
        free_at, worker = heapq.heappop(free)
        done = max(arrival, free_at) + service * float(factors[worker])
        heapq.heappush(free, (done, worker))
        responses[number] = done - arrival
        chosen[number] = worker
    return responses, chosen


def _by_load(
    policy: str, arrivals_s: Floats, services_s: Floats, factors: Floats, rng: np.random.Generator
) -> tuple[Floats, Ints]:
    count, workers = len(arrivals_s), len(factors)
    slow = [float(factor) for factor in factors]
    departures: list[deque[float]] = [deque() for _ in range(workers)]
    if policy == "random_two" and workers > 1:
        first = rng.integers(0, workers, count)
        second = (first + rng.integers(1, workers, count)) % workers
        candidates = np.stack((first, second), axis=1).tolist()
    else:
        # every worker, from the one after the last chosen on: ties are taken in turn
        candidates = [[(start + step) % workers for step in range(workers)] for start in range(workers)]
    responses = np.empty(count)
    chosen = np.empty(count, dtype=np.int64)
    turn = 0
    for number, (arrival, service) in enumerate(_pairs(arrivals_s, services_s)):
        asked = candidates[number] if policy == "random_two" and workers > 1 else candidates[turn]
        best = asked[0]
        least = None
        for worker in asked:
            queue = departures[worker]
            while queue and queue[0] <= arrival:
                queue.popleft()
            if least is None or len(queue) < least:
                best, least = worker, len(queue)
        queue = departures[best]
        done = max(arrival, queue[-1] if queue else 0.0) + service * slow[best]
        queue.append(done)
        turn = (best + 1) % workers
        responses[number] = done - arrival
        chosen[number] = best
    return responses, chosen
