"""Accuracy and round-trip time against the image's side, with the original's points."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from loadtest.analyse.statistics import wilson
from loadtest.draw import published
from loadtest.draw.style import (
    BLUE,
    GREY,
    ORANGE,
    RED,
    Row,
    dodged,
    figure,
    legend_above,
    log_bars,
    milliseconds,
    plain_ticks,
    save,
)
from loadtest.draw.trials import provenance, ring
from loadtest.experiments.folder import RunFolder

_ASIDE = 1.045  # times a side, from one series to the next


def draw(folder: RunFolder, rows: list[Row]) -> list[str]:
    """Draw the sheet: accuracy where images were labelled, and round-trip time."""
    closed = by_side(rows)
    if not closed:
        return []
    accurate = [row for row in closed if row["top1"] is not None]
    drawn, axes = figure(2 if accurate else 1, 1, (6.8, 7.0 if accurate else 4.4), sharex=True)
    caption = "One user, who sends the next image when the last is answered. "
    if accurate:
        accuracy_panel(folder, axes[0], accurate)
        caption += (
            f"Accuracy: {accurate[0]['labelled']} labelled images, their centre square at each side (enlarged "
            "where the source is smaller), Wilson 95 % intervals; the original's are of 500 other images. "
        )
    times_panel(folder, axes[-1], closed)
    caption += "The original's times are means of 100 requests on other machines; it gave no intervals. "
    legend_above(drawn, *axes, columns=2)  # one for each panel
    return [save(drawn, folder.path / "figures", "resolution", caption + provenance(folder, closed))]


def by_side(rows: Sequence[Row]) -> list[Row]:
    """The rows of one user at a time who sends images of one size, by the image's side."""
    alone = (row for row in rows if (row["arrivals"], row["in_flight"]) == ("closed", 1))
    return sorted((row for row in alone if row["images"].endswith("px")), key=_side)


def _side(row: Row) -> int:
    return int(row["images"].removesuffix("px"))


def accuracy_panel(folder: RunFolder, axes: Axes, rows: list[Row]) -> None:
    """Draw the share of right answers for rows that have one, with Wilson's intervals."""
    sides = [_side(row) for row in rows]
    for index, (key, colour, marker) in enumerate((("top5", BLUE, "s"), ("top1", RED, "o"))):
        places = dodged(sides, index, 3, _ASIDE, log=True)
        _bars(axes, places, rows, key, color=colour, marker=marker, label=f"ours, top-{key[-1]}")
        ring(axes, folder, rows, places, [100 * row[key] for row in rows])
    known = published.ACCURACY
    middle = list(known.values())
    ends = [wilson(round(share * published.ACCURACY_IMAGES), published.ACCURACY_IMAGES) for share in middle]
    axes.errorbar(
        dodged(list(known), 2, 3, _ASIDE, log=True),
        [100 * share for share in middle],
        yerr=[
            [100 * (share - (low or 0)) for share, (low, _) in zip(middle, ends, strict=True)],
            [100 * ((high or 0) - share) for share, (_, high) in zip(middle, ends, strict=True)],
        ],
        color=GREY,
        marker="x",
        linestyle="--",
        label="the original, top-1",
    )
    axes.set_ylim(0, 103)
    axes.set_ylabel("right answers, %")
    _size_axis(axes, sides)


def _bars(axes: Axes, places: list[float], rows: list[Row], key: str, **look: Any) -> None:
    values = [100 * row[key] for row in rows]
    low = [value - 100 * row[f"{key}_low"] for value, row in zip(values, rows, strict=True)]
    high = [100 * row[f"{key}_high"] - value for value, row in zip(values, rows, strict=True)]
    axes.errorbar(places, values, yerr=[low, high], **look)


def times_panel(folder: RunFolder, axes: Axes, rows: list[Row]) -> None:
    """Draw round-trip times, and how much of them is the worker's."""
    sides = [_side(row) for row in rows]
    series = [
        ("mean", "ours, mean", RED, "o", "-"),
        ("p99", "ours, p99", ORANGE, "^", "-"),
        ("worker_total", "of it inside the worker, mean", BLUE, "s", ":"),
    ]
    shown = [one for one in series if any(row[f"{one[0]}_s"] is not None for row in rows)]
    for index, (name, label, colour, marker, line) in enumerate(shown):
        places, values = dodged(sides, index, len(shown), _ASIDE, log=True), milliseconds(rows, f"{name}_s")
        axes.errorbar(places, values, yerr=log_bars(rows, name), color=colour, marker=marker, linestyle=line,
                      label=label)  # fmt: skip
        ring(axes, folder, rows, places, values)
    axes.plot(list(published.RTT_S), [1e3 * value for value in published.RTT_S.values()], color=GREY,
              marker="x", linestyle="--", label="the original, mean")  # fmt: skip
    axes.set_yscale("log")
    axes.set_ylabel("round-trip time, ms (logarithmic)")
    plain_ticks(axes, "y")
    _size_axis(axes, sides)
    axes.set_xlabel("side of the square image, px (logarithmic)")


def _size_axis(axes: Axes, sides: list[int]) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(sides))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="x", labelrotation=45)
