"""Plans: the fewest workers of queues whose quantiles are known, what they cost and what a failure does."""

import math

import numpy as np
import pytest

from loadtest.analyse.plan import Sizing, plan
from loadtest.analyse.plan_text import text
from loadtest.analyse.smallest import smallest
from loadtest.errors import LoadtestError
from loadtest.simulate.cases import Question, answer
from loadtest.simulate.measured import Measured
from loadtest.simulate.service import Service, supposed

SERVICE_S, NETWORK_S = 0.02, 0.01
EXPONENTIAL = Measured(supposed(SERVICE_S, 1.0, 1), 1, NETWORK_S)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A third of the requests: wider intervals, and a second for all of these tests."""
    monkeypatch.setattr("loadtest.analyse.plan._COUNTED", 40_000)


def p99_s(rate_hz: float, workers: int) -> float:
    """Of M/M/1 behind random balancing, with the network: ln(100)/(μ − λ)."""
    return math.log(100) / (1 / SERVICE_S - rate_hz / workers) + NETWORK_S


def test_the_fewest_workers_are_those_of_theory_and_their_steady_state_keeps_the_objective() -> None:
    rate_hz, slo_s = 400.0, 0.31
    found = plan(EXPONENTIAL, rate_hz, slo_s, "random", seed=1, max_conns=0)
    exact = next(count for count in range(9, 99) if p99_s(rate_hz, count) <= slo_s)
    assert found.fewest <= exact <= found.most
    assert abs(found.workers - exact) <= 1
    own = found.tried[found.workers]
    assert own.p99_s == pytest.approx(p99_s(rate_hz, found.workers), rel=0.06)
    assert own.p99_s + own.p99_half_s <= slo_s
    # the command `simulate` says the same of them
    question = Question((found.workers,), ("random",), utilisations=(own.utilisation,), max_conns=0)
    (row,) = answer(question, EXPONENTIAL.service)
    assert row["p99_ms"] / 1e3 + NETWORK_S == pytest.approx(own.p99_s, rel=0.06)
    assert found.cost_s == pytest.approx(1e6 * found.workers / rate_hz)


@pytest.mark.slow
def test_few_samples_make_the_interval_of_a_plan_wide() -> None:
    """Of fewer than 40 the plan said nothing of how far their mean may stray, as if it were known best."""
    times_s = supposed(SERVICE_S, 1.0, 1).busy_s
    services = (Service(times_s, np.array([0.01, 0.02, 0.03]), "three"), supposed(SERVICE_S, 0.1, 1))
    found, known = (plan(Measured(one, 1, 0.0), 200.0, 0.31, "random", seed=1) for one in services)
    assert found.most - found.fewest > 4 * (known.most - known.fewest + 1)


@pytest.mark.slow
def test_policies_that_look_and_workers_of_several_processes_need_less() -> None:
    needed = {policy: plan(EXPONENTIAL, 150.0, 0.2, policy, seed=1).workers for policy in ("random", "least_conn")}
    assert needed["least_conn"] < needed["random"]
    double = plan(Measured(EXPONENTIAL.service, 2, NETWORK_S), 150.0, 0.2, "random", seed=1)
    assert double.workers < needed["random"] / 2 + 1
    assert "2 processes each, which share a queue" in text(double)


def test_a_failed_worker_is_told() -> None:
    found = plan(EXPONENTIAL, 90.0, 3.0, "random", seed=1, max_conns=0)
    assert found.workers == 2
    assert found.after_failure is None
    # for 1.2 s nobody takes the dead worker out, and the other one cannot serve alone
    assert 0.3 < found.failed_late <= 1.0
    assert "The workers that are left cannot serve this rate." in text(found)
    assert f"{100 * found.failed_late:.1f} ± {100 * found.failed_half:.1f} % of the requests" in text(found)
    spare = plan(EXPONENTIAL, 40.0, 0.31, "random", seed=1)
    assert spare.after_failure is not None
    assert spare.after_failure.workers == spare.workers - 1
    assert f"With {spare.workers + 1} workers the objective holds without one of them." in text(spare)


def test_what_a_failure_does_hardly_depends_on_the_seed() -> None:
    """Of one failure alone 0 to 15 % would be late, by the seed."""
    found = [
        Sizing(EXPONENTIAL, 40.0, "random", max_conns=16, seed=seed).late_after_failure(2, 0.31) for seed in range(5)
    ]
    means = [mean for mean, _ in found]
    assert max(means) - min(means) <= 2 * max(half for _, half in found)
    assert all(0 < half < 0.1 for _, half in found)


@pytest.mark.slow
def test_a_refused_request_is_one_that_is_never_in_time() -> None:
    """One worker with places for 1: it refuses what comes while it serves, more than 1 %."""
    tight = plan(EXPONENTIAL, 2.0, 1.0, "random", seed=1, max_conns=1)
    assert tight.workers > 1
    assert plan(EXPONENTIAL, 2.0, 1.0, "random", seed=1, max_conns=0).workers == 1


def test_the_steady_state_of_a_large_pool_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 9,000 workers more than a million requests would pass before their queues have settled."""
    monkeypatch.setattr("loadtest.analyse.plan._COUNTED", 600_000)
    rate_hz = 0.9 * 9000 / SERVICE_S
    steady = Sizing(EXPONENTIAL, rate_hz, "random", max_conns=0, seed=1).steady(9000)
    assert steady is not None
    assert steady.utilisation == pytest.approx(0.9)
    assert steady.p99_s == pytest.approx(p99_s(rate_hz, 9000), rel=0.1)


