"""The original's way of measuring beside the right one, and what a saturated service looks like over time."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from loadtest.analyse.window import answered_hz, length_s, warmup_s
from loadtest.draw.style import (
    BLUE,
    GREY,
    ORANGE,
    RED,
    SKY,
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
from loadtest.experiments.cells import Cell, Level
from loadtest.experiments.folder import RunFolder
from loadtest.generate.samples import Trial, read_trial

_ASIDE = 1.06  # times a rate, from one method to the next
_SECONDS = 15  # of the trials whose arrivals are shown, or as long as both last


def draw_method(folder: RunFolder, rows: list[Row]) -> list[str]:
    """Draw, for each mean interval, what the original's loop reports, what it did to all requests, and the truth."""
    loops = sorted(
        (row for row in rows if row["arrivals"] == "original" and row["measured_every"] > 1),
        key=lambda row: float(row["interval_s"]),
    )
    right = {row["interval_s"]: row for row in rows if row["arrivals"] == "poisson" and row["interval_s"] is not None}
    if not loops or not right:
        return []
    drawn, axes = figure(1, 2, (11.0, 4.5), gridspec_kw={"width_ratios": [1.25, 1]})
    rates = [1 / row["interval_s"] for row in loops]
    honest = [right[row["interval_s"]] for row in loops if row["interval_s"] in right]
    tails = [row for row in honest if row["p99_s"] is not None]
    series = (
        ("original's loop: the requests it measures", loops, "measured_mean", RED, "o", "-"),
        ("original's loop: all its requests", loops, "mean", ORANGE, "^", "-"),
        ("Poisson arrivals, every request measured", honest, "mean", BLUE, "s", "-"),
        ("Poisson arrivals, p99", tails, "p99", SKY, "D", ":"),
    )
    for index, (label, shown, key, colour, marker, line) in enumerate(series):
        if shown:
            places = dodged([1 / row["interval_s"] for row in shown], index, len(series), _ASIDE, log=True)
            values = milliseconds(shown, f"{key}_s")
            axes[0].errorbar(places, values, yerr=log_bars(shown, key), color=colour, marker=marker, linestyle=line,
                             label=label)  # fmt: skip
            ring(axes[0], folder, shown, places, values)
    axes[0].set(xscale="log", yscale="log", xlabel="mean requests a second that were meant (logarithmic)",
                ylabel="response time, ms (logarithmic)", title="What each method reports")  # fmt: skip
    axes[0].set_xticks(rates, [f"{rate:g}" for rate in rates])
    axes[0].minorticks_off()
    plain_ticks(axes[0], "y")
    seconds = _intervals(folder, axes[1])
    legend_above(drawn, *axes)
    measured = sum(row["measured_n"] for row in loops)
    caption = (
        "The original sleeps whole seconds between requests, Poisson-distributed, and measures and waits for every "
        f"{loops[0]['measured_every']}th: {measured} measured requests in all here, against "
        f"{sum(row['n'] for row in honest):,} of the open loop. "
        f"Right: how requests leave at the longest mean interval, first trial of each, {seconds} s in which both "
        "send. Methods stand a little beside each other. "
    )
    return [save(drawn, folder.path / "figures", "method", caption + provenance(folder, [*loops, *honest]))]


def _intervals(folder: RunFolder, axes: Axes) -> int:
    """Draw how many requests left in each second, as long as both trials sent; return the seconds."""
    wanted = {"original": (1, RED, "original's loop, sent"), "poisson": (0, BLUE, "Poisson arrivals, sent")}
    slowest = max((cell.interval_s or 0.0 for cell in folder.design.cells if cell.arrivals == "original"), default=0.0)
    level = folder.measured_levels()[0]
    shown = [
        (wanted[cell.arrivals], trial)
        for cell, number, trial in folder.trials(level)
        if number == 1 and cell.interval_s == slowest and cell.arrivals in wanted
    ]
    seconds = min([_SECONDS, *(math.ceil(length_s(trial)) for _, trial in shown)])
    for (place, colour, label), trial in shown:
        sent = np.array([one.sent_s for one in trial.samples if one.sent_s < seconds])
        counts = np.bincount(sent.astype(int), minlength=seconds)
        axes.bar(np.arange(seconds) + 0.3 + 0.4 * place, counts, width=0.36, color=colour, label=label)
    axes.set(
        xlabel="second of the trial",
        xlim=(0, max(seconds, 1)),
        ylabel="requests sent in it",
        title=f"Arrivals at a mean interval of {slowest:g} s",
    )
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    return seconds


def draw_timeseries(folder: RunFolder, rows: list[Row]) -> list[str]:
    """Draw response times and requests in the system over one trial of the most loaded cell."""
    found = _saturated(folder, rows)
    if found is None:
        return []
    level, cell, trial = found
    drawn, axes = figure(2, 1, (7.6, 5.6), sharex=True)
    order = sorted(trial.samples, key=lambda one: one.scheduled_s)
    until_s = length_s(trial)
    good = [one for one in order if one.ok]
    axes[0].scatter([one.scheduled_s for one in good], [1e3 * one.response_s for one in good], s=5, color=BLUE,
                    linewidths=0, label="answered")  # fmt: skip
    failed = [one for one in order if not one.ok]
    if failed:
        axes[0].scatter([one.scheduled_s for one in failed], [1e3 * one.response_s for one in failed], s=12, color=RED,
                        marker="x", linewidths=0.8, label="failed")  # fmt: skip
    axes[0].set(ylabel="response time, ms", title=f"{level.id}, {cell.id}")
    events = np.array(sorted([(one.sent_s, 1) for one in order] + [(one.done_s, -1) for one in order]))
    axes[1].step(events[:, 0], np.cumsum(events[:, 1]), where="post", color=ORANGE, label="in the system")
    asked, answered = trial.header["asked_hz"], answered_hz(trial, cell)
    if asked and asked > answered:
        axes[1].plot([0, until_s], [0, (asked - answered) * until_s], color=GREY, linestyle="--",
                     label="(asked − answered rate) × time")  # fmt: skip
    axes[1].set(ylabel="requests in the system", xlabel="time since the trial's start, s", xlim=(0, until_s))
    cut_s = warmup_s(trial, cell)
    for one in axes:
        one.set_ylim(bottom=0)
        if cut_s:
            one.axvspan(0, cut_s, color="#eeeeee", zorder=0)
    legend_above(drawn, *axes)
    asked_text = f"{asked:.1f} requests a second were asked" if asked else "closed loop"
    caption = (
        f"First valid trial (n = {len(order)}) of the most loaded cell: {asked_text}, {answered:.1f} answered. "
        "Grey: warm-up, cut from summaries. The axis ends with the trial, by when a request was due; what was still in "
        "the system then was answered later. "
        f"Seed {folder.design.seed}, repetition {trial.header['repetition']}."
    )
    return [save(drawn, folder.path / "figures", "timeseries", caption)]


def _saturated(folder: RunFolder, rows: list[Row]) -> tuple[Level, Cell, Trial] | None:
    measured = [row for row in rows if row["mean_s"] is not None]
    steady = [row for row in measured if row["arrivals"] == "poisson" and row["rho"] is not None]
    changing = [row for row in measured if row["arrivals"] in ("step", "ramp", "sine")]
    for row in sorted(steady or changing, key=lambda one: (-float(one["rho"] or one["mean_s"]), one["pool_size"] or 0)):
        level = folder.design.level(row["level"])
        cell = next(one for one in folder.design.cells if one.id == row["cell"])
        return level, cell, read_trial(folder.trial_path(level, cell, row["valid_numbers"][0]))
    return None
