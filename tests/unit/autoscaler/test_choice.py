"""Who serves when so many shall, and who is left alone because it did not come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from imagerec_autoscaler.choice import sleepers, startable
from imagerec_autoscaler.fitness import Fitness

STATES = ["up", "waking", "standby", "unknown", "draining", "down", "failing"]
NAMES = [f"worker{number}" for number in range(1, 7)]
pools = some.dictionaries(some.sampled_from(NAMES), some.sampled_from(STATES), min_size=1)


@pytest.mark.parametrize(
    ("target", "states", "asleep", "wanted"),
    [
        pytest.param(1, ["up", "up", "up"], [], {2, 3}, id="the first stays"),
        pytest.param(2, ["up", "standby", "standby"], [2, 3], {3}, id="the first sleeper is woken"),
        pytest.param(2, ["down", "up", "standby"], [3], set(), id="another one for one that fell"),
        pytest.param(2, ["draining", "up", "standby"], [3], set(), id="another one for one that an operator took out"),
        pytest.param(2, ["up", "up", "up"], [], {3}, id="one that came back makes another superfluous"),
        pytest.param(1, ["waking", "up", "up"], [], {1, 3}, id="one that serves is kept before one that starts"),
        pytest.param(1, ["waking", "standby", "down"], [2], {2}, id="one that starts is waited for"),
        pytest.param(3, ["up", "draining", "down"], [], set(), id="nobody is left to be woken"),
    ],
)
def test_who_sleeps(target: int, states: list[str], asleep: list[int], wanted: set[int]) -> None:
    pool = dict(zip(NAMES, states, strict=False))
    found = sleepers(target, pool, {f"worker{number}" for number in asleep}, ())
    assert found == {f"worker{number}" for number in wanted}


@given(some.integers(1, 6), pools, some.sets(some.sampled_from(NAMES)), some.sets(some.sampled_from(NAMES)))
def test_as_many_serve_as_shall_or_can(target: int, states: dict[str, str], asleep: set[str], unfit: set[str]) -> None:
    states |= dict.fromkeys(asleep & states.keys(), "standby")
    found = sleepers(target, states, asleep, unfit)
    assert found <= set(states)
    up = {name for name in states if name not in asleep and states[name] in {"up", "unknown"}}
    starts = {name for name in states if name not in asleep and states[name] in {"waking", "standby"}}
    others = set(states) - asleep - up - starts
    assert not found & others, "what fell, or was taken out by an operator, is left as it is"
    assert len(up - found) == min(target, len(up))
    kept = set(states) - found - others
    assert len(kept) == min(target, len(up | starts | (asleep & set(states) - unfit)))
    assert not (kept - up - starts) & unfit
    assert sleepers(target, states, found, unfit) == found, "a second look changes nothing"


def test_those_that_serve_come_first() -> None:
    states = {"worker1": "standby", "worker2": "up", "worker3": "draining", "worker4": "standby"}
    assert startable(states, {"worker1", "worker4"}, {"worker4"}) == ["worker2", "worker1"]


def test_who_does_not_come_is_left_alone_for_longer_each_time() -> None:
    fitness, states, now_s, pauses = Fitness(timeout_s=30), {"worker1": "waking"}, 0.0, []
    for _ in range(3):
        fitness.woken({"worker1"}, now_s)
        assert fitness.look(states, (), now_s + 29) == set()
        assert fitness.look(states, (), now_s + 30) == {"worker1"}
        now_s += 30
        left_s = next(after for after in range(10_000) if not fitness.unfit(now_s + after))
        pauses.append(left_s)
        now_s += left_s
    assert pauses == [60, 120, 240]
    fitness.woken({"worker1"}, now_s)
    assert fitness.look({"worker1": "up"}, (), now_s + 1) == set()
    fitness.woken({"worker1"}, now_s)
    fitness.look(states, (), now_s + 30)
    assert fitness.unfit(now_s + 89) == {"worker1"}
    assert not fitness.unfit(now_s + 90)


def test_one_that_an_operator_took_out_is_no_failure() -> None:
    fitness = Fitness(timeout_s=30)
    fitness.woken({"worker1"}, 0)
    assert fitness.look({"worker1": "draining"}, (), 40) == set()
    assert fitness.unfit(41) == set()
