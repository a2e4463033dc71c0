"""Accuracy and round-trip time against the image's side, with the original's points."""

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
    figure,
    log_bars,
    milliseconds,
    plain_ticks,
    provenance,
    save,
)
from loadtest.experiments.folder import RunFolder


def draw(folder: RunFolder, rows: list[Row], *, original: bool) -> list[str]:
    """Draw the sheet: accuracy where images were labelled, and round-trip time."""
    closed = sorted((row for row in rows if row["arrivals"] == "closed"), key=_side)
    if not closed:
        return []
    accurate = [row for row in closed if row["top1"] is not None]
    drawn, axes = figure(2 if accurate else 1, 1, (6.8, 6.6 if accurate else 4.2), sharex=True)
    caption = "One user, who sends the next image when the last is answered. "
    if accurate:
        _accuracy(axes[0], accurate, original=original)
        caption += (
            f"Accuracy: {accurate[0]['labelled']} labelled images, their centre square at each side (enlarged "
            "where the source is smaller), Wilson 95 % intervals; the original's are of 500 other images. "
        )
    _times(axes[-1], closed, original=original)
    if original:
        caption += "The original's times are means of 100 requests on other machines; it gave no intervals. "
    axes[-1].set_xlabel("side of the square image, px (logarithmic)")
    return [save(drawn, folder.path / "figures", "resolution", caption + provenance(folder, closed))]


def _side(row: Row) -> int:
    return int(row["images"].removesuffix("px"))


def _accuracy(axes: Axes, rows: list[Row], *, original: bool) -> None:
    sides = [_side(row) for row in rows]
    for key, colour, marker in (("top5", BLUE, "s"), ("top1", RED, "o")):
        _bars(axes, sides, rows, key, color=colour, marker=marker, label=f"ours, top-{key[-1]}")
    if original:
        known = published.ACCURACY
        middle = list(known.values())
        ends = [wilson(round(share * published.ACCURACY_IMAGES), published.ACCURACY_IMAGES) for share in middle]
        axes.errorbar(
            list(known),
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
    axes.legend(loc="lower right")


def _bars(axes: Axes, sides: list[int], rows: list[Row], key: str, **look: Any) -> None:
    values = [100 * row[key] for row in rows]
    low = [value - 100 * row[f"{key}_low"] for value, row in zip(values, rows, strict=True)]
    high = [100 * row[f"{key}_high"] - value for value, row in zip(values, rows, strict=True)]
    axes.errorbar(sides, values, yerr=[low, high], **look)


def _times(axes: Axes, rows: list[Row], *, original: bool) -> None:
    sides = [_side(row) for row in rows]
    axes.errorbar(sides, milliseconds(rows, "mean_s"), yerr=log_bars(rows, "mean"), color=RED, marker="o",
                  label="ours, mean")  # fmt: skip
    if any(row["p99_s"] is not None for row in rows):
        axes.errorbar(sides, milliseconds(rows, "p99_s"), yerr=log_bars(rows, "p99"), color=ORANGE, marker="^",
                      label="ours, p99")  # fmt: skip
    axes.errorbar(sides, milliseconds(rows, "worker_total_s"), color=BLUE, marker="s", linestyle=":",
              label="of it inside the worker, mean")  # fmt: skip
    if original:
        axes.errorbar(list(published.RTT_S), [1e3 * value for value in published.RTT_S.values()], color=GREY,
                      marker="x", linestyle="--", label="the original, mean")  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylabel("round-trip time, ms (logarithmic)")
    plain_ticks(axes, "y")
    axes.xaxis.set_major_locator(FixedLocator(sides))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="x", labelrotation=45)
    axes.legend(loc="upper left", ncols=2)
