"""What is promised of a pool that follows its load: each figure from raw samples whose answer is known."""

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure

from loadtest.analyse import bars
from loadtest.analyse.bars import back_after_s, bars_of, changes_after, ready_s
from loadtest.analyse.optimum import highest_rates, least_worker_s
from loadtest.analyse.plan import plan
from loadtest.analyse.summary import summarize
from loadtest.cli import main
from loadtest.draw.pool import draw as draw_pool
from loadtest.experiments.calibration import estimate
from loadtest.experiments.cells import Cell, Level
from loadtest.experiments.folder import RunFolder, write_json
from loadtest.experiments.reader import load_design
from loadtest.generate.recorder import Recorder
from loadtest.generate.samples import Sample, Trial
from loadtest.generate.shapes import Sine, Step
from loadtest.simulate.measured import Measured
from loadtest.simulate.service import supposed

DESIGN = """
name: follows
goal: Is each bar held against what was measured?
seed: 1
repetitions: 5
deployment: {workers_awake: [auto, all]}
cells:
  - {arrivals: step, rate_hz: 12, factor: 4, at_s: 5, image_px: 16, duration_s: 25}
  - {arrivals: sine, rate_hz: 18, amplitude: 0.8, period_s: 300, image_px: 16, duration_s: 300, repetitions: 1}
  - {arrivals: poisson, rate_hz: 18, image_px: 16, duration_s: 300, repetitions: 1, only_awake: auto}
"""
SERVICE_S, OBJECTIVE_S = 0.02, 0.25
Answered = Callable[[float], tuple[str, float, int]]  # when a request is due: who answers, how soon, with which status


def samples(due_s: Iterable[float], answered: Answered) -> tuple[Sample, ...]:
    made = []
    for seq, at_s in enumerate(due_s):
        worker, takes_s, status = answered(at_s)
        error = None if status == 200 else "refused"
        made.append(Sample(seq, at_s, at_s, at_s + takes_s, status, worker, error, "16px", total_s=SERVICE_S))
    return tuple(made)


def evenly(rate_at: Callable[[float], float], until_s: float) -> list[float]:
    """When requests are due at a rate that changes, one after the other."""
    steps = np.arange(0, until_s, 0.01)
    whole = np.floor(list(accumulate(rate_at(at_s) * 0.01 for at_s in steps)))
    return [float(at_s) for at_s, new in zip(steps, np.diff(whole, prepend=0.0), strict=True) if new]


def trial(of: tuple[Sample, ...], pool: Iterable[tuple[float, int, int]] = ()) -> Trial:
    return Trial(Path("x"), {"duration_s": 30.0}, of, {"pool": [list(one) for one in pool]}, None)


def after_the_step(at_s: float) -> tuple[str, float, int]:
    """One worker, and from 8 s on a second; what is due until 9.5 s waits for long."""
    worker = "worker2" if at_s >= 8 and round(100 * at_s) % 2 else "worker1"
    return worker, 0.5 if 6 <= at_s < 9.5 else 0.05, 200


def hundred_a_second(at_s: float) -> float:
    return 20.0 if at_s < 6 else 100.0


def test_p99_is_back_when_it_stays_within_the_objective() -> None:
    due_s = evenly(hundred_a_second, 30.0)
    one = trial(samples(due_s, after_the_step))
    assert ready_s(one, 6.0) == pytest.approx(8.01)
    assert back_after_s([one, one], [8.0, 8.0], OBJECTIVE_S) == pytest.approx(1.5, abs=0.11)

    def again_late(at_s: float) -> tuple[str, float, int]:
        return ("worker1", 0.5, 200) if 19 <= at_s < 20 else after_the_step(at_s)

    late = trial(samples(due_s, again_late))
    assert back_after_s([late, late], [8.0, 8.0], OBJECTIVE_S) == pytest.approx(12.0, abs=0.2)

    def refuses(at_s: float) -> tuple[str, float, int]:
        return ("", 0.001, 429) if at_s > 9.5 and round(at_s * 100) % 20 == 0 else after_the_step(at_s)

    assert back_after_s([trial(samples(due_s, refuses))] * 2, [8.0, 8.0], OBJECTIVE_S) is None


def test_p99_of_few_requests_is_not_said_to_be_back() -> None:
    few = trial(samples(evenly(lambda _: 20.0, 30.0), lambda _: ("worker1", 0.05, 200)))
    assert back_after_s([few], [8.0], OBJECTIVE_S) is None
    assert back_after_s([few] * 3, [8.0] * 3, OBJECTIVE_S) == 0.0
    assert back_after_s([], [], OBJECTIVE_S) is None


def test_a_pool_that_nobody_joins_has_no_worker_that_is_ready() -> None:
    assert ready_s(trial(samples(evenly(hundred_a_second, 9.0), lambda _: ("worker1", 0.05, 200))), 6.0) is None


