"""Comparing two runs: no false alarm, small changes found, unlike runs refused, and an exit status for CI."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import stdtr, stdtrit

from loadtest.analyse.statistics import holm, pooled_quantile, quantile
from loadtest.cli import main
from loadtest.compare import changes
from loadtest.compare.alike import common_cells
from loadtest.compare.pairs import Pairs
from loadtest.compare.runs import Change, corrected, told
from loadtest.errors import LoadtestError
from loadtest.experiments.cells import Level
from loadtest.experiments.folder import RunFolder, write_json
from loadtest.experiments.reader import load_design
from loadtest.generate.recorder import Recorder
from loadtest.generate.samples import Sample

SERVICE_S, TRIALS, REQUESTS = 0.02, 5, 2000


def responses(rho: float, services: np.ndarray, gaps: np.ndarray) -> np.ndarray:
    """Response times of one worker, one row a trial: Lindley's recursion over all trials at once."""
    arrivals = gaps * SERVICE_S / rho
    walk = np.cumsum(services[:, :-1] - arrivals[:, 1:], axis=1)
    walk = np.concatenate((np.zeros((len(walk), 1)), walk), axis=1)
    return walk - np.minimum.accumulate(walk, axis=1) + services


def changes_of(rng: np.random.Generator, slower: float) -> list[Change]:
    """Two runs of three loads, with the same arrivals and services of their own; those of the second take longer."""
    cells = {}
    for rho in (0.3, 0.6, 0.8):
        gaps = rng.exponential(1.0, (TRIALS, REQUESTS))
        runs = [
            responses(rho, factor * SERVICE_S * rng.gamma(20, 1 / 20, gaps.shape), gaps) for factor in (1.0, slower)
        ]
        due_s = np.cumsum(gaps, axis=1) * SERVICE_S / rho
        until_s = due_s[:, -1:]
        answered_hz = [((due_s + times <= until_s).sum(axis=1) / until_s[:, 0]).tolist() for times in runs]
        goodput = list(zip(*answered_hz, strict=True))
        cells["level", f"u{rho}"] = Pairs(list(runs[0]), list(runs[1]), goodput)
    return corrected(told(cells, rng))


