"""Response times while the load changes, and below them how many workers serve."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from loadtest.analyse.pool import pool_of
from loadtest.analyse.window import length_s
from loadtest.arrays import Floats
from loadtest.draw.style import BLUE, GREEN, GREY, ORANGE, Row, figure, legend_above, plain_ticks, save
from loadtest.draw.trials import provenance
from loadtest.experiments.cells import Level
from loadtest.experiments.folder import RunFolder
from loadtest.generate.samples import Trial, read_trial

_BIN_S = 2.0
_LINES = ("-", "--", ":", "-.")  # levels that differ in more than who is awake
_LEVELS = {
    "least": (ORANGE, "held at its minimum"),
    "all": (GREEN, "all workers awake"),
    "auto": (BLUE, "the autoscaler decides"),
}


def draw(folder: RunFolder, rows: list[Row]) -> list[str]:
    """Draw a column for each load: slowest of a hundred answers over time, and workers that serve below it."""
    watched = [row for row in rows if row["workers_awake"] and not row["image"]]
    cells = [cell for cell in folder.design.cells if any(row["cell"] == cell.id for row in watched)]
    if not cells:
        return []
    others = sorted({_without_awake(folder.design.level(row["level"])) for row in watched})
    drawn, axes = figure(2, len(cells), (2.9 * len(cells) + 1.2, 5.4), sharex="col", sharey="row",
                         gridspec_kw={"height_ratios": [1.6, 1]})  # fmt: skip
    for column, cell in enumerate(cells):
        times, sizes = axes[column], axes[len(cells) + column]
        for awake, (colour, label) in _LEVELS.items():
            own = [row for row in watched if row["cell"] == cell.id and row["workers_awake"] == awake]
            for row in own:
                level = folder.design.level(row["level"])
                other = _without_awake(level)
                line = _LINES[others.index(other) % len(_LINES)]
                trials = [read_trial(folder.trial_path(level, cell, number)) for number in row["valid_numbers"]]
                name = label if len(others) == 1 else f"{label}, {other}"
                _times(times, trials, color=colour, linestyle=line, label=name)
                _sizes(sizes, trials, color=colour, linestyle=line)
        title = cell.arrivals + (f" ×{cell.factor:g}" if cell.factor else "")
        times.set(title=title, yscale="log")
        sizes.set(xlabel="time since the trial's start, s")
        sizes.yaxis.set_major_locator(MaxNLocator(integer=True))
        sizes.set_ylim(bottom=0)
    objective_s = _objective_s(folder)
    for times in axes[: len(cells)]:
        if objective_s is not None:
            times.axhline(1e3 * objective_s, color=GREY, linestyle="--", linewidth=0.9, label="objective")
        plain_ticks(times, "y")
    axes[0].set_ylabel("99 of 100 answers within, ms (logarithmic)")
    axes[len(cells)].set_ylabel("workers that serve")
    legend_above(drawn, axes[0])
    refused, lost = (sum(row[key] for row in watched) for key in ("refused", "lost"))
    caption = (
        f"Above: of the requests due within {_BIN_S:g} s, those of all valid trials together, the time within which 99 "
        f"of 100 were answered. Below: workers that nginx asked, mean of the trials. {refused:,} requests were refused "
        f"(429 or 503), {lost:,} lost. "
    )
    return [save(drawn, folder.path / "figures", "pool", caption + provenance(folder, watched, bars=False))]


def _without_awake(level: Level) -> str:
    """What a level's name says besides who is awake."""
    return replace(level, workers_awake=None).id


def _times(panel: Axes, trials: Sequence[Trial], **look: Any) -> None:
    good = [one for trial in trials for one in trial.samples if one.ok]
    numbers = np.array([int(one.scheduled_s // _BIN_S) for one in good])
    values = 1e3 * np.array([one.response_s for one in good])
    shown = np.unique(numbers)
    slow = [float(np.quantile(values[numbers == number], 0.99)) for number in shown]
    panel.plot((shown + 0.5) * _BIN_S, slow, **look)


def _sizes(panel: Axes, trials: Sequence[Trial], **look: Any) -> None:
    until_s = max(length_s(trial) for trial in trials)
    seconds: Floats = np.arange(0.0, until_s, 1.0, dtype=np.float64)
    known = [_at(seconds, trial) for trial in trials if pool_of(trial)]
    if known:
        panel.step(seconds, np.mean(known, axis=0), where="post", **look)


def _at(seconds: Floats, trial: Trial) -> Floats:
    """How many workers served at these times, by the last look before each."""
    seen = pool_of(trial)
    looks = np.searchsorted([at_s for at_s, _, _ in seen], seconds, side="right") - 1
    serving = [float(count) for _, count, _ in seen]
    return np.array([serving[max(look, 0)] for look in looks])


def _objective_s(folder: RunFolder) -> float | None:
    for level in folder.measured_levels():
        told = (folder.read_level(level) or {}).get("autoscaler")
        if told:
            return float(told["objective_s"])
    return None
