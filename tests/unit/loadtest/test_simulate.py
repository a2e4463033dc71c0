"""Simulating many workers: nginx's rules one by one, and what must hold whatever happens."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.arrays import Floats
from loadtest.experiments.checks import POLICIES
from loadtest.simulate.balancers import BALANCERS
from loadtest.simulate.events import LOST, REFUSED, Fault, play
from loadtest.simulate.steps import choose_blindly, limit_may_matter, serve
from loadtest.simulate.system import System


class ByHand:
    """nginx's choice, spelt out worker by worker: smooth weighted round robin among those that may be chosen."""

    def __init__(self, policy: str, workers: int, limit: int) -> None:
        self.policy, self.limit = policy, limit
        self.open, self.out, self.weight = [0] * workers, [False] * workers, [0] * workers

    def choose(self, tried: tuple[int, ...]) -> int:
        may = [
            one
            for one, number in enumerate(self.open)
            if not self.out[one] and one not in tried and (not self.limit or number < self.limit)
        ]
        if self.policy == "least_conn":
            least = min((self.open[one] for one in may), default=0)
            may = [one for one in may if self.open[one] == least]
        for one in may:
            self.weight[one] += 1
        best = max(may, key=lambda one: self.weight[one], default=-1)  # the first of equal ones
        if best >= 0:
            self.weight[best] -= len(may)
        return best


@settings(max_examples=100)
@given(st.sampled_from(["round_robin", "least_conn"]), st.integers(1, 6), st.integers(0, 3), st.data())
def test_turns_are_taken_as_nginx_takes_them(policy: str, workers: int, limit: int, data: st.DataObject) -> None:
    fast, slow = BALANCERS[policy](workers, limit, lambda: 0), ByHand(policy, workers, limit)
    for what, where in data.draw(st.lists(st.tuples(st.sampled_from("cccceet"), st.integers(0, 5)), max_size=120)):
        worker = where % workers
        if what == "c":
            tried = (worker,) if where > 3 else ()
            chosen = fast.choose(tried)
            assert chosen == slow.choose(tried)
            if chosen >= 0:
                fast.begin(chosen)
                slow.open[chosen] += 1
        elif what == "e" and slow.open[worker]:
            fast.end(worker)
            slow.open[worker] -= 1
        elif what == "t":
            (fast.put_back if slow.out[worker] else fast.take_out)(worker)
            slow.out[worker] = not slow.out[worker]


@pytest.mark.parametrize("policy", POLICIES)
def test_stale_places_in_the_turn_are_forgotten(policy: str) -> None:
    """A worker that comes and goes leaves a place in the heap each time; they must not pile up."""
    balancer = BALANCERS[policy](1, 1, lambda: 0)
    for _ in range(1000):
        balancer.begin(balancer.choose(()))
        balancer.end(0)
    assert len(balancer.fair.heap) < 100


def test_random_two_takes_the_emptier_of_two_and_the_second_of_equal_ones() -> None:
    drawn = iter([0, 0, 1, 2, 1, 2, 1])
    balancer = BALANCERS["random_two"](3, 0, drawn.__next__)
    chosen = []
    for _ in range(3):
        chosen.append(balancer.choose(()))
        balancer.begin(chosen[-1])
    assert chosen == [1, 2, 1]  # 0 and 1 are equal; 2 is emptier than 1; now both have one


def test_one_worker_by_hand_idle_and_busy() -> None:
    arrivals = np.array([0.0, 1.0, 1.5, 9.0, 10.0])
    idle, busy = np.full(5, 2.0), np.full(5, 3.0)
    ends = serve(arrivals, idle, busy, np.zeros(5, dtype=np.int64), 1)
    # the last one arrives at 10 and the worker is busy until 11
    assert ends.tolist() == [2.0, 5.0, 8.0, 11.0, 14.0]
    # of two processes the second request finds one idle, and the third finds none
    ends = serve(arrivals, idle, busy, np.zeros(5, dtype=np.int64), 1, processes=2)
    assert ends.tolist() == [2.0, 3.0, 5.0, 11.0, 12.0]


