"""What large images do to small ones that share their workers."""

from loadtest.draw.style import (
    GREY,
    Row,
    dodged,
    figure,
    legend_above,
    log_bars,
    looks,
    milliseconds,
    plain_ticks,
    save,
)
from loadtest.draw.trials import level_of, provenance, ring
from loadtest.experiments.folder import RunFolder

_ASIDE = 0.008  # of the load, from one size to the next


def draw(folder: RunFolder, rows: list[Row]) -> list[str]:
    """Draw the mean and a high quantile against load, for each size within the mix and for one size alone."""
    rows = [row for row in rows if row["utilisation"] is not None and row["arrivals"] == "poisson"]
    mixed = [row for row in rows if row["image"]]
    if not mixed:
        return []
    alone = sorted((row for row in rows if row["images"].endswith("px")), key=_load)
    kinds = sorted({(row["level"], row["image"]) for row in mixed}, key=lambda kind: (kind[0], _side(kind[1])))
    series = []
    for kind, colour, marker in looks(kinds):
        own = sorted((row for row in mixed if (row["level"], row["image"]) == kind), key=_load)
        series.append((own, f"{kind[1]} in the mix{level_of(own[0], mixed)}", colour, marker, "-"))
    for level in dict.fromkeys(row["level"] for row in alone):
        own = [row for row in alone if row["level"] == level]
        series.append((own, f"{own[0]['images']} alone{level_of(own[0], alone)}", GREY, "x", "--"))
    high = "p99" if all(row["p99_s"] is not None for row in (*mixed, *alone)) else "p90"
    drawn, axes = figure(1, 2, (9.5, 4.4), sharey=True)
    for panel, key, title in ((axes[0], "mean", "Mean"), (axes[1], high, f"{high[1:]}th percentile")):
        for index, (own, label, colour, marker, line) in enumerate(series):
            places = dodged([_load(row) for row in own], index, len(series), _ASIDE)
            values = milliseconds(own, f"{key}_s")
            panel.errorbar(places, values, yerr=log_bars(own, key), color=colour, marker=marker, linestyle=line,
                           label=label)  # fmt: skip
            ring(panel, folder, own, places, values)
        if all(row[f"{key}_s"] is None for row in (*mixed, *alone)):
            panel.text(0.5, 0.5, "too few requests", transform=panel.transAxes, ha="center", color=GREY)
        panel.set(yscale="log", xlabel="asked load ρ, share of capacity", title=title)
    axes[0].set_ylabel("response time, ms (logarithmic)")
    plain_ticks(axes[0], "y")
    legend_above(drawn, axes[0])
    cell = next(one for one in folder.design.cells if len(one.images) > 1)
    weights = ", ".join(f"{100 * weight:.0f} % of {side} px" for side, weight in cell.images)
    services = {row["images"]: row["service_s"] for row in rows if row["service_s"] is not None}
    costs = ", ".join(f"{1e3 * value:.1f} ms ({key})" for key, value in sorted(services.items()))
    caption = f"Poisson arrivals; the mix has {weights}. Mean service times: {costs}. "
    if high != "p99":
        caption += "The 99th percentile needs 1,000 requests of a size. "
    caption += "Sizes stand a little beside each other. "
    shown = [row for row in rows if not row["image"]]
    return [save(drawn, folder.path / "figures", "mix", caption + provenance(folder, shown))]


def _side(image: str) -> int:
    return int(image.removesuffix("px"))


def _load(row: Row) -> float:
    return float(row["utilisation"])
