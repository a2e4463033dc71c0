"""The original's way of measuring beside the right one, and what a saturated service looks like over time."""

import numpy as np
from matplotlib.axes import Axes

from loadtest.draw.style import (
    BLUE,
    GREY,
    ORANGE,
    RED,
    SKY,
    Row,
    figure,
    log_bars,
    milliseconds,
    plain_ticks,
    provenance,
    save,
)
from loadtest.experiments.cells import Cell, Level
from loadtest.experiments.folder import RunFolder
from loadtest.generate.samples import Trial


def draw_method(folder: RunFolder, rows: list[Row], *, original: bool) -> list[str]:  # noqa: ARG001 — it is the original
    """Draw, for each mean interval, what the original's loop reports, what it did to all requests, and the truth."""
    loops = sorted(
        (row for row in rows if row["arrivals"] == "original" and row["measured_every"] > 1),
        key=lambda row: float(row["interval_s"]),
    )
    right = {row["interval_s"]: row for row in rows if row["arrivals"] == "poisson" and row["interval_s"] is not None}
    if not loops or not right:
        return []
    drawn, axes = figure(1, 2, (11.0, 4.3), gridspec_kw={"width_ratios": [1.25, 1]})
    rates = [1 / row["interval_s"] for row in loops]
    honest = [right[row["interval_s"]] for row in loops if row["interval_s"] in right]
    series = (
        ("original's loop: the requests it measures", loops, "measured_mean", RED, "o", 0.94),
        ("original's loop: all its requests", loops, "mean", ORANGE, "^", 1.0),
        ("Poisson arrivals, every request measured", honest, "mean", BLUE, "s", 1.06),
    )
    for label, shown, key, colour, marker, shift in series:
        places = [shift / row["interval_s"] for row in shown]
        axes[0].errorbar(places, milliseconds(shown, f"{key}_s"), yerr=log_bars(shown, key), color=colour,
                         marker=marker, label=label)  # fmt: skip
    tails = [row for row in honest if row["p99_s"] is not None]
    if tails:
        axes[0].errorbar([1 / row["interval_s"] for row in tails], milliseconds(tails, "p99_s"),
                         yerr=log_bars(tails, "p99"), color=SKY, marker="D", linestyle=":",
                         label="Poisson arrivals, p99")  # fmt: skip
    axes[0].set(xscale="log", yscale="log", xlabel="mean requests a second that were meant (logarithmic)",
                ylabel="response time, ms (logarithmic)", title="What each method reports")  # fmt: skip
    axes[0].set_xticks(rates, [f"{rate:g}" for rate in rates])
    axes[0].minorticks_off()
    plain_ticks(axes[0], "y")
    axes[0].legend(loc="upper left")
    low, high = axes[0].get_ylim()
    axes[0].set_ylim(low, high * (high / low) ** 0.35)
    plain_ticks(axes[0], "y")
    _intervals(folder, axes[1])
    measured = sum(row["measured_n"] for row in loops)
    caption = (
        "The original sleeps whole seconds between requests, Poisson-distributed, and measures and waits for every "
        f"{loops[0]['measured_every']}th: {measured} measured requests in all here, against "
        f"{sum(row['n'] for row in honest):,} of the open loop. "
        "Right: how requests leave at a mean interval of 0.5 s, first trial of each. "
    )
    return [save(drawn, folder.path / "figures", "method", caption + provenance(folder, [*loops, *honest]))]


def _intervals(folder: RunFolder, axes: Axes) -> None:
    wanted = {"original": (1, RED, "original's loop"), "poisson": (0, BLUE, "Poisson arrivals")}
    slowest = max((cell.interval_s or 0.0 for cell in folder.design.cells if cell.arrivals == "original"), default=0.0)
    for level in folder.measured_levels():
        for cell, number, trial in folder.trials(level):
            if number != 1 or cell.interval_s != slowest or cell.arrivals not in wanted:
                continue
            place, colour, label = wanted[cell.arrivals]
            sent = np.array(sorted(one.sent_s for one in trial.samples))
            counts = np.bincount(sent[sent < 15].astype(int), minlength=15)
            axes.bar(np.arange(15) + 0.25 + 0.35 * place, counts, width=0.33, color=colour, label=label)
        break
    axes.set(
        xlabel="second of the trial",
        ylabel="requests sent in it",
        title=f"Arrivals at a mean interval of {slowest:g} s",
    )
    axes.margins(y=0.3)
    axes.legend(loc="upper right")


def draw_timeseries(folder: RunFolder, rows: list[Row], *, original: bool) -> list[str]:  # noqa: ARG001 — one shape
    """Draw response times and requests in the system over one trial of the most loaded cell."""
    found = _saturated(folder, rows)
    if found is None:
        return []
    level, cell, trial, row = found
    drawn, axes = figure(2, 1, (7.6, 5.4), sharex=True)
    order = sorted(trial.samples, key=lambda one: one.scheduled_s)
    good = [one for one in order if one.ok]
    axes[0].scatter([one.scheduled_s for one in good], [1e3 * one.response_s for one in good], s=5, color=BLUE,
                    linewidths=0, label="answered")  # fmt: skip
    failed = [one for one in order if not one.ok]
    if failed:
        axes[0].scatter([one.scheduled_s for one in failed], [1e3 * one.response_s for one in failed], s=12, color=RED,
                        marker="x", linewidths=0.8, label="failed")  # fmt: skip
    axes[0].set(ylabel="response time, ms", title=f"{level.id}, {cell.id}")
    axes[0].legend(loc="upper left")
    events = np.array(sorted([(one.sent_s, 1) for one in order] + [(one.done_s, -1) for one in order]))
    axes[1].step(events[:, 0], np.cumsum(events[:, 1]), where="post", color=ORANGE, label="in the system")
    asked, answered = trial.header["asked_hz"], row["answered_hz"]
    if asked and answered and asked > answered:
        length_s = trial.header["duration_s"]
        axes[1].plot([0, length_s], [0, (asked - answered) * length_s], color=GREY, linestyle="--",
                     label="(asked − answered rate) × time")  # fmt: skip
    axes[1].set(ylabel="requests in the system", xlabel="time since the trial's start, s")
    axes[1].legend(loc="upper left")
    if cell.warmup_s:
        for one in axes:
            one.axvspan(0, cell.warmup_s, color="#eeeeee", zorder=0)
    asked_text = f"{asked:.1f} requests a second were asked" if asked else "closed loop"
    answered_text = f", {answered:.1f} answered" if answered else ""
    caption = (
        f"First valid trial (n = {len(order)}) of the most loaded cell: {asked_text}{answered_text}. "
        "Grey: warm-up, cut from summaries. "
        f"Seed {folder.design.seed}, repetition {trial.header['repetition']}."
    )
    return [save(drawn, folder.path / "figures", "timeseries", caption)]


def _saturated(folder: RunFolder, rows: list[Row]) -> tuple[Level, Cell, Trial, Row] | None:
    measured = [row for row in rows if row["mean_s"] is not None]
    steady = [row for row in measured if row["arrivals"] == "poisson" and row["rho"] is not None]
    changing = [row for row in measured if row["arrivals"] in ("step", "ramp", "sine")]
    for row in sorted(steady or changing, key=lambda one: (-float(one["rho"] or one["mean_s"]), one["pool_size"] or 0)):
        level = folder.design.level(row["level"])
        for cell, number, trial in folder.trials(level):
            if cell.id == row["cell"] and number == row["valid_numbers"][0]:
                return level, cell, trial, row
    return None
