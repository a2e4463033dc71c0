"""results/README.md: made from the recorded runs, and what a template may not ask for."""

from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path

import pytest

from loadtest.draw import results_page
from loadtest.errors import LoadtestError
from tests.conftest import REPOSITORY

RESULTS = REPOSITORY / "results"
LEFT_OUT = shutil.ignore_patterns("*.gz", "*.png")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A folder with one run and no template."""
    shutil.copytree(
        RESULTS / "reference/rtt", tmp_path / "reference/rtt", ignore=shutil.ignore_patterns("*.gz", "*.png")
    )
    return tmp_path


def change(table: Path, column: str, value: str) -> None:
    """Give the first row another value."""
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    rows[0][column] = value
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def page(folder: Path, template: str) -> str:
    (folder / results_page.TEMPLATE).write_text(template)
    return results_page.render(folder)


def test_the_committed_page_is_what_the_recorded_runs_say() -> None:
    assert results_page.render(RESULTS) == (RESULTS / results_page.PAGE).read_text()


def test_a_changed_number_changes_the_page(results: Path) -> None:
    shutil.copy(RESULTS / results_page.TEMPLATE, results)
    shutil.copytree(RESULTS / "reference", results / "reference", dirs_exist_ok=True, ignore=LEFT_OUT)
    change(results / "reference/rtt/summary/cells.csv", "mean_s", "9.0")
    assert "9000.0 ± " in results_page.render(results)


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
    ],
)
def test_what_no_run_has_is_refused_by_name(results: Path, template: str, reason: str) -> None:
    with pytest.raises(LoadtestError, match=re.escape(reason)):
        page(results, template)


def test_what_counts_for_nothing_is_counted(results: Path) -> None:
    change(results / "reference/rtt/summary/trials.csv", "invalid", "the generator lagged")
    text = page(
        results, "{% set run = facts('rtt') %}{{ run.invalid }} of {{ run.trials }}, {{ run.commits | length }} commit"
    )
    assert text == "1 of 45, 1 commit"


def test_it_is_a_command(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert results_page.main([str(results)]) == 1
    assert "there is no template" in capsys.readouterr().err
    (results / results_page.TEMPLATE).write_text("{{ facts('rtt').trials }} trials\n")
    assert results_page.main([str(results)]) == 0
    assert (results / results_page.PAGE).read_text() == "45 trials\n"
