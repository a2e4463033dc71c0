"""The timeline of a fault: what was answered, refused and lost in each second, and how slowly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from chaos.verdict import Marks, Row, answered, lost, refused
from loadtest.analyse.statistics import percentile
from loadtest.draw.style import BLUE, GREY, ORANGE, RED, figure, plain_ticks, save
from loadtest.generate.samples import Sample


def draw(folder: Path, samples: Sequence[Sample], marks: Marks, row: Row, *, what: str, origin: str) -> None:
    """Write FAULT.svg and FAULT.png into a folder.

    Args:
        folder: where they go.
        samples: every request.
        marks: when the fault began and ended.
        row: its line of the summary, for the caption.
        what: the fault in words, the title.
        origin: seed, model and load, for the caption.
    """
    last = int(max(each.scheduled_s for each in samples)) + 1
    seconds = list(range(last))
    by_second: list[list[Sample]] = [[] for _ in seconds]
    for sample in samples:
        by_second[int(sample.scheduled_s)].append(sample)
    drawn, (rates, times) = figure(2, 1, (8.5, 5.4), sharex=True)

    kinds = ((answered, BLUE), (refused, ORANGE), (lost, RED))
    floor = [0] * last
    for kind, colour in kinds:
        counts = [sum(kind(each) for each in group) for group in by_second]
        if any(counts):
            rates.bar(seconds, counts, 1.0, bottom=floor, align="edge", color=colour, label=kind.__name__)
        floor = [below + count for below, count in zip(floor, counts, strict=True)]
    rates.set_ylabel("requests due in the second")
    rates.set_title(what)

    for share, colour, style in ((0.5, GREY, "-"), (0.99, RED, "-")):
        values = [
            percentile([each.response_s * 1e3 for each in group if answered(each)], share) if group else math.nan
            for group in by_second
        ]
        times.plot([second + 0.5 for second in seconds], values, style, color=colour, label=f"p{share * 100:g}")
    times.set_yscale("log")
    times.set_ylabel("response time, ms")
    times.set_xlabel("time, s")
    if marks.injected_s is not None:
        end = marks.recovered_s if marks.recovered_s is not None else marks.injected_s
        for axes in (rates, times):
            axes.axvspan(marks.injected_s, max(end, marks.injected_s + 0.2), color=GREY, alpha=0.25, linewidth=0)
        rates.axvspan(math.nan, math.nan, color=GREY, alpha=0.25, label="the fault lasts")
    rates.set_ylim(0, 1.25 * max(floor))  # room for the legend
    rates.legend(loc="upper left", ncols=4)
    plain_ticks(times, "y")
    times.legend(loc="upper left", ncols=2)
    caption = (
        f"n = {row.requests:,} requests: {row.answered:,} answered, {row.refused:,} refused, {row.lost:,} lost, "
        f"{row.wrong:,} wrong. By the second in which a request was due; times from due to last byte. {origin}"
    )
    save(drawn, folder, row.fault, caption)
