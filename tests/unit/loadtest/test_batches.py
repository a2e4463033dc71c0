"""A server that takes several at once: theory against simulation, closed forms and known queues; the figure."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import matplotlib.image
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure

from loadtest.analyse.batches import predicted, runs_of
from loadtest.analyse.summary import summarize
from loadtest.analyse.theory.batches import batch_response, simulate_batches
from loadtest.draw import batching, draw
from loadtest.errors import LoadtestError
from loadtest.experiments.calibration import estimate
from loadtest.experiments.folder import RunFolder, write_json
from loadtest.experiments.reader import load_design
from loadtest.experiments.record import unlike
from loadtest.generate.recorder import Recorder
from loadtest.generate.samples import Sample
from loadtest.simulate.measured import of_run
from tests.unit.loadtest import queues
from tests.unit.loadtest.queues import lindley


def poisson(rate_hz: float, count: int = 200_000, seed: int = 1) -> np.ndarray:
    return np.cumsum(np.random.default_rng(seed).exponential(1 / rate_hz, count))


@pytest.mark.parametrize("rho", [0.1, 0.5, 0.9, 0.98])
def test_batches_of_one_are_md1(rho: float) -> None:
    assert batch_response(rho / 0.02, [0.02]) == pytest.approx(queues.mg1_response(0.02, 0.0, rho), rel=1e-6)


@pytest.mark.parametrize("load", [0.2, 1.0, 3.0])
def test_batches_of_any_size_that_take_one_time_have_a_closed_form(load: float) -> None:
    """Who comes during a run is served by the next one, so those that wait at its end are Poisson with mean λD."""
    empty = math.exp(-load)
    expected = (load + empty + load / 2) / (load + empty)  # in units of D
    assert batch_response(load, [1.0] * 40) == pytest.approx(expected, rel=1e-6)


RUNS = {
    "M/D[4]/1": [1.0] * 4,
    "M/D[16]/1": [1.0] * 16,
    "a batch wins half": [0.5 + 0.5 * number for number in range(1, 9)],
    "a batch wins nothing": [float(number) for number in range(1, 9)],
}


@pytest.mark.parametrize("rho", [0.3, 0.7, 0.9])
@pytest.mark.parametrize("runs", RUNS.values(), ids=RUNS.keys())
def test_theory_is_what_a_simulation_finds(runs: list[float], rho: float) -> None:
    rate_hz = rho * len(runs) / runs[-1]
    simulated = simulate_batches(poisson(rate_hz), runs)
    assert batch_response(rate_hz, runs) == pytest.approx(float(simulated[5000:].mean()), rel=0.03)


def test_a_batch_that_wins_nothing_is_worse_than_one_at_a_time() -> None:
    """Everybody waits for the end of the run, so nobody is served sooner."""
    assert batch_response(0.8, [float(number) for number in range(1, 9)]) > 1.05 * batch_response(0.8, [1.0])


def test_who_cannot_keep_up_has_no_steady_state() -> None:
    assert batch_response(4.0, [1.0] * 4) == math.inf
    assert batch_response(3.9, [1.0] * 4) < math.inf


def test_simulated_batches_of_one_are_lindley_s() -> None:
    arrivals = poisson(0.8, 2000)
    services = np.ones(len(arrivals))
    assert simulate_batches(arrivals, [1.0]) == pytest.approx(lindley(arrivals, services) + services)


@pytest.mark.parametrize(
    ("window_s", "ends"),
    [
        pytest.param(0.0, [1.0, 3.0, 3.0, 5.0], id="those that wait"),  # the second and the third wait for the first
        pytest.param(0.5, [2.5, 2.5, 4.0, 5.5], id="half a second"),  # the third waits until 3, the last until 4.5
        pytest.param(9.0, [2.5, 2.5, 6.0, 6.0], id="until it is full"),  # the last one fills a batch at 4
    ],
)
def test_a_batch_opens_fills_and_closes(window_s: float, ends: list[float]) -> None:
    """A run of one takes 1 s, a run of two takes 2 s."""
    arrivals = np.array([0.0, 0.5, 0.6, 4.0])
    assert simulate_batches(arrivals, [1.0, 2.0], window_s) + arrivals == pytest.approx(ends)


DESIGN = """
name: batches
goal: What does a batch buy?
seed: 1
repetitions: 5
deployment: {pool_size: 1, batch: [1, 4], batch_window_ms: [0, 5]}
cells:
  - {arrivals: closed, in_flight: 8, image_px: 64, duration_s: 2, warmup_s: 0.2}
  - {arrivals: poisson, utilisation: 0.5, image_px: 64, duration_s: 2, warmup_s: 0.2}
