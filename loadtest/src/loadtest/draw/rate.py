"""Response time against rate for each pool size, with theory drawn over it; and the original's cells beside ours."""

import numpy as np
from matplotlib.axes import Axes

from loadtest.analyse.laws import law_of
from loadtest.draw import published
from loadtest.draw.style import (
    COLOURS,
    GREY,
    MARKERS,
    Row,
    figure,
    log_bars,
    milliseconds,
    plain_ticks,
    provenance,
    save,
)
from loadtest.experiments.folder import RunFolder

_AGREES = 0.15
# From here on the steady state that M/G/1 describes is minutes away.
_STEADY = 0.95


def draw(folder: RunFolder, rows: list[Row], *, original: bool) -> list[str]:
    """Draw response time and throughput against load, and the original's cells."""
    names = _load(folder, [row for row in rows if row["utilisation"] is not None and not row["image"]])
    cells = [row for row in rows if row["interval_s"] in published.SCALING_S and row["arrivals"] == "poisson"]
    if original and cells:
        names += _original(folder, cells)
    return names


def _load(folder: RunFolder, rows: list[Row]) -> list[str]:
    if not rows:
        return []
    pools = sorted({row["pool_size"] or 0 for row in rows})
    drawn, axes = figure(1, 3, (11.5, 4.4), gridspec_kw={"width_ratios": [1.35, 1, 1]})
    for pool, colour, marker in zip(pools, COLOURS, MARKERS, strict=False):
        own = sorted((row for row in rows if (row["pool_size"] or 0) == pool), key=lambda row: float(row["rho"]))
        label = _workers(pool)
        rates = [row["asked_hz"] for row in own]
        _theory(folder, axes[0], own, colour)
        axes[0].errorbar(rates, milliseconds(own, "mean_s"), yerr=log_bars(own, "mean"), color=colour,
                         marker=marker, linestyle="none", label=f"{label}, mean")  # fmt: skip
        axes[0].plot(rates, milliseconds(own, "simulated_mean_s"), color=colour, marker="_", markersize=9,
                     linestyle="none")  # fmt: skip
        axes[1].errorbar([row["rho"] for row in own], [row["answered_hz"] for row in own],
                         yerr=[row["answered_ci"] or 0 for row in own], color=colour, marker=marker,
                         label=label)  # fmt: skip
        for key, line, look in (("mg1", "-", colour), ("replayed", ":", "white")):
            off = [
                (row["rho"], 100 * row[f"{key}_off"])
                for row in own
                if row[f"{key}_off"] is not None and (key != "mg1" or row["rho"] < _STEADY)
            ]
            if off:
                axes[2].plot(*np.array(off).T, color=colour, marker=marker, linestyle=line, markerfacecolor=look,
                             label=label if key == "mg1" else None)  # fmt: skip
    axes[0].plot([], [], color=GREY, label="M/G/1 from measured service times, idle and busy")
    axes[0].plot([], [], color=GREY, marker="_", markersize=9, linestyle="none", label="simulated trials")
    axes[0].set(xlabel="requests a second, asked", ylabel="mean response time, ms (logarithmic)", yscale="log",
                title="Response time")  # fmt: skip
    axes[0].set_ylim(bottom=0.7 * min(milliseconds(rows, "mean_s")), top=15 * max(milliseconds(rows, "mean_s")))
    axes[0].set_xlim(left=0)
    plain_ticks(axes[0], "y")
    axes[1].set(xlabel="asked load ρ, share of capacity", ylabel="answers a second", title="Throughput")
    axes[1].set_ylim(bottom=0)
    axes[2].axhspan(-100 * _AGREES, 100 * _AGREES, color="#eeeeee", zorder=0)
    axes[2].axhline(0, color=GREY, linewidth=0.8)
    axes[2].set(xlabel="asked load ρ, share of capacity", ylabel="measured ÷ predicted − 1, %", title="Disagreement")
    axes[2].plot([], [], color=GREY, marker="o", markerfacecolor="white", linestyle=":", label="own arrivals replayed")
    axes[2].margins(y=0.3)
    for one in axes:
        one.legend(loc="upper left")
    caption = f"Poisson arrivals, {_policies(rows)} balancing. {_agreement(rows)} "
    return [save(drawn, folder.path / "figures", "rate", caption + provenance(folder, rows))]


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
    known = [row for row in rows if row["mg1_off"] is not None and row["rho"] <= 0.805]
    if not known:
        return ""
    worst = max(known, key=lambda row: abs(row["mg1_off"]))
    within = abs(worst["mg1_off"]) <= _AGREES
    return (
        f"Up to ρ = 0.8 the measured mean is {'within' if within else 'not always within'} 15 % of M/G/1 (grey band): "
        f"the largest difference is {100 * worst['mg1_off']:+.0f} % at ρ = {worst['rho']:.1f} with "
        f"{_workers(worst['pool_size'] or 0)}. Near ρ = 1 M/G/1 describes a steady state that a trial of seconds does "
        "not reach; dashes are simulations of trials of the same length. Hollow: the trials' own arrivals and "
        "choices of workers, replayed through FIFO queues with the measured service times. Vertical dots: capacity."
    )


def _original(folder: RunFolder, rows: list[Row]) -> list[str]:
    pools = sorted({row["pool_size"] for row in rows if row["pool_size"]})
    if not pools:
        return []
    drawn, axes = figure(1, 2, (9.5, 4.2), sharey=True)
    intervals = sorted(published.SCALING_S, reverse=True)
    for pool, colour, marker in zip(pools, COLOURS, MARKERS, strict=False):
        own = {row["interval_s"]: row for row in rows if row["pool_size"] == pool}
        known = [one for one in intervals if pool in published.SCALING_S[one]]
        axes[0].plot([1 / one for one in known], [1e3 * published.SCALING_S[one][pool] for one in known], color=colour,
                     marker=marker, linestyle="--", label=_workers(pool))  # fmt: skip
        ours = [own[one] for one in intervals if one in own]
        axes[1].errorbar([1 / row["interval_s"] for row in ours], milliseconds(ours, "mean_s"),
                         yerr=log_bars(ours, "mean"), color=colour, marker=marker,
                         label=_workers(pool))  # fmt: skip
    axes[0].set(title="The original, as published", ylabel="mean round-trip time, ms (logarithmic)", yscale="log")
    axes[1].set(title="Ours, same mean rates")
    for one in axes:
        one.set(xlabel="mean requests a second (logarithmic)", xscale="log")
        one.legend(loc="upper left")
        plain_ticks(one, "x")
    plain_ticks(axes[0], "y")
    caption = (
        "The original's twelve cells: mean intervals of 0.5, 0.2, 0.1 and 0.01 s. Its points are means of 5, sent "
        f"in batches of whole seconds; ours are Poisson arrivals, {min(row['n'] for row in rows)} requests or more a "
        "cell. "
    )
    return [save(drawn, folder.path / "figures", "original-cells", caption + provenance(folder, rows))]
