"""The law by which a pool grows and shrinks: what must hold whatever is seen, and its course in simulated time."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as some

from imagerec_autoscaler.law import Rules, Seen, State, decide, impossible, need
from imagerec_autoscaler.queueing import erlang_c, slowest_s
from tests.unit.autoscaler.simulated import changes, constant, run

RULES = Rules(minimum=1, maximum=4, objective_s=0.25)
POOL = (1, 1, 1, 1)
SERVICE_S = 0.02

seconds = some.builds(
    Seen,
    now_s=some.just(0.0),
    known=some.booleans(),
    arrivals=some.integers(0, 500),
    answers=some.integers(0, 50),
    busy_s=some.floats(0, 5),
    waited_s=some.floats(0, 50),
    refused=some.integers(0, 3),
    in_flight=some.none() | some.integers(0, 200),
    serving=some.integers(0, 4),
    processes=some.sampled_from([(), (1,), POOL, (2, 1, 4, 1)]),
)
pauses = some.sampled_from([1.0, 1.0, 1.0, 1.4, 0.0, -3600.0, 50.0])
bounds = some.tuples(some.integers(1, 5), some.integers(0, 4)).map(
    lambda both: Rules(both[0], sum(both), objective_s=0.25, down_after_s=3.0)
)


def steady(arrivals: int, times: int, state: State, *, serving: int | None = None, rules: Rules = RULES) -> State:
    """Let so many requests come each second, all of them answered at once."""
    for _ in range(times):
        now_s = (state.before_s or 0.0) + 1
        size = state.target if serving is None else serving
        seen = Seen(now_s, True, arrivals, arrivals, arrivals * SERVICE_S, in_flight=0, serving=size, processes=POOL)
        state, _ = decide(state, seen, rules)
    return state


@given(some.lists(some.tuples(pauses, seconds), max_size=40), bounds, some.integers(-3, 20))
def test_the_target_stays_within_its_bounds_and_holds_where_nothing_is_known(
    course: list[tuple[float, Seen]], rules: Rules, start: int
) -> None:
    state, now_s = State(start), 0.0
    for pause_s, seen in course:
        before = min(max(state.target, rules.minimum), rules.maximum)
        now_s += pause_s
        state, decision = decide(state, replace(seen, now_s=now_s), rules)
        assert rules.minimum <= decision.target <= rules.maximum
        assert state.target == decision.target
        if not seen.known or not 0.2 <= pause_s <= 3:
            assert decision.target == before


@given(
    some.lists(seconds, max_size=40),
    seconds,
    some.integers(0, 300),
    some.integers(0, 100),
    bounds,
)
def test_more_load_never_means_fewer_workers(
    past: list[Seen], last: Seen, more: int, deeper: int, rules: Rules
) -> None:
    state = State(2)
    for number, seen in enumerate(past):
        state, _ = decide(state, replace(seen, now_s=float(number)), rules)
    last = replace(last, now_s=float(len(past)), known=True)
    heavier = replace(
        last,
        arrivals=last.arrivals + more,
        in_flight=None if last.in_flight is None else last.in_flight + deeper,
    )
    assert decide(state, heavier, rules)[1].target >= decide(state, last, rules)[1].target


@given(some.floats(0, 50), some.floats(0, 5), bounds, some.lists(some.integers(1, 8), max_size=8))
def test_what_a_load_needs_grows_with_it(load: float, more: float, rules: Rules, processes: list[int]) -> None:
    assert need(load, processes, SERVICE_S, rules) <= need(load + more, processes, SERVICE_S, rules)


@pytest.mark.parametrize(("servers", "load", "waits"), [(1, 0.7, 0.7), (2, 1.0, 1 / 3), (4, 2.0, 4 / 23)])
def test_erlang_s_formula(servers: int, load: float, waits: float) -> None:
    """M/M/1: ρ. M/M/2: 2ρ²/(1+ρ). M/M/4 at 2 erlang: (2⁴/4!·2) / (1+2+2+4/3+4/3)."""
    assert erlang_c(servers, load) == pytest.approx(waits)


def share_waiting_longer(wait_s: float, load: float) -> float:
    """The exact tail of M/D/1 with a service time of 1 (Erlang 1909)."""
    terms = (
        (-load * (wait_s - k)) ** k / math.factorial(k) * math.exp(load * (wait_s - k)) for k in range(int(wait_s) + 1)
    )
    return 1 - (1 - load) * sum(terms)


@pytest.mark.parametrize("load", [0.3, 0.5, 0.7, 0.8])
def test_the_slowest_answers_are_those_of_theory_or_a_little_slower(load: float) -> None:
    wait_s = slowest_s(load, [1], 1.0) - 1
    assert 0.002 < share_waiting_longer(wait_s, load) <= 0.01


def test_no_load_waits_and_a_full_one_waits_for_ever() -> None:
    assert slowest_s(0.0, [1], 1.0) == 1.0
    assert slowest_s(1.0, [1], 1.0) == math.inf


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hours", "rate_hz", "service_s", "processes", "objective_s", "start"),
    [
        pytest.param(10, 34.0, 0.02, POOL, 0.25, 1, id="as much as one worker may do"),
        pytest.param(3, 36.0, 0.02, POOL, 0.25, 1, id="a little more"),
        pytest.param(1, 30.0, 0.02, POOL, 0.25, 4, id="from the maximum"),
        pytest.param(10, 2.3, 0.2, (1, 1, 1), 1.0, 1, id="slow answers, close to the objective"),
        pytest.param(1, 0.5, 0.02, POOL, 0.25, 2, id="almost nothing"),
    ],
)
def test_a_constant_load_changes_nothing_once_it_is_known(
    *, hours: int, rate_hz: float, service_s: float, processes: tuple[int, ...], objective_s: float, start: int
) -> None:
    rules = Rules(1, len(processes), objective_s)
    course = constant(rules, rate_hz, 3600 * hours, service_s=service_s, processes=processes, seed=7, start=start)
    assert changes(course.targets[300:]) <= 1
    assert course.changes <= 1 + 3 * (start > 1)


def test_a_step_of_four_is_answered_at_once_and_taken_back_slowly() -> None:
    course = run(
        RULES,
        lambda second: 25.0 if not 120 <= second < 240 else 100.0,
        480,
        service_s=SERVICE_S,
        processes=POOL,
        seed=3,
    )
    assert set(course.targets[60:120]) == {1}
    needed = need(100 * SERVICE_S, POOL, SERVICE_S, RULES)
    assert course.targets[125] >= needed - 1
    assert course.p99_s(132, 240) <= RULES.objective_s
    assert all(120 <= at_s < 125 for at_s in course.refused)
    assert set(course.targets[240:265]) == {course.targets[239]}
    assert course.targets[-1] == 1
    assert course.changes <= 5


def test_a_wave_follows_its_load() -> None:
    course = run(
        RULES,
        lambda second: 70 - 60 * math.cos(2 * math.pi * second / 600),
        1200,
        service_s=SERVICE_S,
        processes=POOL,
        seed=5,
    )
    best = sum(
        need((70 - 60 * math.cos(2 * math.pi * second / 600)) * SERVICE_S, POOL, SERVICE_S, RULES)
        for second in range(600, 1200)
    )
    assert sum(course.targets[600:]) <= 1.25 * best
    assert course.p99_s(600, 1200) <= RULES.objective_s
    assert changes(course.targets[600:]) <= 6  # three up, three down


def test_lost_metrics_hold_the_pool_and_what_was_counted_is_forgotten() -> None:
    state = steady(20, 100, State(3))
    assert state.target == 1
    blind, decision = decide(state, Seen(101.0, known=False, arrivals=9999), RULES)
    assert (decision.target, decision.reason) == (1, "the metrics cannot be read")
    assert blind.counts == ()
    assert blind.service_s == pytest.approx(SERVICE_S)


@pytest.mark.parametrize(
    ("before_s", "known", "minimum", "maximum"),
    [(None, True, 1, 2), (None, True, 4, 4), (0.0, True, 1, 2), (0.0, False, 1, 2)],
    ids=["a deployment", "the minimum", "an experiment", "without metrics"],
)
def test_a_change_of_the_bounds_has_its_own_reason(
    before_s: float | None, known: bool, minimum: int, maximum: int
) -> None:
    rules = Rules(minimum, maximum, objective_s=0.25)
    seen = Seen(1.0, known, serving=3, processes=POOL)
    _, decision = decide(State(3, before_s, SERVICE_S), seen, rules)
    assert decision.target == (maximum if minimum == 1 else minimum)
    assert decision.reason == "the minimum or the maximum has changed"


@pytest.mark.parametrize("jump_s", [-86_400.0, 86_400.0], ids=["back", "forth"])
def test_a_jump_of_the_clock_changes_nothing(jump_s: float) -> None:
    state = steady(20, 100, State(2))
    jumped, decision = decide(state, Seen(100 + jump_s, True, 500, in_flight=0, serving=1, processes=POOL), RULES)
    assert decision.target == 1
    assert steady(20, 100, jumped).target == 1


def test_a_pool_shrinks_one_step_in_the_time_it_is_given() -> None:
    course = [state.target for state in [steady(1, 1, State(4))]]
    state = State(4)
    for _ in range(200):
        state = steady(1, 1, state)
        course.append(state.target)
    assert course[-1] == 1
    assert course.count(3) >= RULES.down_after_s
    assert course.count(2) + course.count(3) + course.count(4) >= 2 * RULES.down_after_s + 29


def test_refusals_count_as_a_wait_without_end() -> None:
    state = steady(20, 60, State(1))
    for number in range(3):
        full = Seen(61.0 + number, True, 25, 20, 20 * SERVICE_S, refused=5, in_flight=1, serving=1, processes=POOL)
        state, decision = decide(state, full, RULES)
    assert (decision.target, state.target) == (2, 2)


@pytest.mark.parametrize(("refused", "wanted"), [(0, 2), (1, 3)])
def test_where_requests_found_no_room_the_last_second_counts_as_it_is(refused: int, wanted: int) -> None:
    state = steady(20, 60, State(1))
    full = Seen(61.0, True, 95, 45, 45 * SERVICE_S, refused=refused, in_flight=16, serving=1, processes=POOL)
    assert decide(state, full, RULES)[1].target == wanted
    assert need(95 * SERVICE_S, POOL, SERVICE_S, RULES) == 3


def test_a_crowd_of_one_second_teaches_nothing() -> None:
    state = steady(26, 60, State(1))
    full = Seen(61.0, True, 38, 36, 36 * SERVICE_S, refused=1, in_flight=16, serving=1, processes=POOL)
    state, decision = decide(state, full, RULES)
    assert decision.target == 2
    assert steady(26, 90, state).target == 1


def test_while_workers_start_the_wait_asks_for_no_more() -> None:
    state = steady(20, 60, State(1))
    targets = []
    for number in range(20):
        late = Seen(61.0 + number, True, 30, 20, 0.4, 40.0, in_flight=80, serving=1, processes=POOL)
        state, decision = decide(state, late, RULES)
        targets.append(decision.target)
    assert max(targets) == 2


def test_a_load_that_has_just_begun_does_not_shrink_the_pool() -> None:
    """Neither while workers start nor after, though the last half minute was quiet."""
    rules = replace(RULES, down_after_s=2)
    state = steady(0, 60, State(1, service_s=SERVICE_S), rules=rules)
    targets = []
    for number in range(12):
        serving = 1 if number < 6 else 2
        late = Seen(61.0 + number, True, 22, 22, 0.44, 22 * 0.4, in_flight=8, serving=serving, processes=POOL)
        state, decision = decide(state, late, rules)
        targets.append(decision.target)
    assert targets == sorted(targets)
    assert targets[3] == 2


def test_who_was_too_few_under_a_load_is_not_tried_again_under_it() -> None:
    """Requests waited though theory had not foreseen it; the same load does not shrink the pool for ten minutes."""
    state = steady(20, 60, State(1))
    for number in range(4):
        late = Seen(61.0 + number, True, 20, 20, 0.4, 20.0, in_flight=20, serving=1, processes=POOL)
        state, _ = decide(state, late, RULES)
    assert state.target == 2
    assert {steady(20, times, state).target for times in (60, 500)} == {2}
    assert steady(20, 700, state).target == 1
    assert steady(10, 120, state).target == 1


def test_an_objective_below_the_service_time_is_told_with_one_that_can_be_held() -> None:
    rules = replace(RULES, objective_s=0.01)
    state = steady(20, 60, State(2), rules=rules)
    text = impossible(state, POOL, rules)
    assert state.target == 2
    assert text.startswith("the objective of 0.01 s is below the service time: one answer takes 0.02 s")
    least_s = float(text.split("autoscaler_objective_s to ")[1].split()[0])
    assert impossible(state, POOL, replace(rules, objective_s=least_s)) == ""
    assert need(0.7 * 4 * 0.99, POOL, SERVICE_S, replace(rules, objective_s=least_s * 1.05)) == 4


def test_an_idle_pool_falls_to_its_minimum_without_ever_an_answer() -> None:
    state = State(3)
    for number in range(200):
        state, _ = decide(state, Seen(float(number), in_flight=0, serving=state.target, processes=POOL), RULES)
    assert state.target == RULES.minimum
