"""What networks cost and buy: accuracy against throughput and against processor time, with the Pareto front."""

import itertools

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from loadtest.analyse.summary import models_of
from loadtest.draw.labels import label_points
from loadtest.draw.style import GREY, Row, caption, figure, looks, save
from loadtest.draw.trials import RINGED, asked, ring, where
from loadtest.experiments.folder import RunFolder

_FLOAT = "D"
_STEPS = [step / 20 for step in range(21)]  # a slanting line as small boxes


def draw(folder: RunFolder, _rows: list[Row]) -> list[str]:
    """Draw both panels; networks without processor time are missing in the second."""
    models = models_of(folder)
    if not models:
        return []
    timed = [row for row in models if row["cpu_ms"] is not None]
    panels = [("answered_hz", "front_hz", models)] + ([("cpu_ms", "front_cpu", timed)] if timed else [])
    drawn, axes = figure(1, len(panels), (5.2 * len(panels), 5.6), sharey=True)
    families = sorted({_family(row) for row in models})
    colours = {name: colour for name, colour, _ in looks(families)}
    for panel, (cost, front, shown) in zip(axes, panels, strict=True):
        _panel(panel, cost, front, shown, colours)
    ring(axes[0], folder, models, [row["answered_hz"] for row in models], [100 * row["top1"] for row in models])
    axes[0].set_xlabel("images a second (more is better)")
    axes[0].set_ylabel("right first answers, %")
    if timed:
        axes[1].set_xlabel("processor time of the workers, ms an image (less is better)")
    handles: list[Artist] = [
        Line2D([], [], color=colours[name], marker="o", linestyle="", label=name) for name in families
    ]
    handles.append(Line2D([], [], color=GREY, marker=_FLOAT, linestyle="", label="float32"))
    handles.append(Line2D([], [], color=GREY, marker="o", markerfacecolor="white", linestyle="", label="beaten"))
    handles.append(Line2D([], [], color=GREY, linestyle="--", label="Pareto front"))
    handles += [one for one, label in zip(*axes[0].get_legend_handles_labels(), strict=True) if label == RINGED]
    drawn.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    text = _caption(folder, models)
    caption(drawn, text)
    for panel, (cost, front, shown) in zip(axes, panels, strict=True):
        _labels(panel, cost, front, shown)
    return [save(drawn, folder.path / "figures", "models", text)]


def _panel(panel: Axes, cost: str, front: str, rows: list[Row], colours: dict[str, str]) -> None:
    best = sorted((row for row in rows if row[front]), key=lambda row: float(row[cost]))
    panel.plot([row[cost] for row in best], [100 * row["top1"] for row in best], color=GREY, linestyle="--", zorder=1)
    for row in rows:
        colour = colours[_family(row)]
        panel.errorbar(
            row[cost],
            100 * row["top1"],
            yerr=[[100 * (row["top1"] - row["top1_low"])], [100 * (row["top1_high"] - row["top1"])]],
            xerr=_half(row, cost),
            color=colour,
            ecolor=colour + "55",
            elinewidth=1.0,
            capsize=0,
            marker=_FLOAT if row["quantisation"] == "float32" else "o",
            markersize=7,
            markerfacecolor=colour if row[front] else "white",
            zorder=3 if row[front] else 2,
        )
    panel.margins(x=0.25)
    if cost == "cpu_ms":
        panel.set_xlim(left=0)


def _labels(panel: Axes, cost: str, front: str, rows: list[Row]) -> None:
    ordered = sorted(rows, key=lambda row: (not row[front], -row["top1"]))
    bars = [((row[cost], 100 * row["top1_low"]), (row[cost], 100 * row["top1_high"])) for row in rows]
    best = sorted((row[cost], 100 * row["top1"]) for row in rows if row[front])
    for (left, low), (right, high) in itertools.pairwise(best):
        steps = [(left + share * (right - left), low + share * (high - low)) for share in _STEPS]
        bars += list(itertools.pairwise(steps))
    points = [(row[cost], 100 * row["top1"]) for row in ordered]
    label_points(panel, [row["model"] for row in ordered], points, bars, fontsize=8)


def _half(row: Row, cost: str) -> float:
    return float(row["answered_ci"] or 0.0) if cost == "answered_hz" else 0.0


def _family(row: Row) -> str:
    return str(row["model"]).partition("-")[0]


def _caption(folder: RunFolder, rows: list[Row]) -> str:
    images = {row["photographs"] for row in rows}
    invalid = sum(row["trials"] - row["valid_trials"] for row in rows)
    return (
        f"{' or '.join(str(count) for count in sorted(images))} labelled photographs, one trial each; bars: Wilson's "
        f"95 % interval. Images a second: closed loop of {rows[0]['in_flight']} requests through the balancer, mean of "
        f"{asked(folder, rows)} trials ({invalid} invalid in all), bars: 95 % t-interval. Processor "
        "time: of the workers over all requests of a network, decoding and HTTP included, divided by their number. "
        "Beaten: another network is better "
        "in one and no worse in the other; within the intervals the order may differ. "
        f"{where(folder, rows, 'share')}; seed {folder.design.seed}."
    )
