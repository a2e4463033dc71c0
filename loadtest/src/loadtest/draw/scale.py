"""p99 against the number of workers, as simulated."""

from collections.abc import Sequence
from pathlib import Path

from loadtest.draw.style import MARKERS, POLICY_COLOUR, Row, figure, plain_ticks, save

_DASHES = ("-", "--", "-.", ":")


def draw_scale(rows: Sequence[Row], folder: Path, about: str) -> str:
    """Draw a panel for each load, and in it a line for each policy and number of balancers.

    Args:
        rows: Rows of simulated cases; one whose p99 is None is left out.
        folder: Where scale.png and scale.svg go.
        about: Limit, seed and service times, as sentences.
    """
    loads = sorted({row["utilisation"] for row in rows})
    drawn, panels = figure(1, len(loads), (3.2 * len(loads) + 4.4, 4.6), sharey=True)
    balancers = sorted({row["balancers"] for row in rows})
    for axes, load in zip(panels, loads, strict=True):
        for place, (policy, colour) in enumerate(POLICY_COLOUR.items()):
            for style, count in enumerate(balancers):
                case = (load, policy, count)
                own = [row for row in rows if (row["utilisation"], row["policy"], row["balancers"]) == case]
                own = [row for row in own if row["p99_ms"]]
                name = policy if len(balancers) == 1 else f"{policy}, {count} balancer{'s' if count > 1 else ''}"
                if own:
                    axes.errorbar(
                        [row["workers"] for row in own], [row["p99_ms"] for row in own],
                        yerr=[row["p99_half_ms"] or 0.0 for row in own], color=colour, marker=MARKERS[place],
                        linestyle=_DASHES[style % len(_DASHES)], label=name,
                    )  # fmt: skip
        axes.set(title=f"ρ = {load:g}", xscale="log", yscale="log", xlabel="workers (logarithmic)")
        plain_ticks(axes, "x")
        plain_ticks(axes, "y")
    panels[0].set_ylabel("p99, ms (logarithmic)")
    if panels[0].containers:
        drawn.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    parts = "Simulated, not measured. Bars: 95 % t-interval over ten parts of the time. "
    return save(drawn, folder, "scale", parts + about)
