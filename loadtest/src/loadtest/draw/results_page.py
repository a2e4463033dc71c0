"""`results/README.md`, written from its template: every number comes from the recorded runs.

python -m loadtest.draw.results_page results
"""

import argparse
import csv
import json
import sys
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from loadtest.analyse.disturbed import calibrations
from loadtest.compare import changes
from loadtest.draw import published
from loadtest.draw.beyond import why
from loadtest.draw.pages import environment
from loadtest.draw.wording import FILTERS, intervals, times
from loadtest.errors import LoadtestError
from loadtest.experiments.folder import RunFolder

TEMPLATE, PAGE = "README.md.j2", "README.md"
LAGS = ("lag_p50_s", "lag_p99_s")


class Runs:
    """The recorded runs, each in a folder below this one, as a template asks for them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tables: dict[tuple[str, str], list[dict[str, Any]]] = {}

    def has(self, run: str, **wanted: object) -> bool:
        """Whether a run is recorded, with a cell in which each named column has its value where some are named."""
        return (self._folder / run / "run.json").exists() and (
            not wanted or any(all(row.get(name) == value for name, value in wanted.items()) for row in self.rows(run))
        )

    def rows(self, run: str, table: str = "cells", **wanted: object) -> list[dict[str, Any]]:
        """Return the rows of a run's table, `cells` or `trials`, in which each named column has its value; None: empty.

        Raises:
            LoadtestError: There is no such table or column, or no row.
        """
        if (run, table) not in self._tables:
            self._tables[run, table] = _read(self._folder / run / "summary" / f"{table}.csv")
        every = self._tables[run, table]
        strange = wanted.keys() - every[0].keys()
        if strange:
            raise LoadtestError(f"{run} has no column {', '.join(sorted(strange))} in its {table}")
        found = [row for row in every if all(row[name] == value for name, value in wanted.items())]
        if not found:
            raise LoadtestError(f"{run} has no row with {wanted} in its {table}; the template asks for it")
        return found

    def row(self, run: str, table: str = "cells", **wanted: object) -> dict[str, Any]:
        """Return the one row of `rows`.

        Raises:
            LoadtestError: There is none, or more than one.
        """
        found = self.rows(run, table, **wanted)
        if len(found) > 1:
            raise LoadtestError(f"{run} has {len(found)} rows with {wanted} in its {table}; the template needs one")
        return found[0]

    def trials_of(self, run: str, cell: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the trials of a cell."""
        return self.rows(run, "trials", level=cell["level"], cell=cell["cell"], image=cell["image"])

    def gain(self, run: str, few: dict[str, Any], many: dict[str, Any]) -> str:
        """Return how many times as many requests a second one cell answers as another, with a 95 % bootstrap interval.

        Trials of the same number are pairs. There is no interval where fewer than three of both cells count.
        """
        first, second = (
            {one["repetition"]: one["answered_hz"] for one in self.trials_of(run, cell) if not one["invalid"]}
            for cell in (few, many)
        )
        both = sorted(first.keys() & second.keys())
        logs = np.log([second[number] / first[number] for number in both])
        found = changes.effect([logs], np.random.default_rng(1))
        if found is None:
            return f"{times(many['answered_hz'], few['answered_hz'], 2)} (too few trials for an interval)"
        return f"{found.ratio:.2f} ({found.low:.2f} to {found.high:.2f})"

    def why(self, run: str, cell: dict[str, Any]) -> str:
        """Return which trial takes a cell's mean away from theory, and why; empty where it is near."""
        return why(cell, self.trials_of(run, cell))

    def facts(self, run: str) -> dict[str, Any]:
        """Return what is known of a run as a whole.

        Returns:
            `goal`; `requests`; `trials` and `invalid`, how many were measured and how many of them count for nothing;
            `unwatched`, of how many it is not known whether other programs ran beside them;
            `calibrations` and `disturbed`, how many there were and how many of them something else disturbed;
            `lag_p50_s` and `lag_p99_s`, by how much the generator sent late, as the median over the trials that count
            and have requests enough for the quantile;
            `models`, the names of the networks that were served, in the order of the levels' names;
            `commits`, short and sorted; `dirty`, whether one of its levels came from changed files; `processors` of the
            workers' hosts; `minutes` that its design takes.

        Raises:
            LoadtestError: It is no run, or a file of it is missing.
        """
        folder = RunFolder.open(self._folder / run)
        levels = [folder.read_level(level) or {} for level in folder.measured_levels()]
        deployed = [level["facts"] for level in levels]
        trials = self.rows(run, "trials", image=None)
        told = calibrations(folder)
        return {
            "goal": folder.design.goal,
            "requests": sum(trial["n"] for trial in trials),
            "trials": len(trials),
            "invalid": sum(trial["invalid"] is not None for trial in trials),
            "unwatched": sum(trial.get("others") is None for trial in trials),
            "models": list(dict.fromkeys(level["version"]["model"]["name"] for level in levels)),
            "calibrations": len(told),
            "disturbed": sum(bool(reasons) for reasons in told.values()),
            **{name: _median([trial[name] for trial in trials if not trial["invalid"]]) for name in LAGS},
            "commits": sorted({str(facts["commit"])[:7] for facts in deployed}),
            "dirty": any(facts["dirty"] for facts in deployed),
            "processors": sorted({host["processor"] for facts in deployed for host in facts["hosts"].values()}),
            "minutes": round(folder.design.minutes),
        }


def _median(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None


def render(folder: Path) -> str:
    """Return the page of the template in a folder of results.

    Raises:
        LoadtestError: The template is missing or wrong, or asks for what no run has.
    """
    runs = Runs(folder / "reference")
    return filled(
        folder,
        {name: getattr(runs, name) for name in ("rows", "row", "facts", "has", "gain", "why")}
        | {"published": published, "intervals": intervals},
    )


def filled(folder: Path, asked: dict[str, Any]) -> str:
    """Return the page of the template in a folder, which may ask for these.

    Raises:
        LoadtestError: The template is missing or wrong, or asks for something else.
    """
    templates = environment(folder)
    templates.filters |= FILTERS
    try:
        return templates.get_template(TEMPLATE).render(asked)
    except jinja2.TemplateNotFound as error:
        raise LoadtestError(f"there is no template {folder / TEMPLATE}") from error
    except (jinja2.TemplateError, TypeError, KeyError, ValueError, ArithmeticError) as error:
        raise LoadtestError(f"{folder / TEMPLATE} cannot be rendered: {error}") from error


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [{name: _typed(text) for name, text in row.items()} for row in csv.DictReader(file)]
    except OSError as error:
        raise LoadtestError(f"cannot read {path}: {error.strerror}; make figures writes it") from error
    if not rows:
        raise LoadtestError(f"{path} has no rows; make figures writes it anew")
    return rows


def _typed(text: str) -> Any:
    """Return a number, a list or a mapping as such, an empty column as None, everything else as text."""
    if not text:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text


def main(arguments: list[str] | None = None) -> int:
    """Write the page; 0 when it is written, 1 with one message when it cannot be."""
    parser = argparse.ArgumentParser(prog="results_page", description="write README.md of a folder of results")
    parser.add_argument("folder", type=Path, help="holds the template, and reference/ with the runs")
    folder: Path = parser.parse_args(arguments).folder
    try:
        (folder / PAGE).write_text(render(folder), encoding="utf-8")
    except LoadtestError as error:
        sys.stderr.write(f"results: {error}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"results: cannot write {folder / PAGE}: {error.strerror}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
