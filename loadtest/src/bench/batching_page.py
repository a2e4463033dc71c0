"""The page and the figure of `make batching`, from the recorded times alone."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.layout import rendered
from bench.means import Mean, median
from loadtest.draw.style import dodged, figure, legend_above, looks, save

_TOLD_APART = 0.02
PAGE = "README.md"
OPEN = "No GPU is among these: that row is open. `make batching ENGINE=tensorflow` measures it, or `ENGINE=jax`."

Row = dict[str, Any]


class Result(NamedTuple):
    """One network by one engine with so many threads, so many photographs at once."""

    device: str
    model: str
    threads: int
    batch: int
    wall_ms: Mean
    cpu_ms: Mean
    of_one: Mean


def results(folder: Path) -> tuple[list[dict[str, Any]], list[Result]]:
    """Read what is recorded: the facts of each engine, and the medians over its rounds.

    A ratio is of two times of the same round.

    Raises:
        ValueError: Nothing is recorded there, or it cannot be read.
    """
    facts, found = [], []
    for path in sorted(folder.glob("*.json")):
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
            with path.with_suffix(".csv").open(encoding="utf-8") as file:
                rows = [_read(row) for row in csv.DictReader(file)]
            found += _medians(known["device"], rows)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"cannot read {path} and its CSV file ({error}); measure again: make batching") from error
        facts.append(known)
    if not found:
        raise ValueError(f"{folder} holds no times; make batching measures them")
    return facts, found


def _read(row: dict[str, str]) -> Row:
    return {key: value if key == "model" else float(value) for key, value in row.items()}


def _medians(device: str, rows: Sequence[Row]) -> list[Result]:
    alone = {(row["model"], row["threads"], row["round"]): row["wall_ms"] for row in rows if row["batch"] == 1}
    found = []
    for model, threads, batch in dict.fromkeys((row["model"], row["threads"], row["batch"]) for row in rows):
        own = [row for row in rows if (row["model"], row["threads"], row["batch"]) == (model, threads, batch)]
        of_one = [row["wall_ms"] / alone[model, threads, row["round"]] for row in own]
        walls, cpus = ([row[key] for row in own] for key in ("wall_ms", "cpu_ms"))
        found.append(Result(device, model, int(threads), int(batch), median(walls), median(cpus), median(of_one)))
    return sorted(found, key=lambda one: (one.device, one.model, one.threads, one.batch))


def redraw(folder: Path) -> str:
    """Write the page and the figure; return the page."""
    facts, found = results(folder)
    text = page(facts, found)
    (folder / PAGE).write_text(text, encoding="utf-8")
    _draw(folder, facts, found)
    return text


def page(facts: Sequence[dict[str, Any]], found: Sequence[Result]) -> str:
    """Write the page."""
    gpu = not all(one.device.startswith("the processor,") for one in found)
    known = {"facts": facts, "found": found, "said": _said(found), "open": "" if gpu else OPEN}
    return rendered("batching.md", known)


def _said(found: Sequence[Result]) -> str:
    """Say of each network and number of threads what the best batch wins."""
    lines = []
    for device, model, threads in dict.fromkeys((one.device, one.model, one.threads) for one in found):
        own = [
            one for one in found if (one.device, one.model, one.threads) == (device, model, threads) and one.batch > 1
        ]
        best = min(own, key=lambda one: one.of_one.value)
        gain = f"{1 / best.of_one.value - 1:+.0%} photographs a second with {best.batch} at once"
        if best.of_one.high < 1 - _TOLD_APART:
            what = f"a batch wins, {gain}"
        elif best.of_one.low > 1 - _TOLD_APART:
            what = f"a batch wins nothing that shows, {gain}"
        else:
            what = f"not told apart, {gain}; more rounds would tell"
        how = f", {threads} thread{'s' if threads > 1 else ''}" if threads else ""
        lines.append(f"- {model}{how}, {device}: {what}.")
    return "\n".join(lines)


def _draw(folder: Path, facts: Sequence[dict[str, Any]], found: Sequence[Result]) -> None:
    panels = list(dict.fromkeys((one.device, one.model) for one in found))
    drawn, axes = figure(1, len(panels), (4.6 * len(panels), 3.9))
    for panel, (device, model) in zip(axes, panels, strict=True):
        shown = [one for one in found if (one.device, one.model) == (device, model)]
        lines = sorted({one.threads for one in shown})
        for index, (threads, colour, marker) in enumerate(looks(lines)):
            own = [one for one in shown if one.threads == threads]
            values = [one.wall_ms.value for one in own]
            bars = [
                [one.wall_ms.value - one.wall_ms.low for one in own],  # not a number, and no bar, where there is none
                [one.wall_ms.high - one.wall_ms.value for one in own],
            ]
            label = f"{threads} thread{'s' if threads > 1 else ''}" if threads else "its own choice of threads"
            places = dodged([one.batch for one in own], index, len(lines), 1.05, log=True)
            panel.errorbar(places, values, yerr=bars, color=colour, marker=marker, label=label)
            panel.axhline(values[0], color=colour, linewidth=0.7, linestyle=":")
        panel.set_xscale("log", base=2)
        panel.set_xticks([one.batch for one in shown if one.threads == lines[0]])
        panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        panel.set(title=f"{model}\n{device}", xlabel="photographs at once", ylabel="ms a photograph")
        panel.title.set_fontsize(8.5)
        panel.set_ylim(bottom=0)
    legend_above(drawn, *axes)
    rounds = " and ".join(dict.fromkeys(str(each["rounds"]) for each in facts))
    machines = "; ".join(dict.fromkeys(each["machine"] for each in facts))
    text = (
        "The network alone, without decoding and HTTP. Points: medians of rounds, bars: their 95 % intervals; "
        f"dotted: one photograph at a time. n = {rounds} rounds. {machines}."
    )
    save(drawn, folder, "batching", text)