def loads(draw: st.DrawFn) -> tuple[Floats, Floats, Floats]:
    """Requests at whole quarters of a second, so that many times coincide."""
    gaps = draw(st.lists(st.integers(0, 8), min_size=1, max_size=60))
    count = len(gaps)
    took = st.lists(st.integers(1, 20), min_size=count, max_size=count)
    return np.cumsum(gaps) / 4, np.array(draw(took)) / 4, np.array(draw(took)) / 4


LOADS = st.composite(loads)()


@settings(max_examples=80)
@given(
    policy=st.sampled_from(["random", "round_robin"]),
    load=LOADS,
    workers=st.integers(1, 5),
    balancers=st.integers(1, 3),
    seed=st.integers(0, 99),
    processes=st.integers(1, 3),
)
def test_whole_arrays_give_what_playing_one_by_one_gives(
    policy: str, load: tuple[Floats, Floats, Floats], workers: int, balancers: int, seed: int, *, processes: int
) -> None:
    via = np.random.default_rng(seed).integers(0, balancers, len(load[0]))
    first = np.random.default_rng(seed).integers(0, workers, balancers)
    chosen = choose_blindly(policy, via, workers, first, np.random.default_rng(seed))
    ends, played = play(
        policy, *load, via, workers=workers, first=first, max_conns=0, rng=np.random.default_rng(seed),
        processes=processes,
    )  # fmt: skip
    assert played.tolist() == chosen.tolist()
    for enough in (workers, 40):  # one by one, and all workers at once
        assert ends.tolist() == serve(*load, chosen, enough, processes=processes).tolist()
    if processes > 1:
        return
    for limit in (1, 2, 3):
        _, limited = play(
            policy, *load, via, workers=workers, first=first, max_conns=limit, rng=np.random.default_rng(seed)
        )
        may = limit_may_matter(policy, limit, load[0], ends, chosen=chosen, workers=workers)
        assert may or limited.tolist() == chosen.tolist()
        if policy == "random" and balancers == 1:
            assert may == (limited.tolist() != chosen.tolist())


@settings(max_examples=100)
@given(
    st.builds(System, st.sampled_from(POLICIES), st.integers(1, 5), st.integers(1, 3), st.integers(0, 3)),
    LOADS, st.integers(0, 99), st.one_of(st.none(), st.integers(1, 40)),
)  # fmt: skip
def test_what_holds_whatever_happens(
    system: System, load: tuple[Floats, Floats, Floats], seed: int, fails_at: int | None
) -> None:
    arrivals, idle, busy = load
    workers, balancers, limit = system.workers, system.balancers, system.max_conns
    via = np.random.default_rng(seed).integers(0, balancers, len(arrivals))
    faults = [Fault((0, 1)[:workers], fails_at / 4, 3.0, noticed_s=1.0)] if fails_at else []
    ends, chosen = play(
        system.policy, arrivals, idle, busy, via, workers=workers, first=np.arange(balancers) % workers,
        max_conns=limit, rng=np.random.default_rng(seed), faults=faults,
    )  # fmt: skip
    # every request ends once: answered by a worker, refused, or lost with a dead one
    assert set(chosen.tolist()) <= {REFUSED, LOST, *range(workers)}
    good = chosen >= 0
    assert (ends[good] >= arrivals[good] + np.minimum(idle, busy)[good]).all()
    if not limit:
        assert faults or (chosen >= 0).all()
    assert faults or LOST not in chosen
    for worker in range(workers):
        own = np.flatnonzero(chosen == worker)
        if not faults:
            # first come, first served, one at a time, by the time of its regime
            for before, number in pairwise([-1, *own.tolist()]):
                free = ends[before] if before >= 0 else 0.0
                late = free > arrivals[number]
                assert ends[number] == max(free, arrivals[number]) + (busy if late else idle)[number]
        # nobody holds more than the limit of each balancer
        for number in own.tolist() if limit and not faults else []:
            mine = own[(via[own] == via[number]) & (own <= number)]
            assert np.sum(ends[mine] > arrivals[number]) <= limit
    # Little's law holds of any finite run: times in the system add up to the integral of how many are in it
    moments = np.sort(np.concatenate((arrivals[good], ends[good])))
    inside = [np.sum((arrivals[good] <= one) & (ends[good] > one)) for one in moments[:-1]]
    assert float(np.dot(inside, np.diff(moments))) == pytest.approx(float(np.sum((ends - arrivals)[good])))
