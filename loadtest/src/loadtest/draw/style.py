"""How every figure looks, and how it is written: the same bytes for the same numbers."""

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from loadtest.errors import LoadtestError
from loadtest.experiments.folder import RunFolder

Row = dict[str, Any]
# Okabe and Ito's palette, told apart by people with any kind of colour vision; markers differ too.
BLUE, ORANGE, GREEN, PURPLE, SKY, RED, GREY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#777777",
)
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, RED)
MARKERS = ("o", "s", "^", "D", "v", "P")
POLICY_COLOUR = {"random": RED, "round_robin": ORANGE, "random_two": GREEN, "least_conn": BLUE}
_CAPTION_COLUMNS = 148

_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "legend.frameon": True,
    "legend.edgecolor": "none",
    "legend.framealpha": 0.85,
    "legend.fontsize": 8,
    "errorbar.capsize": 2.5,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.5,
    "figure.dpi": 100,
    "savefig.dpi": 160,
    "svg.hashsalt": "loadtest",
    "svg.fonttype": "path",
}


def figure(rows: int, columns: int, size: tuple[float, float], **options: Any) -> tuple[Figure, list[Axes]]:
    """A figure of rows × columns axes, `size` inches wide and high, in the common style."""
    mpl.rcdefaults()
    mpl.rcParams.update(_STYLE)
    drawn, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained", **options)
    return drawn, list(axes.flat)


def caption(drawn: Figure, text: str) -> None:
    """Write a caption below a figure; it takes its room from the axes."""
    columns = round(_CAPTION_COLUMNS * drawn.get_figwidth() / 8.5)
    drawn.supxlabel("\n".join(textwrap.wrap(text, columns)), fontsize=7.5, color="#444444", ha="left", x=0.01)


def save(drawn: Figure, folder: Path, name: str, text: str) -> str:
    """Write a figure with its caption below it, as SVG and PNG, without the time and without the program's version.

    Raises:
        LoadtestError: It cannot be written.
    """
    caption(drawn, text)
    try:
        folder.mkdir(exist_ok=True)
        drawn.savefig(folder / f"{name}.svg", metadata={"Date": None, "Creator": None})
        drawn.savefig(folder / f"{name}.png", metadata={"Software": None})
    except OSError as error:
        raise LoadtestError(f"cannot write {folder}: {error.strerror}") from error
    finally:
        plt.close(drawn)
    return name


def provenance(folder: RunFolder, rows: Sequence[Row]) -> str:
    """The end of a caption: trials, requests, seed, units of the interval, and where it ran."""
    trials = sum(row["valid_trials"] for row in rows)
    invalid = sum(row["trials"] for row in rows) - trials
    count = sum(row["n"] for row in rows)
    errors = sum(row["errors"] for row in rows)
    level = next(iter(folder.measured_levels()))
    record = folder.read_level(level)
    assert record is not None
    model = record["version"]["model"]
    parts = [
        f"n = {count:,} requests in {trials} trials of {folder.design.repetitions} a cell",
        f"{errors:,} failed" if errors else "none failed",
    ]
    if invalid:
        parts.append(f"{invalid} invalid trial{'s' if invalid > 1 else ''} left out")
    cores = record["facts"].get("cpu_cores")
    share = next(iter((cores or {}).values()), None)
    if share:
        parts.append(
            f"{float(share):.2g} of a CPU core a worker"
            if float(share) < 1
            else f"{float(share):.2g} CPU core a worker"
        )
    parts += [
        "bars: 95 % t-interval over trials, on a logarithmic axis that of the logarithm",
        f"seed {folder.design.seed}",
        f"model {model['name']} {model['version']}",
    ]
    return "; ".join(parts) + "."


def ms(seconds: float | None) -> float:
    """Milliseconds, or not a number."""
    return float("nan") if seconds is None else seconds * 1e3


def milliseconds(rows: Sequence[Row], key: str) -> list[float]:
    """A column of seconds as milliseconds."""
    return [ms(row[key]) for row in rows]


def log_bars(rows: Sequence[Row], name: str) -> tuple[list[float], list[float]]:
    """Bars below and above a column of means on a logarithmic axis, in milliseconds.

    The half-width h of a t-interval around m becomes the factor exp(h / m) to both sides (delta method), so no bar ends
    below zero.
    """
    below, above = [], []
    for row in rows:
        mean, half = ms(row[f"{name}_s"]), row[f"{name}_ci"]
        factor = math.exp(1e3 * (half or 0.0) / mean) if mean > 0 else 1.0
        below.append(mean - mean / factor)
        above.append(mean * factor - mean)
    return below, above


def plain_ticks(axes: Axes, which: str) -> None:
    """Label a logarithmic axis with plain numbers, 1-2-5 where there is room."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axes.get_xlim() if which == "x" else axes.get_ylim()
    subs = (1.0, 2.0, 5.0) if high / low < 300 else (1.0,)
    axis.set_major_locator(mpl.ticker.LogLocator(10, subs=subs))
    axis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(mpl.ticker.NullFormatter())