figures: [batching]
"""
RUN_S = {1: 0.010, 2: 0.015, 3: 0.020, 4: 0.025}  # a batch of four wins 1.6 times


def samples(arrivals_s: np.ndarray, responses_s: np.ndarray) -> list[Sample]:
    return [
        Sample(seq, float(at), float(at), float(at + took), 200, "worker1", None, "64px", queue_s=0.0, total_s=0.01)
        for seq, (at, took) in enumerate(zip(arrivals_s, responses_s, strict=True))
    ]


def record(path: Path, header: dict[str, object], sent: list[Sample]) -> list[Sample]:
    path.parent.mkdir(parents=True, exist_ok=True)
    recorder = Recorder(path, header)
    for sample in sent:
        recorder.add(sample)
    in_flight = sum(one.service_s for one in sent) / 2.0
    recorder.close({"wall_s": 2.0, "cpu_share": 0.1, "not_sent": 0, "mean_in_flight": in_flight})
    return sent


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of a worker that takes RUN_S and is 3 ms away, as its settings would measure it."""
    folder = tmp_path_factory.mktemp("batches")
    (folder / "design.yml").write_text(DESIGN)
    run = RunFolder.create(folder / "run", load_design(folder / "design.yml"), "2026-01-01T00:00:00+00:00")
    closed, open_ = run.design.cells
    for level in run.design.levels:
        assert level.batch is not None
        runs_s = [RUN_S[number] for number in range(1, level.batch + 1)]
        full_hz = level.batch / runs_s[-1]
        steps = np.arange(0.0, 2.0, 1 / full_hz)
        busy = record(run.calibration_path(level, "64px", "saturated"), {}, samples(steps, np.full(len(steps), 0.02)))
        alone = record(
            run.calibration_path(level, "64px", "unloaded"), {}, samples(np.arange(80) / 40, np.full(80, 0.013))
        )
        client, version = {"machine": "m", "processor": "p", "cores": 2}, {"model": {"name": "n", "version": "1"}}
        capacity = {"64px": estimate(alone, busy).facts()}
        write_json(run.level_path(level), {"client": client, "facts": {}, "version": version, "capacity": capacity})
        for number in range(1, 6):
            header = {"repetition": number, "duration_s": 2.0}
            record(run.trial_path(level, closed, number), header, samples(steps, np.full(len(steps), 0.02)))
            rate_hz = 0.5 * full_hz
            arrivals = poisson(rate_hz, 400, number)
            arrivals = arrivals[arrivals < 2.0]
            took = simulate_batches(arrivals, runs_s, (level.batch_window_ms or 0) / 1000 if level.batch > 1 else 0.0)
            header |= {"asked_hz": rate_hz}
            record(run.trial_path(level, open_, number), header, samples(arrivals, took + 0.003))
    return run


def test_times_of_runs_come_from_the_closed_loops_and_predict_the_open_ones(run: RunFolder) -> None:
    rows = summarize(run).cells
    runs = runs_of(run, rows)
    assert runs is not None
    assert runs.seconds == pytest.approx([0.010, 0.015, 0.020, 0.025], rel=0.02)  # 2 and 3 lie between
    assert runs.outside_s == pytest.approx(0.003, abs=2e-4)
    for row in rows:
        if row["arrivals"] == "poisson":
            told = predicted(runs, row, seed=1)
            assert told is not None
            assert row["mean_s"] == pytest.approx(told[0], rel=0.15)
            assert told[1] > told[0]
    waited = {row["level"]: predicted(runs, row, seed=1) for row in rows if row["arrivals"] == "poisson"}
    assert waited["pool1-batch4-window5"] > waited["pool1-batch4-window0"]  # type: ignore[operator]
    assert waited["pool1-batch1-window5"] == waited["pool1-batch1-window0"]
    # What holds for one at a time is not said of batches.
    assert {row["level"] for row in rows if row["mg1_mean_s"]} == {"pool1-batch1-window0", "pool1-batch1-window5"}


