"""Trials end by rule: the warm-up is cut, the interval is honest, and the trial says why it ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from loadtest.analyse.summary import summarize
from loadtest.draw.report import write_report
from loadtest.experiments.execute import run_level
from loadtest.experiments.folder import RunFolder
from loadtest.experiments.precision import Watch, estimate, least_for, told, warmup_count
from loadtest.experiments.reader import load_design
from loadtest.generate.samples import Sample

ASKED = {"of": "mean", "half_width": 0.1}


def mm1(trials: int, requests: int, rho: float, seed: int) -> np.ndarray:
    """Response times of queues with one worker of mean service 1, in the order of arrival, shape (trials, requests)."""
    rng = np.random.default_rng(seed)
    gaps, services = rng.exponential(1 / rho, (trials, requests)), rng.exponential(1.0, (trials, requests))
    walk = np.cumsum(services[:, :-1] - gaps[:, 1:], axis=1)
    walk = np.concatenate((np.zeros((trials, 1)), walk), axis=1)
    return walk - np.minimum.accumulate(walk, axis=1) + services


def test_a_beginning_that_is_unlike_the_rest_is_cut() -> None:
    rng = np.random.default_rng(1)
    settled = rng.normal(1.0, 0.1, 2000)
    assert warmup_count(np.concatenate((rng.normal(3.0, 0.1, 200), settled))) == pytest.approx(200, abs=10)
    cut = warmup_count(settled)
    assert cut is not None
    assert cut < 600
    assert warmup_count(np.linspace(1, 50, 2000)) is None  # a queue that only grows


@pytest.mark.parametrize(
    ("of", "truth"), [("mean", 1 / (1 - 0.5)), ("p90", -np.log(0.1) / (1 - 0.5)), ("p99", -np.log(0.01) / (1 - 0.5))]
)
def test_the_interval_of_correlated_requests_holds_the_truth(of: str, truth: float) -> None:
    """Responses of M/M/1 are exponential with mean 1/(μ − λ); over requests an interval would be too narrow."""
    held, widths = 0, []
    for times in mm1(200, 6000, 0.5, seed=2):
        cut = warmup_count(times)
        found = None if cut is None else estimate(times[cut:], of)
        if found is not None:
            held += found.low_s <= truth <= found.high_s
            widths.append(found.half_width)
    assert len(widths) >= 190
    assert held >= 0.9 * len(widths)
    assert np.median(widths) < 0.25


def test_a_quantile_needs_ten_requests_beyond_it() -> None:
    assert [least_for(share) for share in (0.5, 0.9, 0.99, 0.999)] == [20, 100, 1000, 10_000]
    times = np.random.default_rng(3).exponential(1.0, 1000)
    assert estimate(times[:980], "p99") is None
    assert estimate(times, "p99") is not None
    assert estimate(times[:190], "mean") is None


def sample(seq: int, time_s: float) -> Sample:
    return Sample(seq, seq / 100, seq / 100, seq / 100 + float(time_s), 200, "worker1", None)


def watched(times_s: np.ndarray, *, order: list[int] | None = None, **asked: object) -> tuple[Watch, int]:
    """A watch that has seen samples until it stopped the loop, and how many it saw."""
    watch = Watch(ASKED | asked, 0.0)
    stopped: list[bool] = []
    watch.over(lambda _: SimpleNamespace())(SimpleNamespace(stop=lambda: stopped.append(True)))  # type: ignore[arg-type]
    for count, seq in enumerate(order or range(len(times_s)), start=1):
        watch.seen(sample(seq, times_s[seq]))
        if stopped:
            return watch, count
    return watch, len(times_s)


def test_a_trial_ends_once_it_is_precise() -> None:
    times = np.random.default_rng(4).exponential(1.0, 20_000)
    watch, loose = watched(times)
    facts = watch.facts()
    assert facts["ended"] == "precision"
    assert facts["reached"] <= 0.1
    assert facts["ended_s"] == pytest.approx((loose - 1) / 100 + times[loose - 1], abs=1e-5)
    assert watched(times, half_width=0.03)[1] > 4 * loose
    assert "the mean is known to ±" in told(facts)


@pytest.mark.parametrize(("of", "count"), [("mean", 240), ("p99", 6000)])
def test_one_narrow_look_is_not_enough(of: str, count: int) -> None:
    """The first look comes after five times as many requests as a quantile needs, the second after a fifth more."""
    times = np.random.default_rng(4).exponential(1.0, 20_000)
    assert watched(times, of=of, half_width=0.9)[1] == count


@pytest.mark.long
def test_a_trial_does_not_end_by_a_lucky_look() -> None:
    """Trials that stopped at the first narrow look held p99 in 79 of 100, and were 7 % low."""
    truth_s = -np.log(0.01) / (1 - 0.5)
    held, values = 0, []
    for times in mm1(200, 40_000, 0.5, seed=11):
        _, count = watched(times, of="p99", half_width=0.2)
        cut = warmup_count(times[:count])
        found = estimate(times[cut:count], "p99")
        assert found is not None
        held += found.low_s <= truth_s <= found.high_s
        values.append(found.value_s)
    assert held >= 0.85 * len(values)
    assert np.mean(values) >= 0.97 * truth_s


def test_a_limit_that_comes_first_says_what_was_reached() -> None:
    watch, seen = watched(np.random.default_rng(5).exponential(1.0, 300), half_width=0.01)
    assert seen == 300
    facts = watch.facts()
    assert facts["ended"] == "time limit"
    assert 0.05 < facts["reached"] < 0.4
    assert told(facts) == (
        f"ended at its time limit: the mean is known to ±{100 * facts['reached']:.1f} %, asked was ±1 %"
    )
    growing, _ = watched(np.linspace(1, 50, 2000))
    assert growing.facts()["reached"] is None
    assert "did not settle" in told(growing.facts())


def test_requests_behind_one_that_is_under_way_do_not_count_yet() -> None:
    """The slow ones come last: a mean of those that have come would be too small."""
    times = np.random.default_rng(6).exponential(1.0, 5000)
    _, at_once = watched(times)
    late = [*range(1, 5000), 0]
    assert watched(times, order=late)[1] == 5000 > at_once


DESIGN = """
name: precise
goal: Does a trial end when it knows enough?
seed: 3
repetitions: 5
dirty: true
precision: {of: mean, half_width: 0.9}
calibration: {unloaded_requests: 12, saturated_s: 0.2, idle_requests: 0}
validity: {lag_of_service: 50, client_cpu: 64, other_cpu: 1, steal: 1}
cells:
  - {arrivals: constant, rate_hz: 100, image_px: 16, duration_s: 30}
  - {arrivals: constant, rate_hz: 50, image_px: 16, duration_s: 0.3}
