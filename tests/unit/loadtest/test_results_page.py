"""results/README.md: made from the recorded runs, and what a template may not ask for."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import pytest

from loadtest.analyse.summary import summarize
from loadtest.draw import results_page
from loadtest.draw.beyond import why
from loadtest.errors import LoadtestError
from loadtest.experiments.folder import RunFolder
from loadtest.generate.recorder import Recorder
from tests.conftest import REPOSITORY

RESULTS = REPOSITORY / "results"
_LARGE = ("policies", "scaling")  # the runs with most requests and most predictions
LEFT_OUT = shutil.ignore_patterns("*.gz", "*.png")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A folder with one run and no template."""
    shutil.copytree(
        RESULTS / "reference/rtt", tmp_path / "reference/rtt", ignore=shutil.ignore_patterns("*.gz", "*.png")
    )
    return tmp_path


def change(table: Path, cell: str = "", **values: str) -> None:
    """Give columns of the first row, or of the first one of a cell, other values."""
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    next(row for row in rows if not cell or row["cell"] == cell).update(values)
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def page(folder: Path, template: str) -> str:
    (folder / results_page.TEMPLATE).write_text(template)
    return results_page.render(folder)


def test_the_committed_page_is_what_the_recorded_runs_say() -> None:
    assert results_page.render(RESULTS) == (RESULTS / results_page.PAGE).read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    "run",
    [
        pytest.param(path.parent.name, marks=pytest.mark.long if path.parent.name in _LARGE else ())
        for path in sorted(RESULTS.glob("reference/*/run.json"))
    ],
)
def test_the_committed_tables_are_what_the_raw_samples_say(run: str, tmp_path: Path) -> None:
    folder = RunFolder.open(RESULTS / "reference" / run)
    summarize(folder).write(tmp_path)
    kept = sorted((folder.path / "summary").glob("*.csv"))
    assert {"cells.csv", "trials.csv"} <= {path.name for path in kept}
    for path in kept:
        assert (tmp_path / path.name).read_text() == path.read_text(), path.name


def test_a_changed_number_changes_the_page(results: Path) -> None:
    shutil.copy(RESULTS / results_page.TEMPLATE, results)
    shutil.copytree(RESULTS / "reference", results / "reference", dirs_exist_ok=True, ignore=LEFT_OUT)
    change(results / "reference/rtt/summary/cells.csv", mean_s="9.0")
    assert "9000.0 ± " in results_page.render(results)


@pytest.mark.parametrize(
    ("rho", "says", "not_so"),
    [
        ("1.3", "the queue grows", "of what ours can do"),
        ("0.7", "asks for 0.70 of what ours can do", "the queue grows"),
    ],
)
def test_the_original_s_highest_rate_is_said_to_be_too_much_where_it_is(
    results: Path, rho: str, says: str, not_so: str
) -> None:
    shutil.copy(RESULTS / results_page.TEMPLATE, results)
    shutil.copytree(RESULTS / "reference", results / "reference", dirs_exist_ok=True, ignore=LEFT_OUT)
    change(results / "reference/scaling/summary/cells.csv", "poisson-i0.01-128px", rho=rho)
    page = results_page.render(results)
    assert says in page
    assert not_so not in page


