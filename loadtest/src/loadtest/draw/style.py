"""How every figure looks, and how it is written: the same bytes for the same numbers."""

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import matplotlib as mpl
import numpy as np

mpl.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.container import Container
from matplotlib.figure import Figure, SubFigure

from loadtest.errors import LoadtestError

Row = dict[str, Any]
Series = TypeVar("Series")
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
# Inches of a letter of a legend, and of what stands beside a name.
_LETTER, _ENTRY = 0.062, 0.55

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


def looks(series: Sequence[Series]) -> list[tuple[Series, str, str]]:
    """Each of several series with a colour and a marker; the seventh has the first colour and another marker."""
    count = len(COLOURS)
    return [(one, COLOURS[i % count], MARKERS[(i + i // count) % count]) for i, one in enumerate(series)]


def blank(size: tuple[float, float]) -> Figure:
    """An empty figure, `size` inches wide and high, in the common style."""
    mpl.rcdefaults()
    mpl.rcParams.update(_STYLE)
    return plt.figure(figsize=size, layout="constrained")


def figure(rows: int, columns: int, size: tuple[float, float], **options: Any) -> tuple[Figure, list[Axes]]:
    """A figure of rows × columns axes, `size` inches wide and high, in the common style."""
    drawn = blank(size)
    return drawn, list(drawn.subplots(rows, columns, squeeze=False, **options).flat)


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


def ms(seconds: float | None) -> float:
    """Milliseconds, or not a number."""
    return float("nan") if seconds is None else seconds * 1e3


def milliseconds(rows: Sequence[Row], key: str) -> list[float]:
    """A column of seconds as milliseconds."""
    return [ms(row[key]) for row in rows]


def halves(rows: Sequence[Row], key: str) -> list[float]:
    """A column of half-widths; not a number, which draws no bar, where there is none."""
    return [math.nan if row[key] is None else float(row[key]) for row in rows]


def log_bars(rows: Sequence[Row], name: str) -> tuple[list[float], list[float]]:
    """Bars below and above a column of means on a logarithmic axis, in milliseconds; see `log_lengths`."""
    return log_lengths(milliseconds(rows, f"{name}_s"), [1e3 * half for half in halves(rows, f"{name}_ci")])


def log_lengths(means: Sequence[float], widths: Sequence[float]) -> tuple[list[float], list[float]]:
    """Bars below and above means on a logarithmic axis; not a number where there is no half-width.

    The half-width h of a t-interval around m becomes the factor exp(h / m) to both sides (delta method), so no bar ends
    below zero.
    """
    below, above = [], []
    for mean, half in zip(means, widths, strict=True):
        factor = math.exp(half / mean) if mean > 0 else math.nan
        below.append(mean - mean / factor)
        above.append(mean * factor - mean)
    return below, above


def dodged(places: Sequence[float], index: int, count: int, step: float, *, log: bool = False) -> list[float]:
    """Places of one of several series that share them, moved aside so that no bar covers another's.

    Args:
        places: Where the points belong.
        index: Which series, from 0.
        count: How many there are; together they stay around their places.
        step: From one series to the next: so much further, or so many times as far where `log`.
        log: Whether the axis is logarithmic.
    """
    off = index - (count - 1) / 2
    return [place * step**off if log else place + step * off for place in places]


def legend_above(drawn: Figure | SubFigure, *panels: Axes, columns: int | None = None) -> None:
    """Write one legend for panels above all of them, where it covers no data; an entry of several stands once.

    Args:
        drawn: The figure, or the part of one, that the panels are in.
        panels: Whose entries it has; those with bars come first.
        columns: How many entries stand beside each other; as many as fit if not given.
    """
    entries: dict[str, Any] = {}
    for panel in panels:
        named = list(zip(*panel.get_legend_handles_labels(), strict=True))
        for handle, label in sorted(named, key=lambda one: not isinstance(one[0], Container)):
            entries.setdefault(label, handle)
    if entries:
        columns = columns or _fitting([len(label) for label in entries], drawn.bbox.width / drawn.dpi)
        drawn.legend(list(entries.values()), list(entries), loc="outside upper center", ncols=columns)


def _fitting(letters: Sequence[int], width: float) -> int:
    """How many columns of entries of so many letters fit into so many inches, without an entry left over."""
    count = len(letters)
    for columns in range(count, 1, -1):
        parts = np.array_split(np.array(letters), columns)
        if sum(_ENTRY + _LETTER * float(part.max()) for part in parts) <= width:
            rows = math.ceil(count / columns)
            return math.ceil(count / rows)
    return 1


def plain_ticks(axes: Axes, which: str) -> None:
    """Label a logarithmic axis with plain numbers, 1-2-5 where there is room."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axes.get_xlim() if which == "x" else axes.get_ylim()
    subs = (1.0, 2.0, 5.0) if high / low < 300 else (1.0,)
    axis.set_major_locator(mpl.ticker.LogLocator(10, subs=subs))
    axis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(mpl.ticker.NullFormatter())
