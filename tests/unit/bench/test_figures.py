"""Means, quantiles, aims: each figure of the page says no more than was measured."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from bench import aims, means, speed, tails
from bench.means import Mean
from bench.trials import Run, Trial
from loadtest.analyse.statistics import percentile
from tests.unit.bench.recorded import changed, replaced, run, section, trial


def failing(one: Trial, count: int) -> Trial:
    """The same trial, whose first requests were refused at once."""
    requests = one.requests.copy()
    requests[:count, 2] = 1
    requests[:count, 3] = 503
    return replaced(one, requests=requests, images=one.images - count)


def test_a_ratio_is_of_trials_of_the_same_round() -> None:
    trials_ = (
        *(trial("a", "closed-4", number, images) for number, images in enumerate((100, 50, 200), 1)),
        *(trial("b", "closed-4", number, images) for number, images in enumerate((200, 100, 100, 700), 1)),
    )
    found = means.ratio(Run({}, trials_), "a", "b", "closed-4", lambda one: one.images_hz)
    assert found.value == pytest.approx(math.prod((0.5, 0.5, 2)) ** (1 / 3))  # the fourth round has one alone
    assert found.low < found.value < found.high


def test_the_value_is_the_middle_of_students_interval_of_the_logarithms() -> None:
    found = means.mean([1.0, 2.0, 16.0])
    logs = np.log2([1.0, 2.0, 16.0])
    half = 4.302653 * np.std(logs, ddof=1) / math.sqrt(3)  # t of 2 degrees of freedom at 0.975
    middle = float(np.mean(logs))
    assert found == pytest.approx((2**middle, 2 ** (middle - half), 2 ** (middle + half)), rel=1e-6)
    assert means.mean([2.0, 8.0]).text(1) == "4.0"  # an interval of two rounds would say nothing


@pytest.mark.parametrize("values", [[], [0.0, 3.0, 3.0], [math.inf, 3.0, 3.0], [math.nan, 3.0, 3.0]], ids=repr)
def test_there_is_no_mean_where_a_round_has_no_value(values: list[float]) -> None:
    assert means.mean(values).text(1) == "–"


def test_a_ratio_over_nothing_is_a_dash() -> None:
    trials_ = [trial(key, "closed-4", number, images) for number in (1, 2, 3) for key, images in (("a", 9), ("b", 0))]
    whole = Run({}, tuple(trials_))
    assert means.ratio(whole, "a", "b", "closed-4", lambda one: one.images_hz).text() == "–"
    assert means.ratio(whole, "b", "a", "closed-4", lambda one: one.images_hz).text() == "–"


def test_latency_counts_from_when_a_request_was_due() -> None:
    one = trial("a", "open-0.5", 1, 100, took_ms=range(1, 101))
    assert percentile(one.response_ms, 0.5) == pytest.approx(50.1)
    assert percentile(one.response_ms, 0.99) == pytest.approx(99.1)
    assert one.lag_ms(0.99) == pytest.approx(0.1)


def test_a_request_that_failed_at_once_is_the_latest_of_all() -> None:
    one = trial("a", "open-0.5", 1, 100, took_ms=range(1, 101))
    assert percentile(failing(one, 1).response_ms, 0.99) == pytest.approx(100.1)  # all that answered
    assert percentile(failing(one, 2).response_ms, 0.99) == math.inf
    whole = Run({}, tuple(failing(trial("a", "open-0.5", number, 500), 6) for number in (1, 2)))
    assert tails.text(whole, "a", "open-0.5") == "p99 –, n 1000"


@pytest.mark.parametrize(
    ("each", "says"),
    [
        (66, "–, n 198"),
        (67, "p95 20.1 (20.1 to 20.1), n 201"),
        (333, "p95 20.1 (20.1 to 20.1), n 999"),
        (334, "p99 20.1 (20.1 to 20.1), n 1002"),
    ],
    ids=["too few", "p95", "just below p99", "p99"],
)
def test_so_many_requests_tell_so_much(each: int, says: str) -> None:
    whole = Run({}, tuple(trial("a", "open-0.5", number, each) for number in (1, 2, 3)))
    assert tails.text(whole, "a", "open-0.5") == says


def test_a_quantile_of_all_rounds_is_within_those_of_the_rounds() -> None:
    draw = np.random.default_rng(7)
    for _ in range(50):
        rounds = [draw.lognormal(draw.normal(), 2, int(draw.integers(1, 80))) for _ in range(4)]
        whole = Run({}, tuple(trial("a", "l", number, len(took), list(took)) for number, took in enumerate(rounds)))
        for share in (0.5, 0.95, 0.99):
            found = tails.pooled(whole, "a", "l", share)
            assert found.low <= found.value <= found.high


def waiting(system: str, number: int, seed: int, times: float) -> Trial:
    """A trial whose requests wait in queues: neighbours wait about as long."""
    draw = np.random.default_rng(seed)
    queue = np.convolve(draw.exponential(10.0, 1309), np.ones(10) / 10, "valid")
    return trial(system, "open-0.5", number, 1300, list(times * (queue + 5)))


def test_a_ratio_of_the_latest_has_an_interval_though_there_are_two_rounds() -> None:
    held = 0
    for seed in range(8):
        trials_ = [
            waiting(key, number, 10 * seed + 2 * number + (key == "b"), times)
            for number in (1, 2)
            for key, times in (("a", 1.5), ("b", 1.0))
        ]
        share, found = tails.ratio(Run({}, tuple(trials_)), "a", "b", "open-0.5")
        assert share == 0.99
        assert found.low < found.high
        held += found.low <= 1.5 <= found.high
    assert held >= 5  # of 8; 7 expected


def test_there_is_no_interval_where_failed_requests_stand_at_the_quantile() -> None:
    trials_ = [failing(trial(key, "open-0.5", number, 600), 5) for number in (1, 2) for key in ("a", "b")]
    assert tails.ratio(Run({}, tuple(trials_)), "a", "b", "open-0.5")[1].text(2) == "1.00"


def test_the_latest_of_ours_stand_over_those_of_the_others() -> None:
    said = section("Ours over theirs", run(times=3))
    assert "| listener, 4 users | listener, 16 users | listener, 50% of the limit |" in said
    late = changed(
        run(times=3),
        lambda one: one.system == "listener",
        lambda one: trial("listener", one.load, one.number, 400, (40,)),
    )
    assert "| plain Flask: the same decoder | 2.00 (2.00 to 2.00) |" in section("Ours over theirs", late)


@pytest.mark.parametrize(
    ("reached", "at_most", "says"),
    [
        (Mean(1.1, 1.05, 1.2), False, "met"),
        (Mean(1.1, 1.0, 1.2), False, "not told apart"),
        (Mean(1.0, 0.9, 1.02), False, "not met"),
        (Mean(0.9, 0.8, 1.0), True, "met"),
        (Mean(1.0, 0.9, 1.1), True, "not told apart"),
        (Mean(1.3, 1.2, 1.4), True, "not met"),
        (Mean(1.3, math.nan, math.nan), False, "not told apart"),
        (means.mean([]), True, "not told apart"),
    ],
    ids=repr,
)
def test_an_aim_is_met_where_the_whole_interval_is(reached: Mean, at_most: bool, says: str) -> None:
    assert aims.verdict(reached, 1.05, at_most=at_most) == says


def test_what_random_costs_says_where_the_two_are_not_told_apart() -> None:
    alike = aims.what_random_costs(run())
    assert alike.endswith("1.00 (1.00 to 1.00) × as many requests as random, the default; the two are not told apart.")
    assert aims.what_random_costs(run(random_two=90)).endswith("the default; the two are not told apart.")
    apart = aims.what_random_costs(run(random=60, random_two=90))
    assert apart.endswith("answers 1.50 (1.50 to 1.50) × as many requests as random, the default.")


def test_no_aim_is_said_where_one_side_fails() -> None:
    whole = run(**{"mosec served": 80})

    def one(trial_: Trial) -> bool:
        return (trial_.system, trial_.load) == ("mosec served", "closed-16")

    title = "| random, over mosec with our decoder (raw body), 16 users | ≥ 0.95 |"
    assert f"{title} 1.25 " in section("Aims", whole)
    assert f"{title} – | requests failed |" in section("Aims", changed(whole, one, lambda trial_: failing(trial_, 1)))
    assert f"{title} – | requests failed |" in section(
        "Aims", changed(whole, one, lambda trial_: replaced(trial_, wrong=1))
    )


def test_nginx_has_an_aim_of_its_own_and_the_worker_another() -> None:
    said = section("Aims", run())
    assert "| CPU ms a request of nginx before one listener, 16 users | ≤ 0.4 | 0.30 (0.30 to 0.30) | met |" in said
    title = "| CPU ms a request of one listener, beyond decoding, inference and nginx, 16 users | ≤ 0.7 |"
    half = changed(run(), lambda one: one.system == "limit served", lambda one: replaced(one, cpu_s=0.008 * one.images))
    assert f"{title} 7.70 (7.70 to 7.70) | not met |" in section("Aims", half)  # 16 less 0.3 and 8


def test_the_aims_of_the_latest_name_their_quantile() -> None:
    title = "of one listener at 80% of the limit, over mosec's with our decoder (raw body) | ≤ 1 |"
    assert f"| p95 {title} 1.00 (1.00 to 1.00) | met |" in section("Aims", run())  # 350 requests
    assert f"| p99 {title} 1.00 (1.00 to 1.00) | met |" in section("Aims", run(times=3))
    slow = changed(
        run(), lambda one: one.system == "listener", lambda one: trial("listener", one.load, one.number, 100, (40,))
    )
    assert f"| p95 {title} 2.00 (2.00 to 2.00) | not met |" in section("Aims", slow)
    few = section("Aims", run(listener=20))
    assert f"| latest {title} – | not told apart |" in few


def test_who_answers_fewer_than_are_due_is_behind_though_none_waits() -> None:
    def due(trial_: Trial) -> bool:
        return (trial_.system, trial_.load) == ("random", "open-0.8")

    whole = changed(run(), due, lambda trial_: replaced(trial_, rate_hz=99.0))
    assert not speed.behind(whole, "random", "open-0.8")  # 100, 200, 50 a second: only one round is below
    whole = changed(run(), due, lambda trial_: replaced(trial_, rate_hz=101.0))
    assert speed.behind(whole, "random", "open-0.8")
    assert section("At fixed rates", whole).count("*behind*") == 2  # what it means, and the one


def test_who_leaves_a_queue_is_behind() -> None:
    def due(trial_: Trial) -> bool:
        return (trial_.system, trial_.load) == ("mosec served", "open-0.8")

    late = changed(run(), due, lambda one: trial(one.system, one.load, one.number, 100, took_ms=[400.0]))
    fixed = section("At fixed rates", late)
    assert next(line for line in fixed.splitlines() if "*behind* |" in line).startswith("| mosec: the same decoder |")
    assert fixed.count("*behind*") == 2


def test_what_http_costs_is_the_difference_from_the_limit_of_the_same_round() -> None:
    """Each request costs 16 ms, and the generator 0.8; an image of the limit costs 8."""
    dear = changed(run(), lambda one: one.system == "limit served", lambda one: replaced(one, cpu_s=0.008 * one.images))
    text = section("What HTTP costs", dear)
    assert "take 8.00 (8.00 to 8.00) ms in process" in text
    assert "The generator takes 0.80 (0.80 to 0.80) ms" in text
    assert "would reach 0.91 of the limit" in text
    # Two cores at 60 and at 96 photographs a second; 16.8 ms with mosec, 1.03 times as many in the same time.
    assert "At 50% of the limit the cores have 24.53 ms left" in text
    assert "At 80% of the limit the cores have 12.03 ms left" in text
    assert "1.03 times as fast as mosec may spend 7.51 (7.51 to 7.51) ms beyond" in text
    assert "| nginx, one listener | 8.00 (8.00 to 8.00) | 0.30 (0.30 to 0.30) | 7.70 (7.70 to 7.70) |" in text
    assert "| mosec: the same decoder | 8.00 (8.00 to 8.00) | – | 8.00 (8.00 to 8.00) |" in text
    assert "as documented" not in text  # another decoder has another limit


def test_a_rate_that_takes_all_cores_leaves_nothing_for_http() -> None:
    text = section("What HTTP costs", changed(run(), lambda _: False, lambda one: one, limit_hz=180.0))
    assert "At 50% of the limit the cores have 5.42 ms left" in text
    assert "At 80% of the limit the cores have nothing left for HTTP" in text


def test_what_the_generator_takes_is_one_value_a_round() -> None:
    """Unlike systems do not widen the interval, and those with another decoder do not count."""

    def unlike(one: Trial) -> Trial:
        ms = {"mosec served": 1.6, "mosec plain_pillow": 100.0}.get(one.system, 0.8)
        return replaced(one, client_cpu_s=1e-3 * ms * one.images)

    text = section("What HTTP costs", changed(run(), lambda _: True, unlike))
    assert re.search(r"The generator takes (0\.\d\d) \(\1 to \1\) ms", text)