def also(folder: Path, run: str, cells: list[dict[str, object]], **tables: list[dict[str, object]]) -> None:
    """Make a run of these cells, and other tables; what is known of it as a whole is another's."""
    made = folder / "reference" / run
    shutil.copytree(RESULTS / "reference/rtt", made, ignore=LEFT_OUT)
    for name, rows in {"cells": cells, **tables}.items():
        with (made / f"summary/{name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)


def test_a_section_stands_only_where_its_run_is_recorded(results: Path) -> None:
    shutil.copy(RESULTS / results_page.TEMPLATE, results)
    shutil.copytree(RESULTS / "reference", results / "reference", dirs_exist_ok=True, ignore=LEFT_OUT)
    for run in ("autoscale", "batching"):
        shutil.rmtree(results / "reference" / run, ignore_errors=True)
    before = results_page.render(results)
    assert "autoscale" not in before
    assert "reference/batching" not in before
    often = {"image": "", "n": 6000, "mean_s": 0.05, "mean_ci": 0.001, "lost": 0, "worker_ci": 2.0}
    cells = [("auto", 0.2, 30, 70.0), ("least", 2.0, 1500, 36.0), ("all", 0.1, 0, 140.0)]
    also(
        results,
        "autoscale",
        [
            often
            | {"cell": "step-u0.15", "workers_awake": awake, "p99_s": p99_s, "refused": refused, "worker_s": spent}
            for awake, p99_s, refused, spent in cells
        ]
        + [often | {"cell": "poisson-u0.3", "workers_awake": "auto", "p99_s": 0.2, "refused": 0, "worker_s": 90.0}],
        bars=[
            {"cell": cell, "what": "lost", "figure": figure, "bar": 5.0, "requests": 6000, "trials": 5, "met": met}
            for cell, figure, met in (("step-u0.15", 1.25, "yes"), ("poisson-u0.3", "", "no"))
        ],
    )
    text = results_page.render(results)
    assert "| `step-u0.15` | the autoscaler | 6,000 | 50.0 ± 1.0 | 200.0 | 0.50 | 0 | 70 ± 2 |" in text
    assert (
        "took 50 % of the worker-seconds of all. Its p99 was 2.0 times that of\n  all awake; that of the minimum"
        in text
    )
    assert "| `poisson-u0.3` | the autoscaler | 6,000 | 50.0 ± 1.0 | 200.0 | 0.00 | 0 | 90 ± 2 |\n\n- `step" in text
    assert text.count("times that of\n  all awake") == 1  # of the load that is not only the autoscaler's
    assert "| `step-u0.15` | lost | 1.25 | 5 | 6,000 | 5 | yes |\n| `poisson-u0.3` | lost | – | 5 |" in text
    assert text.count("autoscale](reference/autoscale)") == 1
    assert "reference/batching" not in text
    # where no trial counts there is nothing to divide by
    change(
        results / "reference/autoscale/summary/cells.csv", **dict.fromkeys(["mean_s", "mean_ci", "p99_s"], ""), n="0"
    )
    change(results / "reference/autoscale/summary/cells.csv", refused="0", worker_s="", worker_ci="")
    text = results_page.render(results)
    assert "| `step-u0.15` | the autoscaler | 0 | – | – | – | 0 | – |" in text
    assert "the autoscaler took – % of the worker-seconds of all. Its p99 was – times that of" in text

    settings = [(1, 0, 100.0), (4, 0, 150.0), (4, 5, 140.0)]
    also(
        results,
        "batching",
        [
            {"level": f"batch{batch}-window{window}", "batch": batch, "batch_window_ms": window, "trials": 5}
            | {"valid_trials": 5 - batch // 4, "p99_ci": 0.002}
            | load
            for batch, window, answered_hz in settings
            for load in (
                {"arrivals": "closed", "utilisation": "", "answered_hz": answered_hz, "answered_ci": 3.0, "p99_s": 0.3},
                {"arrivals": "poisson", "utilisation": 0.4, "answered_hz": 9, "answered_ci": 1, "p99_s": 0.012},
                {"arrivals": "poisson", "utilisation": 0.8, "answered_hz": 9, "answered_ci": 1, "p99_s": 0.034},
            )
        ],
    )
    text = results_page.render(results)
    assert (
        "| at most at once | window, ms | photographs a second, saturated | p99 at 0.4, ms | p99 at 0.8, ms |\n|---|"
        in text
    )
    assert "| 1 | 0 | 100 ± 3 | 12.0 | 34.0 |\n| 4 | 0 | 150 ± 3 | 12.0 (4 of 5) | 34.0 (4 of 5) |\n| 4 | 5 |" in text
    assert "answers 1.50 times as many as one photograph at a time, with a p99 of 34.0 ± 2.0 ms at 0.8" in text


def test_no_measured_number_is_written_in_the_template() -> None:
    """Its prose has sizes, rates and settings; a decimal or a percentage would be a result."""
    text = (RESULTS / results_page.TEMPLATE).read_text()
    prose = re.sub(r"\{%.*?%\}|\{\{.*?\}\}|\{#.*?#\}|`[^`]*`|\([^)]*\.png\)", "", text, flags=re.DOTALL)
    settings = {"1.0", "0.3", "3.3", "1.2", "0.5", "0.6", "0.8", "0.9"}
    assert set(re.findall(r"\d+\.\d+", prose)) <= settings
    assert re.findall(r"(\d+) %", prose) == ["95"] * len(re.findall("95 %", prose))


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ row('rtt', images='17px').mean_s }}", "rtt has no row with {'images': '17px'} in its cells"),
        ("{{ row('rtt', arrivals='closed').mean_s }}", "rtt has 9 rows with {'arrivals': 'closed'} in its cells"),
        ("{{ row('rtt', sides=16).mean_s }}", "rtt has no column sides in its cells"),
        ("{{ row('rtt', images='16px').mean }}", "has no attribute 'mean'"),
        ("{{ row('ttr', images='16px').mean_s }}", "cells.csv: No such file or directory; make figures writes it"),
        ("{{ row(", "cannot be rendered"),
        ("{{ 1 / (row('rtt', images='16px').n * 0) }}", "division by zero"),
        ("{{ '%q' % row('rtt', images='16px').n }}", "README.md.j2 cannot be rendered: unsupported format character"),
    ],
)
def test_what_no_run_has_is_refused_by_name(results: Path, template: str, reason: str) -> None:
    with pytest.raises(LoadtestError, match=re.escape(reason)):
        page(results, template)


