"""The timeline of a fault: what was answered, refused and lost in each second, and how slowly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from chaos.verdict import Marks, Row, answered, lost, refused
from loadtest.analyse.statistics import percentile
from loadtest.draw.style import BLUE, GREY, ORANGE, RED, figure, legend_above, plain_ticks, save
from loadtest.generate.samples import Sample


def draw(folder: Path, samples: Sequence[Sample], marks: Marks, row: Row, *, what: str, origin: str) -> None:
    """Write FAULT.svg and FAULT.png into a folder; `marks` are when the fault began and ended."""
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
    rates.set(ylabel="requests due in the second", ylim=(0, 1.05 * max(floor)))
    rates.set_title(what)

    waits = [[each.response_s * 1e3 for each in group if answered(each)] for group in by_second]
    for name, share, colour in (("median", 0.5, GREY), ("longest", 1.0, RED)):
        values = [percentile(group, share) for group in waits]
        times.plot([second + 0.5 for second in seconds], values, color=colour, label=f"{name} answer")
    times.set(yscale="log", ylabel="response time, ms (logarithmic)", xlabel="time, s", xlim=(0, last))
    if marks.injected_s is not None:
        end = marks.recovered_s if marks.recovered_s is not None else marks.injected_s
        for axes in (rates, times):
            axes.axvspan(marks.injected_s, max(end, marks.injected_s + 0.2), color=GREY, alpha=0.25, linewidth=0)
        rates.axvspan(math.nan, math.nan, color=GREY, alpha=0.25, label="the fault lasts")
    plain_ticks(times, "y")
    legend_above(drawn, rates, times)
    caption = (
        f"n = {row.requests:,} requests: {row.answered:,} answered, {row.refused:,} refused, {row.lost:,} lost, "
        f"{row.wrong:,} wrong. By the second in which a request was due; times from due to last byte. {origin}"
    )
    save(drawn, folder, row.fault, caption)
