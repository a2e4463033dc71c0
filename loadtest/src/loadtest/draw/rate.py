"""Response time against rate for each level, with theory drawn over it; and the original's cells beside ours."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from loadtest.analyse.laws import law_of
from loadtest.draw import published
from loadtest.draw.style import (
    GREY,
    Row,
    dodged,
    figure,
    halves,
    legend_above,
    log_bars,
    looks,
    milliseconds,
    plain_ticks,
    save,
)
from loadtest.draw.trials import provenance, ring
from loadtest.experiments.folder import RunFolder

_AGREES = 0.15
# From here on the steady state that M/G/1 describes is minutes away.
_STEADY = 0.95
_ASIDE_RHO, _ASIDE_TIMES = 0.014, 1.05  # from one pool size to the next, so that no bar covers another's


def draw(folder: RunFolder, rows: list[Row]) -> list[str]:
    """Draw response time and throughput against load, and the original's cells."""
    names = _load(folder, by_load(rows))
    cells = [row for row in rows if row["interval_s"] in published.SCALING_S and row["arrivals"] == "poisson"]
    if cells:
        names += _original(folder, cells)
    return names


def by_load(rows: Sequence[Row]) -> list[Row]:
    """The rows of Poisson arrivals at a share of the capacity, whatever image they sent.

    Where there is no law of service times, as of workers that take several photographs at once, ρ is the share asked.
    """
    return [
        row | {"rho": row["utilisation"] if row["rho"] is None else row["rho"]}
        for row in rows
        if row["utilisation"] is not None and row["arrivals"] == "poisson" and not row["image"]
    ]


def _load(folder: RunFolder, rows: list[Row]) -> list[str]:
    if not rows:
        return []
    drawn, axes = figure(1, 3, (11.5, 4.6), gridspec_kw={"width_ratios": [1.35, 1, 1]})
    response_panel(folder, axes[0], rows)
    axes[0].set_title("Response time")
    series = _series(rows)
    for index, (own, colour, marker, _) in enumerate(series):
        loads = dodged([row["utilisation"] for row in own], index, len(series), _ASIDE_RHO)
        answered = [row["answered_hz"] for row in own]
        axes[1].errorbar(loads, answered, yerr=halves(own, "answered_ci"), color=colour, marker=marker)
        ring(axes[1], folder, own, loads, answered)
        _disagreement(folder, axes[2], own, loads, colour=colour, marker=marker)
    axes[1].set(xlabel="asked load ρ, share of capacity", ylabel="answers a second", title="Throughput")
    axes[1].set_ylim(bottom=0)
    axes[2].axhspan(-100 * _AGREES, 100 * _AGREES, color="#eeeeee", zorder=0)
    axes[2].axhline(0, color=GREY, linewidth=0.8)
    axes[2].set(xlabel="asked load ρ, share of capacity", ylabel="measured ÷ predicted − 1, %", title="Disagreement")
    axes[2].plot([], [], color=GREY, marker="o", markerfacecolor="white", linestyle=":", label="own arrivals replayed")
    legend_above(drawn, axes[0], axes[2])
    caption = f"Poisson arrivals, {_policies(rows)} balancing. {_agreement(rows)} "
    return [save(drawn, folder.path / "figures", "rate", caption + provenance(folder, rows))]


def response_panel(folder: RunFolder, axes: Axes, rows: list[Row]) -> None:
    """Draw the mean response time against the rate for each level, beside theory and simulated trials."""
    for own, colour, marker, name in _series(rows):
        rates, values = [row["asked_hz"] for row in own], milliseconds(own, "mean_s")
        _theory(folder, axes, own, colour)
        axes.errorbar(rates, values, yerr=log_bars(own, "mean"), color=colour, marker=marker, linestyle="none",
                      label=name)  # fmt: skip
        axes.plot(rates, milliseconds(own, "simulated_mean_s"), color=colour, marker="_", markersize=9,
                  linestyle="none")  # fmt: skip
        ring(axes, folder, own, rates, values)
    axes.plot([], [], color=GREY, label="M/G/1 theory")
    axes.plot([], [], color=GREY, marker="_", markersize=9, linestyle="none", label="simulated trials")
    axes.set(xlabel="requests a second, asked", ylabel="mean response time, ms (logarithmic)", yscale="log")
    means = [mean for mean in milliseconds(rows, "mean_s") if math.isfinite(mean)]  # a cell may have only failures
    if means:
        axes.set_ylim(bottom=0.6 * min(means), top=3 * max(means))
    axes.set_xlim(left=0)
    plain_ticks(axes, "y")


def _series(rows: Sequence[Row]) -> list[tuple[list[Row], str, str, str]]:
    """The rows of each level by load, with a colour, a marker and a name: its pool size, where no other has it."""
    keys = sorted({(row["pool_size"] or 0, row["level"]) for row in rows})
    sizes = [size for size, _ in keys]
    return [
        (sorted((row for row in rows if (row["pool_size"] or 0, row["level"]) == key), key=_rho),
         colour, marker, _workers(key[0]) if sizes.count(key[0]) == 1 else key[1])
        for key, colour, marker in looks(keys)
    ]  # fmt: skip