def test_a_cell_far_from_theory_says_which_trial_and_why() -> None:
    cell = {"mean_s": 0.03, "mean_ci": 0.001, "mg1_mean_s": 0.03, "mg1_off": 0.02, "replayed_off": 0.0}
    trials = [
        {"repetition": 1, "mean_s": 0.031, "invalid": None, "others": None, "steal": None},
        {"repetition": 2, "mean_s": 0.04, "invalid": None, "others": 0.04, "steal": 0.0},
        {"repetition": 3, "mean_s": 0.09, "invalid": "the generator lagged", "others": 0.0, "steal": 0.0},
    ]
    assert why(cell, trials) == ""
    assert why(cell | {"mg1_off": 0.2, "replayed_off": 0.05}, trials) == (
        "trial 2 (40.0 ms): other programs used 4 % of the host; luck of its arrivals: replayed, it is near"
    )
    assert why(cell | {"mg1_off": -0.2, "replayed_off": -0.15}, trials[:1]) == (
        "trial 1 (31.0 ms): the workers were faster than when they were calibrated"
    )
    assert why(cell | {"mean_ci": 0.006}, trials[:1]) == "trial 1 (31.0 ms): interval too wide (± 20 %)"
    assert why(cell | {"mean_ci": None}, trials[:1]) == "trial 1 (31.0 ms): one trial has no interval"
    assert why(cell | {"mg1_mean_s": None, "mg1_off": None}, trials) == "theory has no steady state for it"
    assert why(cell, trials[2:]) == "no trial counts"


def test_a_gain_is_that_of_trials_of_the_same_number(results: Path) -> None:
    runs = results_page.Runs(results / "reference")
    small, large = (runs.row("rtt", images=images) for images in ("16px", "2000px"))
    found = re.fullmatch(r"(\S+) \((\S+) to (\S+)\)", runs.gain("rtt", large, small))
    assert found is not None
    ratio, low, high = map(float, found.groups())
    assert low < ratio < high
    assert ratio == pytest.approx(small["answered_hz"] / large["answered_hz"], rel=0.02)
    assert runs.has("rtt", images="16px")
    assert not runs.has("rtt", images="17px")


@pytest.mark.parametrize("valid", [1, 2])
def test_a_gain_of_a_trial_or_two_has_no_interval(results: Path, valid: int) -> None:
    table = results / "reference/rtt/summary/trials.csv"
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(row | {"invalid": "late" if int(row["repetition"]) > valid else ""} for row in rows)
    runs = results_page.Runs(results / "reference")
    small, large = (runs.row("rtt", images=images) for images in ("16px", "2000px"))
    assert runs.gain("rtt", large, small).endswith("(too few trials for an interval)")


