"""Latency by policy as complementary distributions (CCDF), and how evenly work is shared."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from loadtest.analyse.window import response_times
from loadtest.draw.style import GREY, POLICY_COLOUR, Row, figure, legend_above, looks, plain_ticks, save
from loadtest.draw.trials import provenance, trials_of
from loadtest.experiments.folder import RunFolder
from loadtest.generate.samples import read_trial

_DASHES = {"random": "-", "round_robin": "--", "random_two": "-.", "least_conn": (0, (1, 1))}


def draw_ccdf(folder: RunFolder, rows: list[Row]) -> list[str]:
    """Draw the share of requests that take longer than t, on logarithmic axes: one panel for each load and slowness."""
    loads = [row for row in rows if row["utilisation"] is not None and not row["image"]]
    if not loads:
        return []
    utilisations = sorted({row["utilisation"] for row in loads})
    slow = sorted({row["slow_worker"] for row in loads})
    drawn, axes = figure(
        len(slow), len(utilisations), (3.6 * len(utilisations), 3.8 * len(slow) + 0.9), sharex="row", sharey=True
    )
    for panel, (slowness, load) in zip(axes, [(s, u) for s in slow for u in utilisations], strict=True):
        ccdf_panel(
            folder, panel, [row for row in loads if (row["slow_worker"], row["utilisation"]) == (slowness, load)]
        )
        panel.set_title(f"ρ = {load:g}, {slowness_of(slowness)}")
        if panel.lines:
            panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), fontsize=7)
    for one in axes[:: len(utilisations)]:
        one.set_ylabel("requests that take longer, %")
    drawn.suptitle("Response times by policy: complementary cumulative distributions (CCDF)", fontsize=10)
    caption = (
        "Requests of all valid trials of a cell together; dotted: 1 %. p99 is theirs, from 1,000 requests on, ± the "
        "half-width of the 95 % t-interval over the trials. Policies saw the same arrivals (paired seeds). ρ: share of "
        "the pool's capacity. "
    )
    return [save(drawn, folder.path / "figures", "ccdf", caption + provenance(folder, loads, bars=False))]


def ccdf_panel(folder: RunFolder, panel: Axes, rows: Sequence[Row]) -> None:
    """Draw a curve for each row of the same load and ten requests or more; its name has policy, p99, missing trials."""
    for row in sorted(rows, key=lambda one: list(POLICY_COLOUR).index(one["policy"] or "random")):
        times = _times(folder, row)
        if len(times) < 10:
            continue
        policy = row["policy"] or "random"
        share = 1 - np.arange(len(times)) / len(times)
        points = np.unique(np.geomspace(1, len(times), 300).astype(int))
        index = len(times) - points
        panel.plot(1e3 * times[index], 100 * share[index], color=POLICY_COLOUR[policy], linestyle=_DASHES[policy],
                   label=f"{policy}: p99 {_p99(row)}{trials_of(folder, row)}")  # fmt: skip
    panel.set_xlabel("response time, ms (logarithmic)")
    if not panel.lines:
        panel.text(0.5, 0.5, "too few requests", transform=panel.transAxes, ha="center", color=GREY)
        return
    panel.set(xscale="log", yscale="log", ylim=(0.1, 100))
    panel.axhline(1, color=GREY, linewidth=0.7, linestyle=":")
    plain_ticks(panel, "x")
    plain_ticks(panel, "y")


def slowness_of(value: float) -> str:
    """How the workers differ, in words."""
    return "equal workers" if value == 1 else f"one worker {value:g}× slower"


def _p99(row: Row) -> str:
    if row["p99_s"] is None:
        return "–"
    half = "" if row["p99_ci"] is None else f" ± {1e3 * row['p99_ci']:.0f}"
    return f"{1e3 * row['p99_s']:.0f}{half} ms"


def _times(folder: RunFolder, row: Row) -> "np.ndarray[tuple[int, ...], np.dtype[np.float64]]":
    level = folder.design.level(row["level"])
    cell = next(one for one in folder.design.cells if one.id == row["cell"])
    files = [folder.trial_path(level, cell, number) for number in row["valid_numbers"]]
    return np.sort(np.concatenate([response_times(read_trial(file), cell) for file in files]))


def draw_shares(folder: RunFolder, rows: list[Row]) -> list[str]:
    """Draw each worker's share of the answers: one bar for each level at the highest load it ran below capacity."""
    loads = [row for row in rows if row["utilisation"] is not None and not row["image"] and row["worker_shares"]]
    shown = []
    for level in sorted(
        folder.measured_levels(), key=lambda one: (one.slow_worker, one.pool_size or 0, one.policy or "")
    ):
        own = [row for row in loads if row["level"] == level.id]
        below = [row for row in own if row["utilisation"] < 1] or own
        if below and len(below[0]["worker_shares"]) > 1:
            shown.append((level, max(below, key=lambda row: float(row["utilisation"]))))
    if not shown:
        return []
    drawn, (axes,) = figure(1, 1, (7.6, 0.42 * len(shown) + 1.9))
    workers = sorted({name for _, row in shown for name in row["worker_shares"]})
    left = np.zeros(len(shown))
    for worker, colour, _ in looks(workers):
        width = np.array([100 * row["worker_shares"].get(worker, 0.0) for _, row in shown])
        axes.barh(range(len(shown)), width, left=left, color=colour, edgecolor="white", label=worker, height=0.7)
        for place, (one, start) in enumerate(zip(width, left, strict=True)):
            if one > 6:
                axes.text(start + one / 2, place, f"{one:.0f}", ha="center", va="center", fontsize=8, color="white")
        left += width
    axes.set_yticks(range(len(shown)), [_level_name(row) + trials_of(folder, row) for _, row in shown])
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.set(xlim=(0, 100), xlabel="share of the answers, %")
    legend_above(drawn, axes)
    caption = (
        "All valid trials of a cell together, at the highest load below capacity. A slower worker is the last one. "
    )
    cells = [row for _, row in shown]
    return [save(drawn, folder.path / "figures", "shares", caption + provenance(folder, cells, bars=False))]


def _level_name(row: Row) -> str:
    name = f"{row['policy'] or 'as deployed'}, ρ = {row['utilisation']:g}"
    if row["pool_size"]:
        name = f"{row['pool_size']} workers, {name}"
    return name + ("" if row["slow_worker"] == 1 else f", one {row['slow_worker']:g}× slower")
