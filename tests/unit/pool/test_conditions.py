"""The law by which workers are in service or out of it: single cases, and what must hold whatever is seen."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as some

from imagerec_pool.conditions import (
    DOWN,
    DRAINING,
    FAILING,
    READY,
    STANDBY,
    UP,
    WAKING,
    Condition,
    Rules,
    Seen,
    decide,
    left_out,
    serving,
)

RULES = Rules()
NAMES = ("worker1", "worker2", "worker3", "worker4")
ANSWERS = Seen(READY, 0, (False,) * 4)
SILENT = Seen(None, RULES.silent_s)


def pool(count: int = 4, **changed: Condition) -> dict[str, Condition]:
    return {name: Condition(UP) for name in NAMES[:count]} | changed


def after(before: dict[str, Condition], *steps: dict[str, Seen], every_s: float = 0.4) -> dict[str, Condition]:
    for number, seen in enumerate(steps):
        before, _ = decide(before, seen, number * every_s, RULES)
    return before


@pytest.mark.parametrize(
    ("seen", "state", "why"),
    [
        (Seen(READY), UP, "answers"),
        (Seen(DRAINING), DRAINING, "is being taken out"),
        (Seen("refuses connections"), DOWN, "refuses connections"),
        (Seen("answers 500 at /readyz"), DOWN, "answers 500 at /readyz"),
        (SILENT, DOWN, "does not answer"),
        (Seen(None, RULES.silent_s - 0.01), UP, "not asked yet"),
        (Seen(), UP, "not asked yet"),
    ],
    ids=["ready", "draining", "refused", "broken", "silent", "busy", "no news"],
)
def test_one_look_decides(seen: Seen, state: str, why: str) -> None:
    found = after(pool(), {"worker1": seen})["worker1"]
    assert (found.state, found.why) == (state, why)


LATE = Seen(READY, 0, (), RULES.late_s)


def test_who_is_reached_too_slowly_is_left_out_and_what_goes_there_moves() -> None:
    """It answers its probes: they are short."""
    state, cut = decide(pool(), {"worker1": LATE}, 1, RULES)
    assert (state["worker1"].state, state["worker1"].why, cut) == (DOWN, "is reached too slowly", {"worker1"})
    assert after(state, {"worker1": Seen(READY)}, {"worker1": Seen(READY)})["worker1"].state == UP
    almost = Seen(READY, 0, (), RULES.late_s - 0.01)
    assert decide(pool(), {"worker1": almost}, 1, RULES) == (after(pool(), {"worker1": Seen(READY)}), set())


def test_where_silence_may_last_longer_the_way_may_take_longer() -> None:
    patient = Rules(silent_s=5)
    for late_s, state in ((2.4, UP), (2.5, DOWN)):
        found, _ = decide(pool(), {"worker1": Seen(READY, 0, (), late_s)}, 1, patient)
        assert found["worker1"].state == state


def test_a_second_one_that_is_reached_too_slowly_is_left_out_but_what_goes_there_stays() -> None:
    """A request has two tries."""
    state, _ = decide(pool(), {"worker1": LATE}, 1, RULES)
    state, cut = decide(state, {"worker2": LATE}, 2, RULES)
    assert (state["worker2"].state, cut) == (DOWN, set())


@pytest.mark.parametrize("names", [NAMES[:3], NAMES], ids=["most", "all"])
def test_where_most_are_reached_too_slowly_it_is_the_balancer_s_link(names: tuple[str, ...]) -> None:
    state, cut = decide(pool(), dict.fromkeys(names, LATE), 1, RULES)
    assert (serving(state), cut) == ([*NAMES], set())


def test_who_was_left_out_for_it_still_counts_in_the_half() -> None:
    """Its late requests are cut off, so nothing is late there any more. Else the workers would go one by one."""
    state = pool()
    for number, name in enumerate(NAMES):
        state, _ = decide(state, {name: LATE}, number, RULES)
    assert serving(state) == [*NAMES[2:]]
    answers = {"worker1": Seen(READY)}
    state = after(state, answers, answers)
    state, _ = decide(state, {"worker3": LATE}, 5, RULES)
    assert serving(state) == ["worker1", "worker4"]


@pytest.mark.parametrize("state", [STANDBY, WAKING, UP])
def test_who_sleeps_does_not_count_in_the_half(state: str) -> None:
    """Nothing is sent there, so nothing can be late. One of them is told to sleep just now."""
    late = dict.fromkeys(NAMES[:2], LATE)
    answer = Seen(None if state == WAKING else STANDBY)
    found, cut = decide(pool(worker4=Condition(state)), late | {"worker4": answer}, 1, RULES)
    assert (serving(found), cut) == ([*NAMES[:3]], set())


def test_the_last_that_serves_stays_however_slowly_it_is_reached() -> None:
    state, cut = decide(pool(2, worker2=Condition(DOWN)), {"worker1": LATE}, 1, RULES)
    assert (serving(state), cut) == (["worker1"], set())


def test_a_sleeper_is_left_out_and_returns_with_its_first_answer() -> None:
    """While it starts its silence is no fall, whatever it was before."""
    fallen = after(pool(), {"worker1": SILENT}, {"worker1": Seen(STANDBY)})
    assert (fallen["worker1"].state, left_out(fallen)) == (STANDBY, {"worker1"})
    waking = after(fallen, {}, {"worker1": Seen(None, 3 * RULES.silent_s)})
    assert (waking["worker1"].state, waking["worker1"].why) == (WAKING, "is starting")
    assert decide(waking, {"worker1": SILENT}, 9, RULES)[1] == set()
    assert after(waking, {"worker1": Seen(READY)})["worker1"].state == UP
    assert after(waking, {"worker1": Seen("refuses connections")})["worker1"].state == DOWN
    assert after(waking, {"worker1": Seen(DRAINING)})["worker1"].state == DRAINING


def test_the_time_of_the_change_is_kept_while_the_state_is() -> None:
    gone = Seen("refuses connections")
    found = after(pool(), {}, {"worker1": gone}, {"worker1": gone}, {"worker1": gone})
    assert found["worker1"].since_s == 0.4


def test_who_fell_answers_two_probes_before_it_returns_and_more_each_time_it_falls_again() -> None:
    needed = []
    state = pool()
    for _ in range(4):
        state, _ = decide(state, {"worker1": Seen("refuses connections")}, 1, RULES)
        count = 0
        while state["worker1"].state != UP:
            state, _ = decide(state, {"worker1": Seen(READY)}, 1, RULES)
            count += 1
        needed.append(count)
    assert needed == [2, 4, 8, 16]
    state, _ = decide(state, {"worker1": Seen("refuses connections")}, 100, RULES)
    assert len(state["worker1"].falls) == 1  # the others are forgotten


def test_who_was_taken_out_returns_with_its_first_answer() -> None:
    found = after(pool(), {"worker1": Seen(DRAINING)}, {"worker1": Seen(READY)})
    assert found["worker1"].state == UP


def test_who_answers_by_500_is_left_out_and_tried_again_later_each_time() -> None:
    failing = dict.fromkeys(NAMES, ANSWERS) | {"worker1": Seen(READY, 0, (True,) * 5)}
    state, waits, now_s = pool(), [], 0.0
    for _ in range(3):
        state, _ = decide(state, failing, now_s, RULES)
        state, _ = decide(state, failing, now_s + 0.1, RULES)
        assert state["worker1"].state == FAILING
        assert state["worker1"].why == "5 of its last 5 answers were 500"
        assert serving(state) == [*NAMES[1:]]
        waits.append(state["worker1"].retry_s - now_s)
        early, _ = decide(state, {"worker1": Seen(READY)}, state["worker1"].retry_s - 0.1, RULES)
        assert early["worker1"].state == FAILING
        now_s = state["worker1"].retry_s
        state, _ = decide(state, {"worker1": Seen(READY)}, now_s, RULES)
        assert state["worker1"].state == UP
    assert waits == pytest.approx([10, 20, 40])


def test_a_failing_worker_whose_process_is_replaced_returns_at_once() -> None:
    failing = Condition(FAILING, retry_s=1000, ejections=(0.0,))
    found = after(pool(worker1=failing), {"worker1": Seen("refuses connections")}, {"worker1": Seen(READY)})
    assert found["worker1"].state == UP


def test_a_request_that_every_worker_answers_by_500_leaves_all_in_service() -> None:
    everywhere = {name: Seen(READY, 0, (True,) * 8) for name in NAMES}
    assert serving(after(pool(), everywhere, everywhere, everywhere)) == [*NAMES]


def test_nothing_is_said_of_a_worker_whose_neighbours_answer_nothing() -> None:
    assert serving(after(pool(2), {"worker1": Seen(READY, 0, (True,) * 8)})) == ["worker1", "worker2"]


def test_the_second_worker_that_is_silent_is_cut_off_later_than_the_first() -> None:
    """The first one's requests have moved there, and each has two tries: a slow worker must not lose them."""
    both = {"worker1": SILENT, "worker2": SILENT}
    state, cut = decide(pool(), both, 0, RULES)
    assert cut == {"worker1"}
    assert {state["worker1"].state, state["worker2"].state} == {DOWN}
    long = {"worker1": Seen(None, 2), "worker2": Seen(None, RULES.patience * RULES.silent_s)}
    assert decide(state, long, 2.4, RULES)[1] == {"worker1", "worker2"}
    state, _ = decide(state, {"worker1": Seen(None, 30)}, 30, RULES)
    assert "worker2" in decide(state, {"worker1": Seen(None, 31), "worker2": SILENT}, 31, RULES)[1]