def test_a_pool_that_settles_at_once_is_simulated_whatever_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadtest.analyse.plan._MOST_PLAYED", 1000)
    assert Sizing(EXPONENTIAL, 90 / SERVICE_S, "least_conn", max_conns=0, seed=1).steady(100) is not None
    assert Sizing(EXPONENTIAL, 95 / SERVICE_S, "random", max_conns=0, seed=1).steady(100) is None


def test_workers_that_are_taken_for_too_few_are_told() -> None:
    """10 workers would have ρ = 0.9998."""
    found = plan(EXPONENTIAL, 499.9, 3.0, "random", seed=1, max_conns=0)
    assert found.workers == 11
    assert found.near_full
    assert "With 10 workers ρ is so near to 1" in text(found)
    assert "cannot serve this rate" not in text(found)


def test_an_objective_that_longer_service_times_would_miss_has_an_open_interval() -> None:
    """The number was found, and a message took its place: that more than 10,000 workers would be needed."""
    busy_s = np.random.default_rng(1).normal(SERVICE_S, SERVICE_S / 10, 100)
    measured = Measured(Service(np.full(9, SERVICE_S), busy_s, "few"), 1, 0.0)
    found = plan(measured, 5.0, 1.005 * SERVICE_S, "random", seed=1)
    assert 5 < found.workers < 50
    assert math.isinf(found.most)
    assert f"Interval, 95 %: {found.fewest} or more (perhaps none, were service times" in text(found)


def test_an_objective_that_no_number_of_workers_is_sure_to_meet_is_told_from_a_rate() -> None:
    slo_s = 1.0001 * (float(np.quantile(EXPONENTIAL.service.idle_s, 0.99)) + NETWORK_S)
    with pytest.raises(LoadtestError, match=r"no number of workers up to 10000 is enough; .* never waits takes 1"):
        plan(EXPONENTIAL, 5.0, slo_s, "random", seed=1)


def test_the_smallest_is_found_from_anywhere() -> None:
    for truth in (1, 2, 7, 40):
        for near in (None, 1, 6, 40, 100):
            assert smallest(lambda count, truth=truth: count >= truth, 1, near) == truth  # type: ignore[misc]
    with pytest.raises(LoadtestError, match="no number of workers up to 10000 is enough"):
        smallest(lambda _: False, 1)
