"""One system of workers and balancers under one load, simulated."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from loadtest.arrays import Floats, Ints
from loadtest.simulate.arrivals import poisson, swinging
from loadtest.simulate.events import LOST, REFUSED, Fault, play
from loadtest.simulate.service import Service
from loadtest.simulate.steps import choose_blindly, limit_may_matter, serve

BLIND = ("random", "round_robin")


@dataclass(frozen=True, slots=True)
class System:
    """Workers behind balancers that do not know what the others send.

    Attributes:
        policy: How each balancer chooses: random, round_robin, least_conn or random_two.
        workers: Number of workers n.
        balancers: Number of balancers; a client chooses one at random for each request.
        max_conns: Open requests of one balancer at one worker; 0 for no limit.
        reloaded: Every balancer begins its turns with the first worker, as when all are reloaded at once; else each
            begins somewhere, as when they have run for long.
        processes: Processes of each worker, which share its queue.
    """

    policy: str
    workers: int
    balancers: int = 1
    max_conns: int = 0
    reloaded: bool = False
    processes: int = 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of each request; every array has shape (m,).

    Attributes:
        arrivals_s: Arrival times in seconds, ascending.
        ends_s: When the answer was there, in seconds, or it was known that there is none.
        chosen: Worker that answered; REFUSED or LOST where none did.
    """

    arrivals_s: Floats
    ends_s: Floats
    chosen: Ints

    @property
    def answered(self) -> "np.ndarray[Any, np.dtype[np.bool_]]":
        """Which requests were answered."""
        return self.chosen >= 0

    @property
    def refused(self) -> int:
        """Number of requests that found every worker full."""
        return int(np.sum(self.chosen == REFUSED))

    @property
    def lost(self) -> int:
        """Number of requests that met dead workers only."""
        return int(np.sum(self.chosen == LOST))

    def parts(self, count: int, *, apart: bool) -> list[Ints]:
        """Places of the requests in so many parts that depend little on each other.

        Queues at a high ρ remember for longer than a part of the time lasts, so the parts are those of workers where
        each worker's queue is apart from the others', as behind random balancing, and there are enough workers.
        """
        every = np.arange(len(self.chosen))
        if not apart or self.chosen.max(initial=0) + 1 < count:
            return np.array_split(every, count)
        group = np.where(self.answered, self.chosen, every) % count
        return [np.flatnonzero(group == number) for number in range(count)]

    def between(self, begin_s: float, end_s: float) -> "Outcome":
        """Only requests that arrived at `begin_s` or later, and before `end_s`."""
        low, high = np.searchsorted(self.arrivals_s, (begin_s, end_s)).tolist()
        return Outcome(self.arrivals_s[low:high], self.ends_s[low:high], self.chosen[low:high])


def arrive(rate_hz: float, requests: int, rng: np.random.Generator, swing: tuple[float, float] | None = None) -> Floats:
    """Arrival times in seconds of Poisson requests, ascending, shape (requests,).

    Args:
        rate_hz: Requests a second on average.
        requests: How many.
        rng: Source of chance.
        swing: Share and period in seconds by which the load swings.
    """
    times = poisson(requests, rate_hz, rng)
    return times if swing is None else swinging(times, *swing)


def simulate(
    system: System,
    arrivals_s: Floats,
    service: Service,
    rng: np.random.Generator,
    faults: Sequence[Fault] = (),
    *,
    slowness: Floats | None = None,
) -> Outcome:
    """Send requests through a system.

    Where a policy looks at no queue, no limit is reached and nothing fails, whole arrays are computed at once. That
    gives the same times as playing request by request.

    Args:
        system: Workers, balancers, policy, limit.
        arrivals_s: Arrival times in seconds, ascending, shape (m,).
        service: Service times to draw from.
        rng: Source of chance.
        faults: Workers that fail.
        slowness: Factor on the service time of each worker, shape (n,); all 1 by default.
    """
    count = len(arrivals_s)
    idle_s, busy_s = service.draw(count, rng)
    via = rng.integers(0, system.balancers, count) if system.balancers > 1 else np.zeros(count, dtype=np.int64)
    first = rng.integers(0, 1 if system.reloaded else system.workers, system.balancers)
    if system.policy in BLIND and not faults:
        state = rng.bit_generator.state
        chosen = choose_blindly(system.policy, via, system.workers, first, rng)
        idle, busy = (one if slowness is None else one * slowness[chosen] for one in (idle_s, busy_s))
        ends_s = serve(arrivals_s, idle, busy, chosen, system.workers, processes=system.processes)
        if not system.max_conns or (system.processes == 1 and not limit_may_matter(
            system.policy, system.max_conns, arrivals_s, ends_s, chosen=chosen, workers=system.workers
        )):  # fmt: skip
            return Outcome(arrivals_s, ends_s, chosen)
        rng.bit_generator.state = state
    ends_s, chosen = play(
        system.policy, arrivals_s, idle_s, busy_s, via, workers=system.workers, first=first,
        max_conns=system.max_conns, rng=rng, faults=faults, processes=system.processes, slowness=slowness,
    )  # fmt: skip
    return Outcome(arrivals_s, ends_s, chosen)