def test_nobody_is_cut_off_while_nobody_else_serves() -> None:
    state, cut = decide(pool(2, worker2=Condition(DOWN)), {"worker1": SILENT}, 0, RULES)
    assert (serving(state), cut) == ([], set())


# --- whatever is seen -------------------------------------------------------------------------------------------------
# Everything that may be seen of a worker: drawing one of all is many times faster than drawing each part.
seens = some.sampled_from(
    [
        Seen(answer, waited_s, failures, late_s)
        for late_s in (0.0, 1.2)
        for answer in (None, READY, DRAINING, STANDBY, "refuses connections")
        for waited_s in (0.0, 0.5, 1.2, 4.0)
        for count in range(9)
        for failures in itertools.product((False, True), repeat=count)
    ]
)
runs = some.integers(1, 6).flatmap(
    lambda count: some.lists(
        some.fixed_dictionaries({f"worker{number}": seens for number in range(count)}), min_size=1, max_size=30
    )
)


@given(runs, some.floats(0, 1e6))
def test_the_list_is_never_empty_and_only_who_is_out_is_left_out(steps: list[dict[str, Seen]], start_s: float) -> None:
    state = {name: Condition(UP) for name in steps[0]}
    for number, seen in enumerate(steps):
        state, cut = decide(state, seen, start_s + 0.1 * number, RULES)
        assert state.keys() == seen.keys()
        out = left_out(state)
        assert out < state.keys()
        assert out in ({name for name in state if state[name].state != UP}, set())
        assert not (cut and not serving(state))
        assert not cut & set(serving(state))


