"""Summaries and figures: right numbers, and the same bytes when they are made again."""

import csv
import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from loadtest.analyse.statistics import failed_interval, percentile, t_interval, wilson
from loadtest.analyse.summary import Summary, summarize
from loadtest.cli import main
from loadtest.compare.runs import compare
from loadtest.errors import LoadtestError
from loadtest.experiments.cells import Cell, Level
from loadtest.experiments.folder import RunFolder, write_json
from loadtest.experiments.reader import load_design
from loadtest.generate.recorder import Recorder
from loadtest.generate.samples import Sample

DESIGN = """
name: made
goal: Are the numbers right?
seed: 1
repetitions: 5
cells:
  - {arrivals: poisson, rate_hz: 10, image_px: 64, duration_s: 10, warmup_s: 2}
  - {arrivals: original, interval_s: 0.1, measured_every: 10, requests: 100, image_px: 64}
"""
MIX = "cells: [{arrivals: poisson, rate_hz: 10, image_mix: {32: 1, 64: 1}, duration_s: 10}]\n"
LABELLED = """
name: labels
goal: Are the answers right?
seed: 1
repetitions: 5
images: {labelled: true}
cells:
  - {arrivals: closed, in_flight: 1, image_px: 64, requests: all}
figures: [resolution]
"""
RECORD = {
    "client": {"machine": "m", "processor": "p", "cores": 2},
    "facts": {},
    "version": {"model": {"name": "none", "version": "0", "digest": "0"}},
}


def make(folder: Path, design: str) -> RunFolder:
    (folder / "design.yml").write_text(design)
    run = RunFolder.create(folder / "run", load_design(folder / "design.yml"), "2026-01-01T00:00:00+00:00")
    write_json(run.level_path(Level()), RECORD)
    return run


def record(run: RunFolder, cell: Cell, number: int, samples: list[Sample], *, cpu_share: float = 0.1) -> None:
    path = run.trial_path(Level(), cell, number)
    path.parent.mkdir(parents=True, exist_ok=True)
    recorder = Recorder(path, {"asked_hz": cell.rate(None), "duration_s": cell.duration_s, "repetition": number})
    for sample in samples:
        recorder.add(sample)
    wall_s = 12.0
    in_flight = sum(one.service_s for one in samples) / wall_s
    recorder.close({"wall_s": wall_s, "cpu_share": cpu_share, "not_sent": 0, "mean_in_flight": in_flight})


def requests(response_s: float, *, spike_s: float = 0.0, failed: int = 0) -> list[Sample]:
    """A hundred requests, ten a second; every tenth takes longer, and the last ones fail."""
    return [
        Sample(
            seq,
            seq / 10,
            seq / 10,
            seq / 10 + response_s + (spike_s if seq % 10 == 9 else 0.0),
            500 if seq >= 100 - failed else 200,
            f"worker{1 + seq % 4 // 3}",
            "internal" if seq >= 100 - failed else None,
            "64px",
        )
        for seq in range(100)
    ]


@pytest.fixture
def made(tmp_path: Path) -> RunFolder:
    run = make(tmp_path, DESIGN)
    steady, loop = run.design.cells
    for number, response_s in enumerate((0.10, 0.12, 0.14), start=1):
        record(run, steady, number, requests(response_s, failed=4))
        record(run, loop, number, requests(response_s, spike_s=1.0))
    return run


def test_a_cell_is_the_mean_of_its_trials_with_their_interval(made: RunFolder) -> None:
    from scipy import stats

    row = summarize(made).cells[0]
    assert row["n"] == 3 * 80  # two of ten seconds are warm-up
    assert row["errors"] == 12
    assert row["errors_low"] < 12 / 240 < row["errors_high"]
    assert row["mean_s"] == pytest.approx(0.12)
    assert row["mean_ci"] == pytest.approx(stats.t.ppf(0.975, 2) * 0.02 / np.sqrt(3))
    assert row["p50_s"] == pytest.approx(0.12)
    assert row["p99_s"] is None  # of 240 requests nobody knows it
    assert row["achieved_hz"] == pytest.approx(10.0)
    assert row["asked_hz"] == 10
    assert row["answered_hz"] == pytest.approx(76 / 8, rel=0.03)
    assert row["worker_shares"] == pytest.approx({"worker1": 0.75, "worker2": 0.25}, abs=0.02)


