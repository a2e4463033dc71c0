"""What large images do to small ones that share their workers."""

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


def draw(folder: RunFolder, rows: list[Row], *, original: bool) -> list[str]:  # noqa: ARG001 — one shape for all
    """Draw mean and p99 against load, for each size within the mix and for one size alone."""
    mixed = [row for row in rows if row["image"] and row["utilisation"] is not None]
    if not mixed:
        return []
    alone = sorted((row for row in rows if row["utilisation"] is not None and row["images"].endswith("px")), key=_load)
    drawn, axes = figure(1, 2, (9.5, 4.4), sharey=True)
    images = sorted({row["image"] for row in mixed}, key=lambda image: int(image.removesuffix("px")))
    for panel, key, title in ((axes[0], "mean", "Mean"), (axes[1], "p99", "99th percentile")):
        for image, colour, marker in zip(images, COLOURS, MARKERS, strict=False):
            own = sorted((row for row in mixed if row["image"] == image), key=_load)
            panel.errorbar([_load(row) for row in own], milliseconds(own, f"{key}_s"),
                           yerr=log_bars(own, key), color=colour, marker=marker,
                           label=f"{image} in the mix")  # fmt: skip
        if alone:
            panel.errorbar([_load(row) for row in alone], milliseconds(alone, f"{key}_s"),
                           yerr=log_bars(alone, key), color=GREY, marker="x", linestyle="--",
                           label=f"{alone[0]['images']} alone")  # fmt: skip
        if key == "p99" and all(row["p99_s"] is None for row in (*mixed, *alone)):
            panel.text(0.5, 0.5, "too few requests", transform=panel.transAxes, ha="center", color=GREY)
        panel.set(yscale="log", xlabel="asked load ρ, share of capacity", title=title)
    axes[0].set_ylabel("response time, ms (logarithmic)")
    plain_ticks(axes[0], "y")
    drawn.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=6)
    cell = next(one for one in folder.design.cells if len(one.images) > 1)
    weights = ", ".join(f"{100 * weight:.0f} % of {side} px" for side, weight in cell.images)
    services = {row["images"]: row["service_s"] for row in rows if row["service_s"] is not None}
    costs = ", ".join(f"{1e3 * value:.1f} ms ({key})" for key, value in sorted(services.items()))
    caption = f"Poisson arrivals; the mix has {weights}. Mean service times: {costs}. "
    shown = [row for row in rows if row["utilisation"] is not None and not row["image"]]
    return [save(drawn, folder.path / "figures", "mix", caption + provenance(folder, shown))]


def _load(row: Row) -> float:
    return float(row["utilisation"])