def test_who_cannot_keep_up_is_not_predicted(run: RunFolder) -> None:
    rows = summarize(run).cells
    runs = runs_of(run, rows)
    assert runs is not None
    assert predicted(runs, {"asked_hz": 200.0, "batch": 4, "batch_window_ms": None}, seed=1) is None
    assert runs_of(run, [row for row in rows if row["batch"] != 1]) is None


def test_the_figure_is_drawn(run: RunFolder) -> None:
    summarize(run).write(run.path / "summary")
    assert draw(run) == ["batching"]
    assert matplotlib.image.imread(run.path / "figures/batching.png").std() > 0.1


def test_a_design_without_windows_is_drawn(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A factor that no level names is no column of the summary."""
    rows = [
        {key: value for key, value in row.items() if key != "batch_window_ms"}
        for row in summarize(run).cells
        if not row["batch_window_ms"]
    ]
    drawn: list[str] = []
    monkeypatch.setattr(batching, "save", lambda *told: drawn.append(told[2]))
    batching.draw(run, rows)
    assert drawn == ["batching"]


@pytest.mark.parametrize(
    ("workers", "processes", "said"),
    [
        pytest.param(1, 4, "One worker of 4 processes. There is no theory: it is that of one process. ", id="more"),
        pytest.param(2, 1, "2 workers, each of one process. There is no theory: ", id="workers"),
    ],
)
def test_several_processes_are_not_one_that_is_quicker(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, workers: int, processes: int, said: str
) -> None:
    """Their answers come so much closer together that a run seemed to take a part of its time."""
    shutil.copytree(run.path, tmp_path / "run")
    several = RunFolder.open(tmp_path / "run")
    rows = summarize(several).cells
    for level in several.design.levels:
        told = several.read_level(level)
        assert told is not None
        told["capacity"]["64px"] |= {"processes": processes, "workers": {f"worker{n}": 1.0 for n in range(workers)}}
        write_json(several.level_path(level), told)
    assert runs_of(several, rows) is None
    kept: list[tuple[Figure, str]] = []
    monkeypatch.setattr(batching, "save", lambda *told: kept.append((told[0], told[3])))
    batching.draw(several, rows)
    ((drawn, text),) = kept
    assert text.startswith(said)
    assert "theory" not in [label for panel in drawn.axes for label in panel.get_legend_handles_labels()[1]]
    plt.close(drawn)


def test_a_batch_is_no_number_of_processes(run: RunFolder) -> None:
    """Four at once in 25 ms are one process; and what a plan needs comes from the workers that take one at a time."""
    at = np.repeat(np.arange(1, 101) * 0.025, 4)
    busy = [replace(one, total_s=0.025) for one in samples(at - 0.025, np.full(400, 0.025))]
    alone = samples(np.arange(20) / 10, np.full(20, 0.013))
    assert estimate(alone, busy, 4).processes == 1
    assert estimate(alone, busy, 4).service_s == pytest.approx(0.025 / 4, rel=0.05)
    measured = of_run(run)
    assert "batch1" in measured.service.source
    for level in run.design.levels:
        if level.batch == 1:
            run.level_path(level).rename(run.path / f"{level.id}.aside")
    try:
        with pytest.raises(LoadtestError, match="one photograph at a time"):
            of_run(run)
    finally:
        for level in run.design.levels:
            if level.batch == 1:
                (run.path / f"{level.id}.aside").rename(run.level_path(level))


def test_a_level_is_named_by_its_batch_and_the_service_must_have_it(run: RunFolder) -> None:
    level = run.design.level("pool1-batch4-window5")
    status = {"workers": ["worker1"], "policy": "random"}

    def said(**version: object) -> str:
        return "; ".join(unlike(level, {"version": {"model": {}, **version}, "status": status}, {}))

    assert not said(batch={"max": 4, "window_ms": 5.0})
    assert said() == "its runs have up to 1 photographs, not 4; its runs wait 0 ms, not 5"
    assert said(batch={"max": 4, "window_ms": 0.0}) == "its runs wait 0 ms, not 5"
    alone = run.design.level("pool1-batch1-window5")
    assert not unlike(alone, {"version": {"model": {}}, "status": status}, {})
    assert json.loads((run.path / "run.json").read_text())["design"]["levels"][0].keys() >= {"batch", "batch_window_ms"}
