"""Serve requests whose workers are known: Lindley's recursion for all workers at once."""

import heapq
from typing import Any, cast

import numpy as np

from loadtest.arrays import Floats, Ints

_FEW = 32  # workers; with fewer, a step for all of them costs more than their requests one by one


def choose_blindly(policy: str, via: Ints, workers: int, first: Ints, rng: np.random.Generator) -> Ints:
    """The workers that random or round_robin choose while nobody is full and nobody is missing.

    Args:
        policy: `random` or `round_robin`.
        via: Balancer of each request, shape (m,).
        workers: Number of workers n.
        first: Worker with which each balancer begins to take turns, shape (balancers,).
        rng: Source of random choices.

    Returns:
        Worker of each request, shape (m,).
    """
    if policy == "random":
        return rng.integers(0, workers, len(via))
    chosen = np.empty(len(via), dtype=np.int64)
    for number, begin in enumerate(cast("list[int]", first.tolist())):
        own = np.flatnonzero(via == number)
        chosen[own] = (begin + np.arange(len(own))) % workers
    return chosen


def serve(
    arrivals_s: Floats, idle_s: Floats, busy_s: Floats, chosen: Ints, workers: int, *, processes: int = 1
) -> Floats:
    """When each request ends. A worker's processes serve one request each, in the order in which they arrive.

    Step k takes the k-th request of every worker: it begins when it arrives or when a process of the worker is free.
    The recursion is exact (Kiefer and Wolfowitz; Lindley's for one process), and what a step costs does not grow with
    the number of workers as fast as they do.

    Args:
        arrivals_s: Arrival times in seconds, ascending, shape (m,).
        idle_s: Service time in seconds where a process was idle before, shape (m,).
        busy_s: Service time in seconds where none was, shape (m,).
        chosen: Worker of each request, shape (m,).
        workers: Number of workers n, at most 65,535.
        processes: Processes of each worker.

    Returns:
        Times of departure in seconds, shape (m,).
    """
    if workers < _FEW:
        return _one_by_one(arrivals_s, idle_s, busy_s, chosen, [[0.0] * processes for _ in range(workers)])
    order, rank = _queues(chosen, workers)
    order = order[np.argsort(rank, kind="stable")]
    sizes = np.bincount(rank)
    at, idle, busy, who = arrivals_s[order], idle_s[order], busy_s[order], chosen[order]
    done = np.empty(len(order))
    free = np.zeros((workers, processes))
    low = 0
    for high in np.cumsum(sizes).tolist():
        own = who[low:high]
        first: Any = free[own].argmin(axis=1) if processes > 1 else 0
        free_at, now = free[own, first], at[low:high]
        took = np.where(free_at > now, busy[low:high], idle[low:high])
        free[own, first] = done[low:high] = np.maximum(free_at, now) + took
        low = high
    ends = np.empty(len(order))
    ends[order] = done
    return ends


def _one_by_one(arrivals_s: Floats, idle_s: Floats, busy_s: Floats, chosen: Ints, free: list[list[float]]) -> Floats:
    """The same; `free` holds when each process of each worker is free, a heap a worker."""
    ends = np.empty(len(arrivals_s))
    at, idle_list, busy_list = (cast("list[float]", one.tolist()) for one in (arrivals_s, idle_s, busy_s))
    who = cast("list[int]", chosen.tolist())
    for number, (now, idle, busy, worker) in enumerate(zip(at, idle_list, busy_list, who, strict=True)):
        own = free[worker]
        ends[number] = done = own[0] + busy if own[0] > now else now + idle
        heapq.heapreplace(own, done)
    return ends


def limit_may_matter(
    policy: str, limit: int, arrivals_s: Floats, ends_s: Floats, *, chosen: Ints, workers: int
) -> bool:
    """Whether a limit of open requests at a worker of one process could change what a blind policy chose without it.

    random: a request arrives at a worker that has `limit` already: the one `limit` places before it there has not
    ended. round_robin: a worker gets its `limit`-th; it then sits out turns, and the order changes for good.
    """
    if policy == "round_robin":
        limit -= 1
    order, rank = _queues(chosen, workers)
    late = np.flatnonzero(rank >= limit)
    return bool(np.any(ends_s[order[late - limit]] > arrivals_s[order[late]]))


def _queues(chosen: Ints, workers: int) -> tuple[Ints, "np.ndarray[Any, np.dtype[np.int64]]"]:
    """Requests in the order of their workers and then of time, and the place of each at its worker."""
    order = np.argsort(chosen.astype(np.uint16), kind="stable")  # 16 bits are sorted by radix
    counts = np.bincount(chosen, minlength=workers)
    rank = np.arange(len(chosen)) - np.repeat(np.cumsum(counts) - counts, counts)
    return order, rank