def _rho(row: Row) -> float:
    return float(row["rho"] or 0.0)


def _disagreement(
    folder: RunFolder, axes: Axes, rows: list[Row], loads: Sequence[float], *, colour: str, marker: str
) -> None:
    for key, line, look in (("mg1", "-", colour), ("replayed", ":", "white")):
        shown = [
            (row, load)
            for row, load in zip(rows, loads, strict=True)
            if row[f"{key}_off"] is not None and (key != "mg1" or row["rho"] < _STEADY)
        ]
        if not shown:
            continue
        own, places = [row for row, _ in shown], [load for _, load in shown]
        values = [100 * row[f"{key}_off"] for row in own]
        bars = [100 * half / row["mg1_mean_s"] if key == "mg1" else math.nan
                for row, half in zip(own, halves(own, "mean_ci"), strict=True)]  # fmt: skip
        axes.errorbar(places, values, yerr=bars, color=colour, marker=marker, linestyle=line, markerfacecolor=look)
        ring(axes, folder, own, places, values)


def _workers(pool: int) -> str:
    return "as deployed" if pool == 0 else f"{pool} worker{'s' if pool > 1 else ''}"


def _policies(rows: list[Row]) -> str:
    return ", ".join(sorted({row["policy"] or "as deployed" for row in rows}))


def _theory(folder: RunFolder, axes: Axes, rows: list[Row], colour: str) -> None:
    if rows[0]["mg1_mean_s"] is None:
        return
    level = folder.design.level(rows[0]["level"])
    record = folder.read_level(level)
    assert record is not None
    cell = next(one for one in folder.design.cells if one.id == rows[0]["cell"])
    law = law_of(folder, level, record, cell)
    if law is None:
        return
    load = np.linspace(0.02, 0.985, 120)
    rates = load * law.capacity_hz
    axes.plot(rates, [1e3 * law.steady_mean(rate) for rate in rates], color=colour)
    axes.axvline(law.capacity_hz, color=colour, linewidth=0.8, linestyle=":")


def _agreement(rows: list[Row]) -> str:
    known = [row for row in rows if row["mg1_off"] is not None and row["utilisation"] <= 0.8]
    if not known:
        return ""
    worst = max(known, key=lambda row: abs(row["mg1_off"]))
    name = next(name for own, _, _, name in _series(rows) if worst in own)
    within = abs(worst["mg1_off"]) <= _AGREES
    return (
        f"Up to ρ = 0.8 the measured mean is {'within' if within else 'not always within'} 15 % of M/G/1 (grey band): "
        f"the largest difference is {100 * worst['mg1_off']:+.0f} % at ρ = {worst['utilisation']:.1f} with "
        f"{name}. Its bars are those of the measured mean. Theory knows the service times "
        "of idle and of busy workers. Near ρ = 1 it describes a "
        "steady state that a trial of seconds does not reach; dashes are simulations of trials of the same length. "
        "Hollow, without bars: the trials' own arrivals and choices of workers, replayed through FIFO queues with the "
        "measured service times. Vertical dots: capacity. Pool sizes stand a little beside each other."
    )


def _original(folder: RunFolder, rows: list[Row]) -> list[str]:
    series = _series([row for row in rows if row["pool_size"]])
    if not series:
        return []
    drawn, axes = figure(1, 2, (9.5, 4.4), sharey=True)
    intervals = sorted(published.SCALING_S, reverse=True)
    for index, (own_rows, colour, marker, name) in enumerate(series):
        own, pool = {row["interval_s"]: row for row in own_rows}, own_rows[0]["pool_size"]
        known = [one for one in intervals if pool in published.SCALING_S[one]]
        axes[0].plot([1 / one for one in known], [1e3 * published.SCALING_S[one][pool] for one in known], color=colour,
                     marker=marker, linestyle="--")  # fmt: skip
        ours = [own[one] for one in intervals if one in own]
        rates = dodged([1 / row["interval_s"] for row in ours], index, len(series), _ASIDE_TIMES, log=True)
        values = milliseconds(ours, "mean_s")
        axes[1].errorbar(rates, values, yerr=log_bars(ours, "mean"), color=colour, marker=marker,
                         label=name)  # fmt: skip
        ring(axes[1], folder, ours, rates, values)
    axes[0].set(title="The original, as published", ylabel="mean round-trip time, ms (logarithmic)", yscale="log")
    axes[1].set(title="Ours, same mean rates")
    for one in axes:
        one.set(xlabel="mean requests a second (logarithmic)", xscale="log")
        plain_ticks(one, "x")
    plain_ticks(axes[0], "y")
    legend_above(drawn, axes[1])
    caption = (
        "The original's twelve cells: mean intervals of 0.5, 0.2, 0.1 and 0.01 s. Its points are means of 5, sent "
        f"in batches of whole seconds; ours are Poisson arrivals, {min(row['n'] for row in rows)} requests or more a "
        "cell, and stand a little beside each other. "
    )
    return [save(drawn, folder.path / "figures", "original-cells", caption + provenance(folder, rows))]
