"""Play requests one by one: for policies that look at their open requests, for limits that are reached, for faults."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from loadtest.arrays import Floats, Ints
from loadtest.simulate.balancers import BALANCERS, Balancer, draws

REFUSED = -1  # every worker that could be chosen was full: 429
LOST = -2  # as many workers as nginx tries did not answer: 502
_TRIES = 2  # workers that nginx tries for one request (the role balancer's balancer_tries)


@dataclass(frozen=True, slots=True)
class Fault:
    """Workers that die at once, with what they hold, and are back some seconds later.

    A dead worker refuses connections. nginx then tries another worker. The pool's watch takes the dead worker out
    `noticed_s` later and puts it back as soon as it serves.

    Attributes:
        workers: Numbers of the workers that die.
        at_s: When, in seconds.
        lasts_s: For how long, in seconds.
        noticed_s: Seconds until the pool's watch takes them out (the role pool's pool_silent_s).
    """

    workers: tuple[int, ...]
    at_s: float
    lasts_s: float
    noticed_s: float = 1.2


def play(
    policy: str,
    arrivals_s: Floats,
    idle_s: Floats,
    busy_s: Floats,
    via: Ints,
    *,
    workers: int,
    first: Ints,
    max_conns: int,
    rng: np.random.Generator,
    faults: Sequence[Fault] = (),
    processes: int = 1,
    slowness: Floats | None = None,
) -> tuple[Floats, Ints]:
    """Send each request through its balancer to a worker.

    Args:
        policy: A name of BALANCERS.
        arrivals_s: Arrival times in seconds, ascending, shape (m,).
        idle_s: Service time in seconds where a process was idle before, shape (m,).
        busy_s: Service time in seconds where none was, shape (m,).
        via: Balancer of each request, shape (m,).
        workers: Number of workers n.
        first: Worker with which each balancer begins to take turns, shape (balancers,); none knows what another one
            sends.
        max_conns: Open requests of one balancer at one worker; 0 for no limit.
        rng: Source of random choices.
        faults: Workers that fail.
        processes: Processes of each worker, which share its queue.
        slowness: Factor on the service time of each worker, shape (n,); all 1 by default.

    Returns:
        Times of departure in seconds (of refused and lost requests when that is known), and the worker of each
        request, REFUSED or LOST; both of shape (m,).
    """
    draw = draws(workers, rng).__next__
    views = [BALANCERS[policy](workers, max_conns, draw) for _ in first]
    state = _State(views, workers, len(arrivals_s), processes)
    state.slow = [1.0] * workers if slowness is None else cast("list[float]", slowness.tolist())
    for view, begin in zip(state.views, cast("list[int]", first.tolist()), strict=True):
        for _ in range(begin):
            view.fair.take()
    # plain floats: a loop over numpy's own is five times slower
    state.idle, state.busy = cast("list[float]", idle_s.tolist()), cast("list[float]", busy_s.tolist())
    state.via = cast("list[int]", via.tolist())
    changes = _changes(faults)
    for number, now in enumerate(cast("list[float]", arrivals_s.tolist())):
        while changes and changes[0][0] <= now:
            state.change(*changes.pop(0))
        state.settle(now)
        state.place(number, now)
    for change in changes:
        state.change(*change)
    return np.array(state.ends), np.array(state.chosen, dtype=np.int64)


def _changes(faults: Sequence[Fault]) -> list[tuple[float, int, Fault]]:
    """What happens to workers, in order of time: 0 die, 1 are taken out, 2 are back."""
    found = []
    for fault in faults:
        found += [(fault.at_s, 0, fault), (fault.at_s + fault.lasts_s, 2, fault)]
        if fault.noticed_s < fault.lasts_s:
            found.append((fault.at_s + fault.noticed_s, 1, fault))
    return sorted(found, key=lambda one: one[:2])


class _State:
    idle: list[float]
    busy: list[float]
    via: list[int]
    slow: list[float]

    def __init__(self, views: list[Balancer], workers: int, count: int, processes: int) -> None:
        self.views = views
        self.free = [[0.0] * processes for _ in range(workers)]  # when each process is free: heaps
        self.alive = [True] * workers
        self.held: list[list[int]] = [[] for _ in range(workers)]  # requests at each worker, the oldest first
        self.ends = [0.0] * count
        self.chosen = [REFUSED] * count
        self.departures: list[tuple[float, int, int]] = []  # when, request, worker
        self.tried: dict[int, tuple[int, ...]] = {}

    def settle(self, now: float) -> None:
        """Let balancers know of every request that has ended."""
        departures, held = self.departures, self.held
        while departures and departures[0][0] <= now:
            _, number, worker = heapq.heappop(departures)
            own = held[worker]
            if number in own:  # else the worker died with it
                own.remove(number)
                self.views[self.via[number]].end(worker)

    def place(self, number: int, now: float) -> None:
        """Send a request to a worker, and to the next one where the first is dead."""
        view = self.views[self.via[number]]
        tried = self.tried.get(number, ())
        while True:
            if len(tried) >= _TRIES:
                worker = LOST
                break
            worker = view.choose(tried)
            if worker < 0:
                worker = LOST if tried else REFUSED
                break
            if self.alive[worker]:
                break
            tried = self.tried[number] = (*tried, worker)
        self.chosen[number] = worker
        if worker < 0:
            self.ends[number] = now
            return
        free = self.free[worker]
        slow = self.slow[worker]
        done = free[0] + self.busy[number] * slow if free[0] > now else now + self.idle[number] * slow
        self.ends[number] = done
        heapq.heapreplace(free, done)
        self.held[worker].append(number)
        heapq.heappush(self.departures, (done, number, worker))
        view.begin(worker)

    def change(self, now: float, what: int, fault: Fault) -> None:
        """Let a fault's workers die, be taken out or come back."""
        self.settle(now)
        if what == 0:
            for worker in fault.workers:
                self.alive[worker] = False
            for worker in fault.workers:
                broken, self.held[worker] = self.held[worker], []
                for number in broken:
                    self.views[self.via[number]].end(worker)
                    self.tried[number] = (*self.tried.get(number, ()), worker)
                    self.place(number, now)
            return
        for worker in fault.workers:
            for view in self.views:
                if what == 1:
                    view.take_out(worker)
                elif view.out[worker]:
                    view.put_back(worker)
            if what == 2:
                self.alive[worker] = True
                self.free[worker] = [now] * len(self.free[worker])