"""


@pytest.mark.long
def test_a_run_says_which_trials_ended_by_precision(tmp_path: Path, serve: Callable[..., str]) -> None:
    (tmp_path / "precise.yml").write_text(DESIGN)
    design = replace(load_design(tmp_path / "precise.yml"), repetitions=1)
    folder = RunFolder.create(tmp_path / "run", design, "2026-01-01T00:00:00+00:00")
    (level,) = design.levels
    run_level(folder, level, serve("--service-ms", "1"), {}, None, bars=False)
    early, late = (trial for _, _, trial in folder.trials(level))
    assert early.footer is not None
    assert early.footer["precision"]["ended"] == "precision"
    assert early.footer["wall_s"] < 30
    assert all(sample.ok for sample in early.samples)  # what was under way was let finish
    assert [sample.seq for sample in sorted(early.samples, key=lambda one: one.seq)] == [*range(len(early.samples))]
    assert late.footer is not None
    assert late.footer["precision"]["ended"] == "time limit"
    summary = summarize(folder)
    summary.write(folder.path / "summary")
    write_report(folder, [])
    assert [row["ended"] for row in summary.trials] == ["precision", "time limit"]
    assert [row["precise_trials"] for row in summary.cells] == [1, 0]
    page = (folder.path / "report.html").read_text()
    assert "1 of 2 trials ended when ±90 % of the mean was reached, 1 at their time limit" in page