@pytest.fixture
def fewer_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rates are the same with fewer; a p-value is only coarser."""
    monkeypatch.setattr(changes.effect, "__defaults__", (2000,))


@pytest.mark.long
@pytest.mark.usefixtures("fewer_resamples")
def test_equal_runs_raise_few_alarms_and_five_per_cent_are_found() -> None:
    rng = np.random.default_rng(1)
    equal = [changes_of(rng, 1.0) for _ in range(200)]
    assert sum(any(one.verdict == "worse" for one in found) for found in equal) <= 10
    assert sum(any(one.verdict for one in found) for found in equal) <= 20  # in either direction
    slower = [changes_of(rng, 1.05) for _ in range(100)]
    assert sum(any(one.verdict == "worse" for one in found) for found in slower) >= 90
    assert sum(any(one.verdict == "better" for one in found) for found in slower) <= 5


@pytest.mark.usefixtures("fewer_resamples")
def test_a_change_is_found_in_each_metric_with_its_size() -> None:
    found = changes_of(np.random.default_rng(2), 1.1)
    by = {(one.cell, one.metric): one for one in found}
    assert {metric for _, metric in by} == {"mean", "p99", "goodput"}
    everywhere = by["all cells", "mean"]
    assert everywhere.verdict == "worse"
    assert everywhere.effect is not None
    assert 1.1 < everywhere.effect.low < everywhere.effect.ratio < everywhere.effect.high


@pytest.mark.usefixtures("fewer_resamples")
def test_intervals_of_five_pairs_hold_the_truth() -> None:
    """Percentiles of plain resamples would hold it in 82 of 100."""
    rng = np.random.default_rng(3)
    found = [changes.effect([rng.normal(0.05, 0.02, 5)], rng) for _ in range(300)]
    held = sum(one is not None and one.low <= np.exp(0.05) <= one.high for one in found)
    assert held >= 0.92 * 300


@pytest.mark.usefixtures("fewer_resamples")
def test_three_pairs_are_the_fewest_that_tell_anything() -> None:
    """Of two every resample with an error of its own is the sample itself: 100 of 100 equal runs would differ."""
    rng = np.random.default_rng(7)
    assert changes.effect([np.array([0.01, 0.03])], rng) is None
    assert changes.effect([rng.normal(0.0, 0.02, 5), np.array([0.01, 0.03])], rng) is None


@pytest.mark.parametrize("pairs", [3, 4, 5])
@pytest.mark.usefixtures("fewer_resamples")
def test_few_pairs_raise_no_more_alarms_than_they_say(pairs: int) -> None:
    """Of three pairs a bootstrap alone calls 7 of 100 equal runs different, with a p-value that Holm cannot stop."""
    rng = np.random.default_rng(8)
    found = [changes.effect([rng.normal(0.0, 0.02, pairs)], rng) for _ in range(400)]
    p_values = [one.p for one in found if one is not None]
    assert len(p_values) == len(found)
    assert sum(p < 0.05 for p in p_values) <= 32  # 20 expected
    assert sum(p < 0.005 for p in p_values) <= 7  # 2 expected
    assert sum(one is not None and one.low <= 1 <= one.high for one in found) >= 368


def test_the_mean_of_two_cells_has_the_degrees_of_freedom_of_welch() -> None:
    rng = np.random.default_rng(9)
    one, other = rng.normal(0, 0.01, 4), rng.normal(0, 0.03, 6)
    found = changes.effect([one, other], rng, 1000)
    assert found is not None
    parts = np.array([one.var(ddof=1) / 4, other.var(ddof=1) / 6])
    freedom = parts.sum() ** 2 / (parts[0] ** 2 / 3 + parts[1] ** 2 / 5)
    away = abs(one.mean() + other.mean()) / np.sqrt(parts.sum())
    assert found.p >= 2 * stdtr(freedom, -away) - 1e-12
    assert np.log(found.high / found.low) >= np.sqrt(parts.sum()) * abs(stdtrit(freedom, 0.025)) - 1e-12


def test_holm_corrects_as_the_textbook_does() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


def test_quantiles_stand_only_where_ten_requests_lie_beyond() -> None:
    rng = np.random.default_rng(4)
    trials = [rng.exponential(1.0, 200) for _ in range(5)]
    assert quantile(trials[0], 0.99) is None
    value, half = pooled_quantile(trials, 0.99)
    assert value == pytest.approx(np.quantile(np.concatenate(trials), 0.99))
    assert half is not None
    assert 0 < half < 3 * value
    assert pooled_quantile(trials[:4], 0.99) == (None, None)
    assert pooled_quantile(trials, 0.999) == (None, None)


DESIGN = """
name: made
goal: Is it worse?
seed: {seed}
repetitions: 5
cells:
  - {{arrivals: poisson, rate_hz: 50, image_px: 64, duration_s: 10}}
