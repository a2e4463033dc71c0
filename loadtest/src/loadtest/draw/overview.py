"""The sheet of four figures that tell the story of the recorded runs, from their tables and raw samples.

python -m loadtest.draw.overview results
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from loadtest.draw import policies, rate, resolution
from loadtest.draw.results_page import Runs
from loadtest.draw.style import Row, blank, legend_above, save
from loadtest.draw.trials import lacks
from loadtest.errors import LoadtestError
from loadtest.experiments.folder import RunFolder

NAME = "overview"
_LOAD = 0.8  # of the capacity: where policies are compared


def sheet(folder: Path) -> tuple[Figure, str]:
    """Draw the four panels from the summarised runs accuracy, rtt, scaling and policies in reference/.

    Returns:
        The figure, and its caption.

    Raises:
        LoadtestError: A run or its summary is missing.
    """
    drawn = blank((10.5, 8.4))
    told = []
    parts: Any = drawn.subfigures(2, 2)
    for part, letter, (name, title, draw) in zip(parts.flat, "abcd", _PANELS, strict=True):
        run = RunFolder.open(folder / "reference" / name)
        rows = [row for row in Runs(folder / "reference").rows(name) if row["valid_trials"]]
        panel = part.subplots()
        shown = draw(run, panel, rows)
        panel.set_title(f"{letter}. {title}", fontsize=10)
        legend_above(part, panel)
        told.append(f"{letter}: {_about(run, shown)}")
    text = (
        "Bars: Wilson's 95 % interval (a), 95 % t-interval over the trials (b, c); ± in d is such an interval of p99. "
        "Runs of different days: compare within a panel. "
    )
    return drawn, text + " ".join(told)


def _accuracy(run: RunFolder, panel: Axes, rows: list[Row]) -> list[Row]:
    shown = _needed(run, [row for row in resolution.by_side(rows) if row["top1"] is not None])
    resolution.accuracy_panel(run, panel, shown)
    panel.set_xlabel("side of the square image, px (logarithmic)")
    return shown


def _times(run: RunFolder, panel: Axes, rows: list[Row]) -> list[Row]:
    shown = _needed(run, resolution.by_side(rows))
    resolution.times_panel(run, panel, shown)
    return shown


def _responses(run: RunFolder, panel: Axes, rows: list[Row]) -> list[Row]:
    shown = _needed(run, rate.by_load(rows))
    rate.response_panel(run, panel, shown)
    return shown


def _policies(run: RunFolder, panel: Axes, rows: list[Row]) -> list[Row]:
    loaded = [row for row in rate.by_load(rows) if row["utilisation"] == _LOAD and row["slow_worker"] == 1]
    shown = _needed(run, loaded)
    policies.ccdf_panel(run, panel, shown)
    panel.set_ylabel("requests that take longer, %")
    return shown


def _needed(run: RunFolder, rows: list[Row]) -> list[Row]:
    if not rows:
        raise LoadtestError(f"{run.path} has no valid trial that {NAME}.png shows; measure it again: make experiment")
    return rows


_PANELS: tuple[tuple[str, str, Callable[[RunFolder, Axes, list[Row]], list[Row]]], ...] = (
    ("accuracy", "What the size of an image buys", _accuracy),
    ("rtt", "What it costs", _times),
    ("scaling", "Workers and rate, balanced at random", _responses),
    ("policies", f"CCDF by policy, equal workers at {_LOAD:g} of the capacity", _policies),
)


def _about(run: RunFolder, rows: list[Row]) -> str:
    valid = sum(row["valid_trials"] for row in rows)
    trials = sum(row["trials"] for row in rows)
    few = sum(lacks(run, row) for row in rows)
    marked = f", {few} cell{'s' if few > 1 else ''} marked for missing trials" if few else ""
    count = sum(row["n"] for row in rows)
    return f"run {run.path.name}, {count:,} requests, {valid} of {trials} trials valid{marked}, seed {run.design.seed}."


def main(arguments: list[str] | None = None) -> int:
    """Write overview.png and overview.svg; 0 when they are written, 1 with one message when they cannot be."""
    parser = argparse.ArgumentParser(prog="overview", description="draw overview.png into a folder of results")
    parser.add_argument("folder", type=Path, help="holds reference/ with the runs")
    folder: Path = parser.parse_args(arguments).folder
    try:
        drawn, text = sheet(folder)
        save(drawn, folder, NAME, text)
    except LoadtestError as error:
        sys.stderr.write(f"overview: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