def test_each_image_of_a_mix_was_asked_for_by_its_share(measured: Path) -> None:
    cells = summarize(RunFolder.open(measured)).cells
    asked = {row["image"]: row["asked_hz"] for row in cells if row["images"] == "mix-32-64"}
    assert asked == {"": asked[""], **dict.fromkeys(("32px", "64px"), pytest.approx(asked[""] / 2))}


def test_what_the_original_would_have_measured_stands_beside_the_truth(made: RunFolder) -> None:
    row = summarize(made).cells[1]
    assert row["measured_n"] == 30
    assert row["measured_mean_s"] == pytest.approx(1.12)
    assert row["mean_s"] == pytest.approx(0.22)


def test_an_invalid_trial_is_listed_and_left_out(made: RunFolder) -> None:
    steady = made.design.cells[0]
    made.trial_path(Level(), steady, 3).unlink()
    record(made, steady, 3, requests(9.0), cpu_share=0.99)
    summary = summarize(made)
    assert "the client's CPU was saturated: 0.99 of one core" in summary.trials[2]["invalid"]
    assert summary.cells[0]["valid_trials"] == 2
    assert summary.cells[0]["mean_s"] == pytest.approx(0.11)


def test_a_generator_that_lagged_makes_a_trial_invalid(made: RunFolder) -> None:
    steady = made.design.cells[0]
    made.trial_path(Level(), steady, 1).unlink()
    late = [
        Sample(one.seq, one.scheduled_s, one.sent_s + 0.05, one.done_s + 0.05, 200, "worker1", None, "64px")
        for one in requests(0.1)
    ]
    record(made, steady, 1, late)
    trials = summarize(made).trials
    assert "the generator lagged: p99 50.0 ms" in trials[0]["invalid"]
    assert trials[0]["lag_p50_s"] == pytest.approx(0.05)
    assert trials[1]["lag_p50_s"] == pytest.approx(0.0, abs=1e-9)


def test_a_trial_that_was_over_within_its_warm_up_is_invalid(tmp_path: Path) -> None:
    """How long a closed loop lasts nobody knows before."""
    loop = "cells: [{arrivals: closed, in_flight: 1, image_px: 64, requests: 15, warmup_s: 2}]\n"
    run = make(tmp_path, DESIGN.partition("cells:")[0] + loop)
    for number in range(1, 6):
        record(run, run.design.cells[0], number, requests(0.1)[:15])
    summary = summarize(run)
    assert {one["invalid"] for one in summary.trials} == {"all its requests were due within its warm-up of 2 s"}
    assert summary.cells[0]["valid_trials"] == 0
    with pytest.raises(LoadtestError, match="5 of 5 trials were invalid and left out"):
        compare(run, run)


def test_a_truncated_trial_is_listed_and_left_out(made: RunFolder) -> None:
    path = made.trial_path(Level(), made.design.cells[0], 2)
    path.write_bytes(path.read_bytes()[:-12])
    summary = summarize(made)
    assert summary.trials[1]["invalid"].startswith("it is incomplete")
    assert summary.cells[0]["valid_trials"] == 2


