"""p99 against the number of workers, as simulated."""

from collections.abc import Sequence
from pathlib import Path

from loadtest.draw.style import (
    MARKERS,
    POLICY_COLOUR,
    Row,
    dodged,
    figure,
    halves,
    legend_above,
    log_lengths,
    plain_ticks,
    save,
)

_DASHES = ("-", "--", "-.", ":")
# Times the workers, from one series to the next, and from the first to the last at the most.
_ASIDE, _WIDEST = 1.07, 1.3


def draw_scale(rows: Sequence[Row], folder: Path, about: str) -> str:
    """Draw scale.png and scale.svg: a panel a load, a line a policy and number of balancers; rows need a p99."""
    loads = sorted({row["utilisation"] for row in rows})
    drawn, panels = figure(1, len(loads), (3.2 * len(loads) + 4.4, 4.6), sharey=True)
    balancers = sorted({row["balancers"] for row in rows})
    there = {(row["policy"], row["balancers"]) for row in rows}
    series = [(policy, count) for policy in POLICY_COLOUR for count in balancers if (policy, count) in there]
    step = min(_ASIDE, _WIDEST ** (1 / max(1, len(series) - 1)))
    for axes, load in zip(panels, loads, strict=True):
        for index, (policy, count) in enumerate(series):
            case = (load, policy, count)
            own = [row for row in rows if (row["utilisation"], row["policy"], row["balancers"]) == case]
            own = [row for row in own if row["p99_ms"]]
            name = policy if len(balancers) == 1 else f"{policy}, {count} balancer{'s' if count > 1 else ''}"
            if own:
                means = [row["p99_ms"] for row in own]
                axes.errorbar(
                    dodged([row["workers"] for row in own], index, len(series), step, log=True), means,
                    yerr=log_lengths(means, halves(own, "p99_half_ms")), color=POLICY_COLOUR[policy],
                    marker=MARKERS[list(POLICY_COLOUR).index(policy)],
                    linestyle=_DASHES[balancers.index(count) % len(_DASHES)], label=name,
                )  # fmt: skip
        axes.set(title=f"ρ = {load:g}", xscale="log", yscale="log", xlabel="workers (logarithmic)")
        plain_ticks(axes, "x")
        plain_ticks(axes, "y")
    panels[0].set_ylabel("p99, ms (logarithmic)")
    legend_above(drawn, panels[0])
    parts = (
        "Simulated, not measured. Bars: 95 % t-interval of the logarithm, for random over ten parts of the workers, "
        "else of the time. "
        "Policies stand a little beside each other. "
    )
    return save(drawn, folder, "scale", parts + about)
