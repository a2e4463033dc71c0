"""The recorded pages and the README's line: made from what was recorded, by the code as it is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bench import hotpath, report, trials
from bench.__main__ import MARKS
from bench.aims import what_random_costs
from bench.trials import Run


@pytest.fixture(scope="module")
def recorded(repository: Path) -> Run:
    return trials.read(repository / "results")


def test_the_page_of_the_throughput_holds_the_figures_of_its_record(repository: Path, recorded: Run) -> None:
    assert (repository / "results" / report.PAGE).read_text() == report.page(recorded)


def test_the_readme_says_what_random_costs_in_the_recorded_run(repository: Path, recorded: Run) -> None:
    text = (repository / "README.md").read_text()
    assert text.partition(MARKS[0])[2].partition(MARKS[1])[0].strip("\n") == what_random_costs(recorded)


def test_the_page_of_the_hot_path_holds_the_figures_of_its_record(repository: Path, tmp_path: Path) -> None:
    for name in ("hotpath.json", "hotpath.csv"):
        shutil.copy(repository / "results" / name, tmp_path)
    assert (repository / "results" / hotpath.PAGE).read_text() == hotpath.redraw(tmp_path)