"""
CAPACITY = {
    "capacity_hz": 50.0,
    "service_s": 0.02,
    "cv2": 0.1,
    "overhead_s": 0.0,
    "unloaded_response_s": 0.02,
    "unloaded_total_s": 0.02,
    "workers": {"worker1": 50.0},
    "processes": 1,
    "how": "gaps",
}
RECORD = {
    "client": {"machine": "m", "processor": "p", "cores": 2},
    "facts": {"commit": "a" * 40, "cpu_cores": {"worker1": 0.5}},
    "version": {"model": {"name": "none", "version": "0", "digest": "0"}},
    "images": {"64px": {"64px": {"bytes": 2000, "sha256": "0"}}},
    "capacity": {"64px": CAPACITY},
}


def made(
    folder: Path,
    factor: float = 1.0,
    seed: int = 1,
    *,
    asked_hz: float | None = 50,
    invalid: tuple[int, ...] = (2,),
    failing: tuple[int, ...] = (),
    more: str = "",
    **changed: Any,
) -> Path:
    """A run of five trials. Arrivals come from the seed, and the times are `factor` times as long.

    Args:
        folder: Where it is made.
        factor: Of the times.
        seed: The design's.
        asked_hz: The rate that its trials say they were asked for.
        invalid: Trials beside which another program ran.
        failing: Trials in which nothing is answered.
        more: Cells that the design has besides, and of which there is no trial.
        changed: What the level's record says otherwise.
    """
    folder.mkdir()
    (folder / "design.yml").write_text(DESIGN.format(seed=seed) + more)
    run = RunFolder.create(folder / folder.name, load_design(folder / "design.yml"), "2026-01-01T00:00:00+00:00")
    write_json(run.level_path(Level()), RECORD | changed)
    own = np.random.default_rng(round(1e6 * factor) + seed)
    for number in range(1, 6):
        due = np.sort(np.random.default_rng([seed, number]).uniform(0, 10, 500))
        times = factor * (0.01 + 0.005 * np.abs(np.sin(due))) * own.gamma(100, 1 / 100, 500)
        path = run.trial_path(Level(), run.design.cells[0], number)
        path.parent.mkdir(parents=True, exist_ok=True)
        recorder = Recorder(path, {"asked_hz": asked_hz, "duration_s": 10, "repetition": number})
        for seq, (at, time_s) in enumerate(zip(due, times, strict=True)):
            status, error = (503, "no-workers") if number in failing else (200, None)
            recorder.add(Sample(seq, at, at, at + time_s, status, "worker1", error, "64px"))
        footer = {"wall_s": 10.0, "cpu_share": 0.1, "not_sent": 0, "mean_in_flight": float(times.sum()) / 10}
        recorder.close(footer | {"others": 0.5 if number in invalid else 0.0})
    return run.path


def test_a_slower_run_ends_with_1_for_ci(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, slower = made(tmp_path / "before"), made(tmp_path / "slower", 1.05)
    assert main(["compare", str(before), str(slower)]) == 1
    text = capsys.readouterr().out
    assert "paired by seed" in text
    line = next(one for one in text.splitlines() if " mean " in one)
    assert re.search(r"\+[45]\.\d %", line)
    assert line.endswith("worse")
    assert "slower: 1 of 5 trials were invalid and left out" in text
    assert main(["compare", str(slower), str(before)]) == 0  # it is better
    assert "0 worse" in capsys.readouterr().out


def test_a_service_that_answers_nothing_is_worse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, broken = made(tmp_path / "before"), made(tmp_path / "broken", failing=(1, 2, 3, 4, 5))
    assert main(["compare", str(before), str(broken)]) == 1
    line = next(one for one in capsys.readouterr().out.splitlines() if " goodput " in one)
    assert re.search(r" -9\d\.\d % .* worse$", line)
    assert main(["compare", str(broken), str(before)]) == 0
    assert main(["compare", str(broken), str(broken)]) == 0


@pytest.mark.parametrize("invalid", [(1, 2, 3), (1, 2, 3, 4, 5)], ids=["two-are-left", "none-is-left"])
def test_what_cannot_be_compared_does_not_pass(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], invalid: tuple[int, ...]
) -> None:
    before, noisy = made(tmp_path / "before"), made(tmp_path / "noisy", invalid=invalid)
    assert main(["compare", str(before), str(noisy)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "run both again on a quiet machine, with three repetitions or more" in line
    assert f"before: 1 of 5 trials were invalid and left out. noisy: {len(invalid)} of 5 trials" in line


def test_a_cell_that_is_not_compared_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cell = "  - {arrivals: poisson, rate_hz: 70, image_px: 64, duration_s: 10}\n"
    paths = [str(made(tmp_path / name, more=cell)) for name in ("a", "b")]
    assert main(["compare", *paths]) == 0
    assert re.search(
        r"fewer than 3 pairs of valid trials: \S+ poisson-r70\S+\.$", capsys.readouterr().out, re.MULTILINE
    )


def test_a_cell_is_compared_at_its_own_levels_alone(tmp_path: Path) -> None:
    (tmp_path / "design.yml").write_text(
        "name: own\ngoal: Which levels?\nseed: 1\nrepetitions: 5\ndeployment: {workers_awake: [auto, all]}\ncells:\n"
        "  - {arrivals: poisson, rate_hz: 50, image_px: 64, duration_s: 10, only_awake: auto}\n"
    )
    run = RunFolder.create(tmp_path / "run", load_design(tmp_path / "design.yml"), "2026-01-01T00:00:00+00:00")
    for level in run.design.levels:
        write_json(run.level_path(level), RECORD)
    assert [level.workers_awake for level, _ in common_cells(run, run)] == ["auto"]


def test_cells_whose_calibrations_made_other_rates_are_named_and_not_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """3 % more requests are 3 % more answers, and longer times, though nothing has changed."""
    before, other = str(made(tmp_path / "before")), str(made(tmp_path / "other", asked_hz=51.5))
    assert main(["compare", before, other]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "(50.0 and 51.5 requests/s)" in line
    assert "compare runs of a design with rate_hz, or add --allow rates" in line
    cell = "  - {arrivals: poisson, rate_hz: 70, image_px: 64, duration_s: 10}\n"
    bare = [str(made(tmp_path / name, asked_hz=rate, more=cell)) for name, rate in (("c", 50), ("d", 51.5))]
    assert main(["compare", *bare]) == 2
    assert "compare runs of a design with rate_hz, or add --allow rates" in capsys.readouterr().err
    assert main(["compare", before, other, "--allow", "rates"]) == 0
    assert "Allowed: rates: " in capsys.readouterr().out
    closed = [str(made(tmp_path / name, asked_hz=None)) for name in ("a", "b")]
    assert main(["compare", *closed]) == 0
    assert "rates" not in capsys.readouterr().out


def test_a_run_compared_with_itself_differs_nowhere(measured: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(measured), str(measured), "--allow", "dirty"]) == 0  # while this checkout is worked on
    text = capsys.readouterr().out
    assert {"mean", "goodput", "capacity"} <= set(text.split())
    assert set(re.findall(r"\S+ %(?=\s+[+-])", text)) == {"+0.0 %"}
    assert "0 worse, 0 better" in text


def calibrated(rng: np.random.Generator, service_s: float) -> dict[str, list[float]]:
    """Gaps between the answers of four workers; this calibration strays by what one does."""
    service_s *= float(np.exp(rng.normal(0, changes.CALIBRATIONS_STRAY / 2**0.5)))
    return {f"worker{number}": (service_s * rng.gamma(20, 1 / 20, 300)).tolist() for number in range(4)}


@pytest.mark.slow
def test_equal_capacities_raise_few_alarms_and_a_lower_one_is_found() -> None:
    rng = np.random.default_rng(6)

    def alarms(slower: float) -> int:
        """Of 200 pairs of calibrations."""
        pairs = ((calibrated(rng, SERVICE_S), calibrated(rng, slower * SERVICE_S)) for _ in range(200))
        found = [changes.of_capacities(*pair, rng, 1000) for pair in pairs]
        return sum(one is not None and one.p < 0.05 for one in found)

    assert alarms(1.0) <= 18  # 10 expected
    assert alarms(1.12) >= 180


@pytest.mark.parametrize("gaps", [{}, {"worker0": []}, {"worker0": [SERVICE_S] * 19}], ids=["none", "empty", "few"])
def test_a_capacity_without_its_samples_is_not_compared(gaps: dict[str, list[float]]) -> None:
    rng = np.random.default_rng(6)
    whole = calibrated(rng, SERVICE_S)
    assert changes.of_capacities(whole, whole, rng, 10) is not None
    assert changes.of_capacities(whole, gaps, rng, 10) is None
    assert changes.of_capacities(gaps, whole, rng, 10) is None


def test_two_recorded_calibrations_stray_as_far_as_is_said() -> None:
    assert np.log([197.22, 203.23, 204.84]).std(ddof=1) * 2**0.5 == pytest.approx(changes.CALIBRATIONS_STRAY, rel=0.1)


def with_capacities(folder: Path, slower: float, others: float) -> list[str]:
    """Two runs, of the second of which each worker is slower, and another program ran beside its calibrations."""
    slow = CAPACITY | {"capacity_hz": 50.0 / slower, "service_s": 0.02 * slower}
    paths = [str(made(folder / "a")), str(made(folder / "b", capacity={"64px": slow}))]
    runs = (("a", 0.02, 0.0), ("b", 0.02 * slower, others))
    for (name, pause_s, used), kind in itertools.product(runs, ("saturated", "busy")):
        path = RunFolder.open(folder / name / name).calibration_path(Level(), "64px", kind)
        path.parent.mkdir(parents=True, exist_ok=True)
        recorder = Recorder(path, {})
        for seq, at in enumerate(pause_s * np.arange(1, 500)):
            recorder.add(Sample(seq, at - 0.1, at - 0.1, at, 200, "worker1", None, "64px"))
        recorder.close({"wall_s": 20.0, "others": used})
    return paths


@pytest.mark.parametrize(("slower", "status", "says"), [(1.03, 0, "-2.9 %"), (2.0, 1, "-50.0 %")])
def test_a_capacity_that_is_lower_than_calibrations_stray_is_worse(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], *, slower: float, status: int, says: str
) -> None:
    assert main(["compare", *with_capacities(tmp_path, slower, 0.0), "--allow", "capacities"]) == status
    text = capsys.readouterr().out
    line = next(one for one in text.splitlines() if " capacity " in one)
    assert re.search(rf" 50\.0 +\S+ +{says} +-\S+ to [+-]\S+ % +\d", line)
    assert line.endswith("worse") == bool(status)
    assert f"correction of 4 tests: {status} worse, 0 better" in text


def test_a_capacity_beside_which_another_program_ran_is_not_tested(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *with_capacities(tmp_path, 2.0, 0.3), "--allow", "capacities"]) == 0
    text = capsys.readouterr().out
    line = next(one for one in text.splitlines() if " capacity " in one)
    assert line.split()[-3:] == ["%", "–", "–"]
    assert "b: 1 of 1 calibrations of a capacity were disturbed and left out." in text
    assert "correction of 3 tests: 0 worse" in text


def test_more_tests_than_resamples_can_tell_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [Change("level", str(cell), "mean", 1.0, 2.0, changes.Effect(2.0, 1.9, 2.1, 1e-5)) for cell in range(300)]
    with monkeypatch.context() as fewer:
        fewer.setattr(changes, "RESAMPLES", 5000)
        with pytest.raises(LoadtestError, match="300 tests are too many"):
            corrected(found)
    rng = np.random.default_rng(5)
    clear = changes.effect([rng.normal(1.0, 0.001, 20)], rng)
    assert clear is not None
    assert corrected([replace(one, effect=clear) for one in found])[0].verdict == "worse"


@pytest.mark.parametrize("words", [["one"], ["one", "other", "--alow", "commits"], ["one", "other", "--seed", "-1"]])
def test_a_mistyped_comparison_is_not_worse(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *words]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_runs_of_other_seeds_are_no_pairs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(made(tmp_path / "a")), str(made(tmp_path / "b", seed=2))]) == 0
    assert "not paired: the runs have other seeds" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "changed", "says"),
    [
        ("machines", {"client": RECORD["client"] | {"cores": 64}}, "client cores: 2 and 64"),  # type: ignore[operator]
        (
            "models",
            {"version": {"model": {"name": "none", "version": "0", "digest": "f"}}},
            "model digest: '0' and 'f'",
        ),
        ("payloads", {"images": {"64px": {"64px": {"bytes": 9, "sha256": "1"}}}}, "'bytes': 2000"),
        ("commits", {"facts": {"commit": "b" * 40, "cpu_cores": {"worker1": 0.5}}}, "aaaaaaaaaaaa and bbbbbbbbbbbb"),
        (
            "dirty",
            {"facts": RECORD["facts"] | {"dirty": True}},  # type: ignore[operator]
            "measured with changes that are in no commit: aaaaaaaaaaaa",
        ),
        ("capacities", {"capacity": {"64px": CAPACITY | {"capacity_hz": 60.0}}}, "64px: 50.0 and 60.0 answers/s"),
        ("capacities", {"facts": {"commit": "a" * 40, "cpu_cores": {"worker1": 0.4}}}, "cores of worker1: 0.5 and 0.4"),
    ],
)
def test_unlike_runs_are_refused_unless_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, changed: dict[str, Any], says: str
) -> None:
    paths = [str(made(tmp_path / "a")), str(made(tmp_path / "b", **changed))]
    assert main(["compare", *paths]) == 2
    error = capsys.readouterr().err
    assert f"a and b differ in {kind}, " in error
    assert f"add --allow {kind}" in error
    assert says in error
    assert main(["compare", *paths, "--allow", kind]) == 0
    assert f"Allowed: {kind}: " in capsys.readouterr().out


def test_runs_with_nothing_in_common_are_refused(
    measured: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", str(measured), str(made(tmp_path / "a"))]) == 2
    assert "no measured level in common" in capsys.readouterr().err
    again = tmp_path / "again"
    shutil.copytree(tmp_path / "a" / "a", again)
    content = json.loads((again / "run.json").read_text())
    content["design"]["cells"][0]["duration_s"] = 20
    (again / "run.json").write_text(json.dumps(content))
    assert main(["compare", str(tmp_path / "a" / "a"), str(again)]) == 2
    assert "no cell of the same load and length in common" in capsys.readouterr().err
    assert main(["compare", str(again), str(again), "--allow", "colours"]) == 2
    assert "--allow colours is not one of machines" in capsys.readouterr().err