def test_a_page_of_which_no_trial_counts_has_dashes(results: Path) -> None:
    """A machine that others used, all the while: the page is written, and says so."""
    shutil.copy(RESULTS / results_page.TEMPLATE, results)
    shutil.copytree(RESULTS / "reference", results / "reference", dirs_exist_ok=True, ignore=LEFT_OUT)
    measured = re.compile(r"(?!asked_hz|interval_s)(.*(_s|_ci|_hz|_off|_low|_high)|top1|top5|labelled)$")
    for table in results.glob("reference/*/summary/*.csv"):
        with table.open(newline="") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            row.update({name: "" for name in row if measured.match(name)})
            row.update({name: value for name, value in (("valid_trials", "0"), ("invalid", "late")) if name in row})
        with table.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    text = results_page.render(results)
    assert text.count("| – | – | – | 0 of 5 | no trial counts |") == 12
    assert "Only – of the additional – ms" in text
    assert "top-1 is – % at 2000 px. The intervals of the two are not known" in text
    assert "| `random` | – (0 of 5) | – (0 of 5) | – (0 of 5) | – (0 of 5) |" in text


def test_a_calibration_that_was_disturbed_is_counted(results: Path) -> None:
    shutil.copy(RESULTS / results_page.TEMPLATE, results)
    shutil.copytree(RESULTS / "reference", results / "reference", dirs_exist_ok=True, ignore=LEFT_OUT)
    assert "calibrations of" not in results_page.render(results)
    begun = json.loads((results / "reference/scaling/run.json").read_text())
    begun["design"]["validity"]["other_cpu"] = 0.05
    (results / "reference/scaling/run.json").write_text(json.dumps(begun))
    folder = results / "reference/scaling/calibration"
    folder.mkdir(exist_ok=True)
    for name, others in (("pool1.128px.busy", 0.3), ("pool2.128px.busy", 0.0), ("pool4.128px.busy", None)):
        Recorder(folder / f"{name}.jsonl.gz", {}).close({"others": others})
    assert "Of the 3 calibrations of scaling, something else disturbed 1. Its loads" in results_page.render(results)


def test_a_number_that_lacks_trials_says_how_many_count(results: Path) -> None:
    template = "{{ row('rtt', images='16px') | few }}|{{ row('rtt', images='32px') | few }}"
    cells = results / "reference/rtt/summary/cells.csv"
    change(cells, valid_trials="3")
    assert page(results, template) == " (3 of 5)|"