def test_a_file_that_is_no_trial_is_one_message(made: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    path = made.trial_path(Level(), made.design.cells[0], 2)
    path.write_bytes(b"oops")
    assert main(["summarize", str(made.path)]) == 1
    assert "is not a samples file" in capsys.readouterr().err


def test_accuracy_counts_each_image_once(tmp_path: Path) -> None:
    run = make(tmp_path, LABELLED)
    answers = {
        "n01440764/a@64": "n01440764 n01443537",
        "n01443537/b@64": "n01440764 n01443537",
        "n01484850/c@64": "n01440764 n01443537",
    }
    for number in (1, 2, 3):
        samples = [
            Sample(seq, float(seq), float(seq), seq + 0.1, 200, "worker1", None, key, answer=answer)
            for seq, (key, answer) in enumerate(answers.items())
        ]
        record(run, run.design.cells[0], number, samples)
    row = summarize(run).cells[0]
    assert (row["labelled"], row["top1"], row["top5"]) == (3, pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert (row["top1_low"], row["top1_high"]) == pytest.approx(wilson(1, 3), rel=1e-6)
    assert row["answers_differ"] == 0


def test_the_three_forms_hold_the_same(made: RunFolder, tmp_path: Path) -> None:
    summary = summarize(made)
    summary.write(tmp_path / "out")
    rows = json.loads((tmp_path / "out" / "cells.json").read_text())
    assert rows == summary.cells
    with (tmp_path / "out" / "cells.csv").open() as file:
        table = list(csv.DictReader(file))
    parquet = pyarrow.parquet.read_table(tmp_path / "out" / "cells.parquet").to_pylist()
    for row, text, binary in zip(rows, table, parquet, strict=True):
        assert float(text["mean_s"]) == row["mean_s"] == binary["mean_s"]
        assert json.loads(text["worker_shares"]) == row["worker_shares"] == json.loads(binary["worker_shares"])


def made_files(run: Path) -> dict[str, bytes]:
    made = [*(run / "summary").rglob("*"), *(run / "figures").rglob("*"), run / "report.html"]
    return {str(path.relative_to(run)): path.read_bytes() for path in made}


@pytest.mark.long
def test_what_is_deleted_is_rebuilt_identically(measured: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(measured, run)
    found = []
    for _ in range(2):
        assert main(["summarize", str(run)]) == 0
        assert main(["plot", str(run)]) == 0
        found.append(made_files(run))
        for name in ("summary", "figures"):
            shutil.rmtree(run / name)
        (run / "report.html").unlink()
    assert found[0] == found[1]
    names = {"resolution", "rate", "ccdf", "shares", "timeseries", "method", "mix"}
    assert {f"figures/{name}.{kind}" for name in names for kind in ("png", "svg")} <= set(found[0])


@pytest.mark.slow
def test_the_report_needs_no_other_file(measured: Path, tmp_path: Path) -> None:
    """Two figures stand for all: `test_figures.py` lays each out, and the long test above draws them all."""
    run = tmp_path / "run"
    shutil.copytree(measured, run)
    begun = json.loads((run / "run.json").read_text())
    begun["design"]["figures"] = ["rate", "ccdf"]
    write_json(run / "run.json", begun)
    assert main(["summarize", str(run)]) == 0
    assert main(["plot", str(run)]) == 0
    page = (run / "report.html").read_text()
    assert "src=" in page
    assert page.count("src=") == page.count('src="data:image/png;base64,')
    assert "http://" not in page.split("<h2>Where")[0]
    assert "Does the whole chain run?" in page
    assert re.search(r"Trials not to trust: \d+ of 35<", page)
    assert "<td>5 of 5" in page
    assert "<td>–" in page  # a p99 of fewer than 1,000 requests


def test_plot_without_summary_says_what_makes_one(made: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plot", str(made.path)]) == 1
    assert "`loadtest summarize" in capsys.readouterr().err


def test_a_folder_without_trials_or_without_a_run_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path, DESIGN)
    assert main(["summarize", str(tmp_path / "run")]) == 1
    assert main(["summarize", str(tmp_path)]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert "holds no trial yet" in first
    assert "is no run folder" in second


def test_a_trial_of_a_mix_is_one_trial(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It has a row for each image beside the one of all."""
    run = make(tmp_path, DESIGN.partition("cells:")[0] + MIX)
    for number in range(1, 6):
        samples = [replace(one, image=f"{32 * (1 + one.seq % 2)}px") for one in requests(0.1)]
        record(run, run.design.cells[0], number, samples, cpu_share=0.99 if number == 1 else 0.1)
    assert main(["summarize", str(run.path)]) == 0
    assert ": 1 cells, 5 trials, 1 of them invalid\n" in capsys.readouterr().out
    assert len(run.read_summary("trials")) == 15
    assert main(["plot", str(run.path)]) == 0
    page = (run.path / "report.html").read_text()
    assert "<p>5 trials, begun" in page
    assert "Trials not to trust: 1 of 5<" in page
    assert page.count("<p class=bad>as-deployed poisson-r10-mix-32-64 r1: the client") == 1


def test_a_run_that_has_no_trial_keeps_no_other_back(
    made: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its first trial failed, and was set aside."""
    failed = tmp_path / "failed"
    shutil.copytree(made.path, failed, ignore=shutil.ignore_patterns("*.r[2-5].*", "original-*"))
    run = RunFolder.open(failed)
    run.set_aside(run.trial_path(Level(), run.design.cells[0], 1))
    for command, written in (("summarize", "summary/cells.json"), ("plot", "report.html")):
        assert main([command, str(failed), str(made.path)]) == 1
        said = capsys.readouterr()
        assert str(failed) in said.err
        assert f"{made.path}/{written.partition('/')[0]}: " in said.out
        assert (made.path / written).is_file()


def test_theory_stands_beside_what_was_measured(measured: Path) -> None:
    summary: Summary = summarize(RunFolder.open(measured))
    row = next(one for one in summary.cells if one["utilisation"] == 0.5)
    assert row["service_s"] == pytest.approx(0.02, rel=0.5)
    assert row["rho"] == pytest.approx(0.5, rel=0.1)
    for key in ("mg1_mean_s", "simulated_mean_s", "replayed_mean_s"):
        assert 0.01 < row[key] < 0.2
    overloaded = next(one for one in summary.cells if one["utilisation"] == 1.2)
    assert overloaded["mg1_mean_s"] is None
    assert overloaded["simulated_mean_s"] > row["simulated_mean_s"]


def test_wilson_is_the_interval_of_the_textbook() -> None:
    assert wilson(61, 100) == pytest.approx((0.51203, 0.69983), abs=1e-5)
    assert wilson(0, 10) == (0, pytest.approx(0.27753, abs=1e-5))
    assert wilson(0, 0) == (None, None)


def test_the_interval_of_errors_that_come_together_holds_the_truth() -> None:
    """Some trials meet a bad minute: an interval over requests would hold the truth in half of the runs."""
    rng = np.random.default_rng(8)
    held, over_requests = 0, 0
    for _ in range(300):
        failed = rng.binomial(200, rng.beta(2, 18, 5)).tolist()
        low, high = failed_interval(failed, [200] * 5)
        assert low is not None
        assert high is not None
        held += low <= 0.1 <= high
        low, high = wilson(sum(failed), 1000)
        assert low is not None
        assert high is not None
        over_requests += low <= 0.1 <= high
    assert held >= 0.9 * 300
    assert over_requests < 0.7 * 300
    assert failed_interval([10] * 5, [200] * 5) == wilson(50, 1000)  # no more apart than chance has it
    assert failed_interval([0, 0], [200, 100]) == wilson(0, 300)
    assert failed_interval([7], [100]) == wilson(7, 100)
    assert failed_interval([], []) == (None, None)


def test_a_percentile_is_one_of_the_values() -> None:
    assert percentile([4, 1, 3, 2], 0.5) == 2
    assert percentile(range(1, 101), 0.99) == 99
    assert percentile([1.0, 2.0, math.inf], 0.9) == math.inf
    assert percentile(np.arange(100.0), 0.07) == 6  # 0.07 · 100 is a little above 7 for a computer
    assert math.isnan(percentile([], 0.5))


def test_intervals_are_those_of_scipy() -> None:
    from scipy import stats

    one = [1.0, 2.0, 4.0, 4.5]
    mean, half = t_interval(one)
    low, high = stats.t.interval(0.95, 3, np.mean(one), stats.sem(one))
    assert (mean, half) == pytest.approx(((low + high) / 2, (high - low) / 2))
    assert t_interval([3.0]) == (3.0, None)
    assert t_interval([]) == (None, None)
    for successes, count in [(0, 10), (1, 7), (61, 100), (500, 500)]:
        theirs = stats.binomtest(successes, count).proportion_ci(0.95, "wilson")
        assert wilson(successes, count) == pytest.approx((theirs.low, theirs.high), abs=1e-14)