def test_changes_count_after_a_time_of_who_serves_and_of_who_is_awake() -> None:
    seen = [(0.0, 1, 1), (30.0, 1, 2), (59.5, 2, 2), (60.5, 2, 2), (70.0, 2, 3), (72.0, 3, 3), (80.0, 3, 3)]
    assert changes_after(trial((), seen), 60.0) == 2
    assert changes_after(trial((), seen[:4]), 60.0) == 0
    assert changes_after(trial((), seen[:3]), 60.0) is None
    assert changes_after(trial(()), 60.0) is None


def test_the_optimum_has_the_fewest_workers_that_are_enough_at_each_moment() -> None:
    step = Step(5.0, 3.0, 10.0)
    assert least_worker_s(step, 0.0, 20.0, 3, {1: 10.0, 2: 15.0}) == pytest.approx(10 * 1 + 10 * 2)
    assert least_worker_s(step, 5.0, 20.0, 3, {1: 10.0, 2: 14.9}) == pytest.approx(5 * 1 + 10 * 3)
    assert least_worker_s(step, 0.0, 20.0, 3, {2: 15.0}) == pytest.approx(20 * 2)
    # a sine is above its mean for half of its time
    assert least_worker_s(Sine(10.0, 0.5, 600.0), 0.0, 600.0, 2, {1: 10.0}) == pytest.approx(900, abs=2)


def test_the_highest_rates_are_those_up_to_which_the_planner_wants_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadtest.analyse.plan._COUNTED", 30_000)
    measured = Measured(supposed(SERVICE_S, 1.0, 1), 1, 0.001)
    found = highest_rates(measured, range(1, 3), 0.3, "random", max_conns=0, seed=1)
    assert found[1] < found[2] < 2 / SERVICE_S
    # of M/M/1 the p99 is ln(100)/(μ − λ); the planner keeps away from it by the interval of what it has simulated
    assert 0.9 < found[1] / (1 / SERVICE_S - math.log(100) / 0.299) < 1
    for workers, rate_hz in found.items():
        assert plan(measured, rate_hz, 0.3, "random", max_conns=0, seed=1).workers == workers
        assert plan(measured, rate_hz + workers, 0.3, "random", max_conns=0, seed=1).workers == workers + 1