@given(runs)
def test_500s_never_take_out_more_than_half_of_the_pool(steps: list[dict[str, Seen]]) -> None:
    state = {name: Condition(UP) for name in steps[0]}
    for number, seen in enumerate(steps):
        healthy = {name: Seen(READY, 0, each.failures) for name, each in seen.items()}
        state, _ = decide(state, healthy, 0.1 * number, RULES)
        assert sum(each.state == FAILING for each in state.values()) <= len(state) // 2
        assert serving(state)


@given(
    some.lists(
        some.fixed_dictionaries(
            {name: some.sampled_from([LATE, Seen(READY), Seen(), Seen(STANDBY)]) for name in NAMES}
        ),
        max_size=12,
    )
)
def test_slow_links_never_take_out_more_than_half_of_those_awake(steps: list[dict[str, Seen]]) -> None:
    state, slow = pool(), set[str]()
    for number, seen in enumerate(steps):
        state, _ = decide(state, seen, 0.1 * number, RULES)
        before, slow = slow, {name for name, each in state.items() if each.why == "is reached too slowly"}
        awake = [each for each in state.values() if each.state not in {STANDBY, WAKING}]
        assert slow <= before or 2 * len(slow) <= len(awake)


@pytest.mark.slow
@given(some.binary(min_size=25, max_size=50))
def test_a_worker_that_flaps_changes_the_list_ever_more_rarely(drawn: bytes) -> None:
    """Whatever it answers: once it has fallen often, it leaves and returns at most once in 17 probes (7 s)."""
    answers = [READY if byte >> bit & 1 else "refuses connections" for byte in drawn for bit in range(8)]
    state, changes = pool(2), 0
    for number, answer in enumerate(answers):
        before = left_out(state)
        state, _ = decide(state, {"worker1": Seen(answer), "worker2": Seen(READY)}, 0.4 * number, RULES)
        changes += left_out(state) != before
    assert changes <= 10 + 2 * len(answers) / 17


@given(runs)
def test_the_same_is_decided_whatever_the_clock_began_with(steps: list[dict[str, Seen]]) -> None:
    def states(start_s: float) -> list[dict[str, str]]:
        state, found = {name: Condition(UP) for name in steps[0]}, []
        for number, seen in enumerate(steps):
            state, _ = decide(state, seen, start_s + 0.5 * number, RULES)
            found.append({name: each.state for name, each in state.items()})
        return found

    assert states(0.0) == states(4096.0)


def test_a_condition_begins_without_a_cut() -> None:
    assert Condition().cut_s == -math.inf