def test_what_the_page_concludes_follows_from_its_numbers() -> None:
    """Sentences of the template that no number stands in: where one is no longer true, it has to be written anew."""
    runs = results_page.Runs(RESULTS / "reference")
    small, own = (runs.row("rtt", images=images) for images in ("16px", "224px"))
    tiny, right = (runs.row("accuracy", images=images) for images in ("16px", "224px"))
    p99 = {
        policy: runs.row("policies", policy=policy, utilisation=0.5, slow_worker=3)["p99_s"]
        for policy in ("random", "round_robin", "random_two", "least_conn")
    }
    burst, poisson = (runs.row("original", arrivals=law, interval_s=0.1) for law in ("original", "poisson"))
    mixed = runs.row("sizes-mixed", utilisation=0.6, image="128px")
    alike = runs.row("sizes-mixed", utilisation=0.6, image=None, images="128px")
    refused = {
        (row["arrivals"], row["workers_awake"]): row["refused"]
        for row in runs.rows("autoscale", image=None)
        if row["utilisation"] != 0.07
    }
    spent = {row["what"]: row["figure"] for row in runs.rows("autoscale", "bars") if "worker-seconds" in row["what"]}
    of_all, of_optimum = (
        spent[f"worker-seconds, times {whose}"] for whose in ("those of all awake", "the planner's optimum")
    )
    optimum = of_all / of_optimum
    full = {row["level"]: row for row in runs.rows("batching", arrivals="closed")}
    late = {row["level"]: row for row in runs.rows("batching", utilisation=0.8)}
    one = next(level for level, row in full.items() if (row["batch"], row["batch_window_ms"]) == (1, 0))
    best = max(full, key=lambda level: full[level]["answered_hz"])
    refused_of_crowd = runs.row("autoscale", image=None, utilisation=0.07, workers_awake="all")["refused"]
    template = (RESULTS / results_page.TEMPLATE).read_text()
    for words, true in {
        "size costs little time": own["mean_s"] < 1.1 * small["mean_s"],
        "Size buys accuracy": tiny["top1_high"] < right["top1_low"],
        "most of the round-trip time is the worker's": own["worker_total_s"] > 0.5 * own["mean_s"],
        "random and taking turns drown it": min(p99["random"], p99["round_robin"])
        > 2 * max(p99["random_two"], p99["least_conn"]),
        "own way to send made most of what it measured": burst["mean_s"] - burst["mean_ci"] > poisson["mean_s"],
        "the recommendation is right where the load changes within minutes": 20 * refused["sine", "auto"]
        < refused["sine", "least"],
        "and none where all are awake": refused["step", "all"] == refused_of_crowd == 0 < refused["step", "auto"],
        "Two bars of the sine pull against each other": optimum > 0.6 / 1.25,  # of all awake, by the two bars
        "a batch buys some throughput at saturation": full[best]["answered_hz"] - full[best]["answered_ci"]
        > full[one]["answered_hz"] + full[one]["answered_ci"],
        "and no sooner answers before": late[one]["p99_s"] - late[one]["p99_ci"]
        < min(row["p99_s"] + row["p99_ci"] for level, row in late.items() if level != one),
        "Large images hold small ones up": mixed["mean_s"] > alike["mean_s"],
    }.items():
        assert words in template
        assert true, words


def test_what_counts_for_nothing_is_counted(results: Path) -> None:
    change(results / "reference/rtt/summary/trials.csv", invalid="the generator lagged")
    text = page(
        results, "{% set run = facts('rtt') %}{{ run.invalid }} of {{ run.trials }}, {{ run.commits | length }} commit"
    )
    assert text == "1 of 45, 1 commit"


def test_a_run_says_by_how_much_its_generator_was_late(results: Path) -> None:
    table = results / "reference/rtt/summary/trials.csv"
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row, (lag, invalid) in zip(
        rows, [(0.001, ""), (0.003, ""), (0.002, ""), (9, "the generator lagged")], strict=False
    ):
        row |= {"lag_p50_s": lag, "lag_p99_s": "", "invalid": invalid}
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows[:4])
    template = "{% set run = facts('rtt') %}{{ run.lag_p50_s | ms(digits=2) }}, {{ run.lag_p99_s | ms(digits=2) }}"
    assert page(results, template) == "2.00, –"


def test_trials_beside_which_others_may_have_run_are_counted(results: Path) -> None:
    assert page(results, "{{ facts('rtt').unwatched }}") == "0"
    change(results / "reference/rtt/summary/trials.csv", others="")
    assert page(results, "{{ facts('rtt').unwatched }}") == "1"
    shutil.copy(RESULTS / results_page.TEMPLATE, results)
    shutil.copytree(RESULTS / "reference", results / "reference", dirs_exist_ok=True, ignore=LEFT_OUT)
    for table in results.glob("reference/*/summary/trials.csv"):
        with table.open(newline="") as file:
            rows = list(csv.DictReader(file))
        with table.open("w", newline="") as file:
            writer = csv.DictWriter(file, [*rows[0]] if "others" in rows[0] else [*rows[0], "others"])
            writer.writeheader()
            writer.writerows(row | {"others": "" if "rtt" in table.parts else "0.0"} for row in rows)
    assert "did not ask: rtt 45 of 45.\n" in results_page.render(results)


def test_it_is_a_command(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert results_page.main([str(results)]) == 1
    assert "there is no template" in capsys.readouterr().err
    (results / results_page.TEMPLATE).write_text("{{ facts('rtt').trials }} trials\n")
    assert results_page.main([str(results)]) == 0
    assert (results / results_page.PAGE).read_text() == "45 trials\n"