def record(path: Path, of: tuple[Sample, ...], header: dict[str, Any], pool: list[list[float]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    recorder = Recorder(path, header)
    for one in of:
        recorder.add(one)
    wall_s = max(one.done_s for one in of)
    in_flight = sum(one.service_s for one in of) / wall_s
    recorder.close({"wall_s": wall_s, "cpu_share": 0.1, "not_sent": 0, "mean_in_flight": in_flight, "pool": pool})


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return recorded(tmp_path, DESIGN)


def recorded(tmp_path: Path, design: str) -> RunFolder:
    """A run whose every figure is known: two workers, of which one is enough most of the time."""
    (tmp_path / "design.yml").write_text(design)
    run = RunFolder.create(tmp_path / "run", load_design(tmp_path / "design.yml"), "2026-01-01T00:00:00+00:00")
    alone = samples((0.1 * number for number in range(20)), lambda _: ("worker1", SERVICE_S, 200))
    full = tuple(
        Sample(seq, 0.0, 0.0, (seq // 2 + 1) * SERVICE_S, 200, f"worker{1 + seq % 2}", None, "16px",
               queue_s=seq // 2 * SERVICE_S, total_s=SERVICE_S)
        for seq in range(200)
    )  # fmt: skip
    capacity = estimate(alone, full).facts()
    for level in run.design.levels:
        write_json(
            run.level_path(level),
            {
                "client": {"machine": "m", "processor": "p", "cores": 2},
                "facts": {},
                "version": {"model": {"name": "none", "version": "0", "digest": "0"}},
                "autoscaler": {"minimum": 1, "maximum": 2, "objective_s": OBJECTIVE_S},
                "capacity": {"16px": capacity},
            },
        )
        for cell, number in run.design.trials(level):
            of, pool = _trial(level, cell)
            header = {"asked_hz": cell.rate_hz, "duration_s": cell.duration_s, "repetition": number}
            record(run.trial_path(level, cell, number), of, header, pool)
    for kind, of in (("unloaded", alone), ("saturated", full)):
        record(run.calibration_path(run.design.levels[0], "16px", kind), of, {}, [])
    return run


def _trial(level: Level, cell: Cell) -> tuple[tuple[Sample, ...], list[list[float]]]:
    alone = level.workers_awake == "auto"
    both: list[list[float]] = [[0.0, 2, 2]]
    if cell.arrivals == "step":

        def answered(at_s: float) -> tuple[str, float, int]:
            refused = alone and (6.5 <= at_s < 6.6 or 7.2 <= at_s < 7.22)
            return (
                "worker2" if at_s >= 7 else "worker1",
                0.5 if alone and 5 <= at_s < 9 else 0.05,
                429 if refused else 200,
            )

        return samples(evenly(lambda at_s: 12.0 if at_s < 5 else 48.0, 25.0), answered), both
    seen = both
    if alone:
        # 1.3 workers on average, and two changes after the first minute
        seen = [[0.0, 1, 1], [30.0, 1, 2], [60.0, 1, 2], [100.0, 2, 2], [120.0, 1, 1], [299.5, 1, 1]]
    takes_s = 0.06 if alone else 0.05
    return samples(evenly(lambda _: 18.0, 300.0), lambda _: ("worker1", takes_s, 200)), seen


def test_each_bar_is_held_against_what_was_measured(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadtest.analyse.plan._COUNTED", 30_000)
    found = summarize(folder)
    rows = {(row["cell"].partition("-")[0], row["what"]): row for row in found.bars}
    said = {key: (row["figure"], row["bar"], row["met"]) for key, row in rows.items()}
    back = said.pop(("step", "seconds from the first woken worker's first request until p99 is within the objective"))
    assert back == (pytest.approx(2.0, abs=0.11), 5.0, "yes")
    assert said == {
        ("step", "lost requests"): (0, 0, "yes"),
        ("step", "requests refused after the first woken worker's first request"): (5, 0, "no"),  # one in each trial
        ("step", "requests refused after p99 is within the objective again"): (0, 0, "yes"),
        ("sine", "worker-seconds, times the planner's optimum"): (pytest.approx(1.3), 1.25, "no"),
        ("sine", "worker-seconds, times those of all awake"): (pytest.approx(0.65), 0.6, "no"),
        ("sine", "p99, times that of all awake"): (pytest.approx(1.2), 1.3, "yes"),
        ("poisson", "changes of the pool's size after the first minute"): (2, 0, "no"),
    }
    assert {row["requests"] >= 5000 for row in found.bars} == {True}
    assert {row["trials"] for row in found.bars} == {1, 5}
    assert main(["summarize", str(folder.path)]) == 0
    assert len((folder.path / "summary/bars.csv").read_text().splitlines()) == 1 + len(found.bars)


def test_the_optimum_is_of_the_policy_that_was_deployed(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(bars, "highest_rates", lambda *words, **_: asked.append(words[3]) or {1: 20.0})
    for level in folder.measured_levels():
        write_json(folder.level_path(level), (folder.read_level(level) or {}) | {"status": {"policy": "least_conn"}})
    summarize(folder)
    assert asked == ["least_conn"]


@pytest.mark.slow
def test_a_pool_is_held_against_one_that_differs_in_who_is_awake_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bars, "highest_rates", lambda *_, **__: {1: 20.0})
    run = recorded(tmp_path, DESIGN.replace("[auto, all]", "[auto, all], policy: [random, least_conn]"))
    cells = summarize(run).cells
    for row in cells:
        if row["level"] == "least_conn-awake-all":
            row["worker_s"] *= 2
    what = "worker-seconds, times those of all awake"
    found = {row["level"]: row["figure"] for row in bars_of(run, cells) if row["what"] == what}
    assert found == {"random-awake-auto": pytest.approx(0.65), "least_conn-awake-auto": pytest.approx(0.325)}
    kept: list[Figure] = []
    monkeypatch.setattr("loadtest.draw.pool.save", lambda *told: kept.append(told[0]))
    draw_pool(run, cells)
    names = kept[0].axes[0].get_legend_handles_labels()[1]
    decided = {name for name in names if name.startswith("the autoscaler decides")}
    assert decided == {"the autoscaler decides, random", "the autoscaler decides, least_conn"}
    plt.close(kept[0])


@pytest.mark.parametrize(("every", "figure"), [(400, 1.2), (50, None)])
def test_a_pool_that_refuses_is_not_quicker(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, every: int, figure: float | None
) -> None:
    """A refused request counts as endlessly late, so one in fifty leaves no p99."""
    monkeypatch.setattr("loadtest.analyse.plan._COUNTED", 30_000)
    level = next(one for one in folder.design.levels if one.workers_awake == "auto")
    (cell,) = (one for one in folder.design.cells_at(level) if one.arrivals == "sine")
    of, pool = _trial(level, cell)
    less = tuple(replace(one, status=429) if number % every == 1 else one for number, one in enumerate(of))
    header = {"asked_hz": cell.rate_hz, "duration_s": cell.duration_s, "repetition": 1}
    folder.trial_path(level, cell, 1).unlink()
    record(folder.trial_path(level, cell, 1), less, header, pool)
    (row,) = (row for row in summarize(folder).bars if row["what"] == "p99, times that of all awake")
    assert row["figure"] == (None if figure is None else pytest.approx(figure))
    assert row["met"] == ("no" if figure is None else "yes")


def test_what_too_few_requests_say_is_not_met(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadtest.analyse.plan._COUNTED", 30_000)
    cells = [row | {"n": 4999} for row in summarize(folder).cells]
    assert {row["met"] for row in bars_of(folder, cells)} == {"no"}
    none = [row | {"valid_numbers": [], "worker_s": None, "p99_s": None} for row in cells]
    assert {row["figure"] for row in bars_of(folder, none)} == {None, 0}
    assert {row["what"] for row in bars_of(folder, none)} == {row["what"] for row in bars_of(folder, cells)}
