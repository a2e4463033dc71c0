"""Put a label beside each point of a panel where it covers as little as possible."""

import itertools
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

# Where a label may go: sides of its point in the order they are tried, then how far away, in points of 1/72 inch.
_SIDES = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))
_DISTANCES = (7, 14, 22, 34, 48)
# How much worse it is to cover a point or another label than a bar.
_WORSE = 10.0
_ALIGNMENT = {1: "left", 0: "center", -1: "right"}
_VERTICAL = {1: "bottom", 0: "center", -1: "top"}


def label_points(
    panel: Axes,
    names: Sequence[str],
    points: Sequence[tuple[float, float]],
    taken: Sequence[tuple[tuple[float, float], tuple[float, float]]],
    **look: object,
) -> None:
    """Label points; a label that had to go further away gets a thin line to its point.

    Args:
        panel: The axes, with their final limits.
        names: The labels.
        points: Where they belong, in data units.
        taken: Pairs of corners, in data units, of what no label should cover, such as the bars of intervals.
        look: How `Axes.annotate` writes them.
    """
    drawn = panel.get_figure(root=True)
    assert drawn is not None
    drawn.draw_without_rendering()
    pixels = panel.transData.transform
    pad = 3.0 * drawn.dpi / 72
    bars = [Bbox.null().union([Bbox([pixels(one), pixels(one)]) for one in pair]).padded(1.0) for pair in taken]
    used = [Bbox([pixels(point), pixels(point)]).padded(pad) for point in points]
    frame = panel.get_window_extent()
    for name, point in zip(names, points, strict=True):
        choices: list[tuple[float, int, Annotation, Bbox]] = []
        for distance, (across, up) in itertools.product(_DISTANCES, _SIDES):
            text = panel.annotate(
                name,
                point,
                (across * distance, up * distance),
                textcoords="offset points",
                ha=_ALIGNMENT[across],
                va=_VERTICAL[up],
                arrowprops=None if distance == _DISTANCES[0] else {"arrowstyle": "-", "lw": 0.5, "color": "#777777"},
                **look,  # type: ignore[arg-type]
            )
            text.set_in_layout(False)
            box = text.get_window_extent()
            covered = sum(_common(box, bar) for bar in bars) + _WORSE * sum(_common(box, other) for other in used)
            outside = box.width * box.height - _common(box, frame)
            choices.append((covered + 4 * outside, len(choices), text, box))
            if not covered and not outside:  # no place that is tried later is better
                break
        best = min(choices, key=lambda choice: choice[:2])
        for _, _, text, _ in choices:
            if text is not best[2]:
                text.remove()
        used.append(best[3].padded(1.0))


def _common(one: Bbox, other: Bbox) -> float:
    both = Bbox.intersection(one, other)
    return 0.0 if both is None else float(both.width * both.height)
