"""The report's interactive plots: the numbers behind them as compact JSON, and the part of the page that draws them.

The page asks nobody for anything. It carries the library (uPlot, see page/uplot/README.md), a program and the numbers.
By its policy it runs these programs only and fetches nothing. Without scripts it has its pictures and tables.
"""

import base64
import hashlib
import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from loadtest.analyse.window import response_times, warmup_s
from loadtest.arrays import Floats, Ints
from loadtest.draw.style import COLOURS, Row, halves, log_bars, ms
from loadtest.experiments.cells import Cell
from loadtest.experiments.folder import RunFolder
from loadtest.generate.samples import Sample, Trial

PAGE = Path(__file__).parent / "page"
_STYLES = ("uplot/uPlot.min.css", "plots.css")
_SCRIPTS = ("uplot/uPlot.iife.min.js", "chart.js", "plots.js")
# Of a trial with more requests, this many points are drawn: three for each stretch of its time.
MOST = 300
# Times at which the distribution of a cell stands.
TIMES = 240
# Nothing stands at zero on a logarithmic axis; a request that failed at once stands here.
_LEAST_MS = 0.01
_QUANTITIES = (
    ("answered_hz", "answers a second"),
    ("mean_s", "mean, ms"),
    ("p50_s", "p50, ms"),
    ("p90_s", "p90, ms"),
    ("p99_s", "p99, ms"),
)


def head() -> str:
    """What the page's head needs: the policy and the looks."""
    allowed = " ".join(f"'sha256-{_digest(script)}'" for script in map(_read, _SCRIPTS))
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {allowed}"
    styles = "".join(f"<style>{_read(name)}</style>" for name in _STYLES)
    return f'<meta http-equiv="Content-Security-Policy" content="{policy}">{styles}'


def body(folder: RunFolder, rows: Sequence[Row]) -> str:
    """The section of the plots, which stays hidden until its program has drawn them."""
    numbers = json.dumps(plot_data(folder, rows), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    scripts = "".join(f"<script>{_read(name)}</script>" for name in _SCRIPTS)
    return (
        "<section id=plots hidden><h2>Interactive plots</h2><p>Point at a plot for its values. Drag over a part to "
        "enlarge it; a double click shows the whole again. A button below a plot hides its curve or shows it.</p>"
        "</section>"
        f"<script type=application/json id=plot-data>{inert(numbers)}</script>"
        f"<!--\nuPlot, which follows:\n\n{_read('uplot/LICENSE')}-->{scripts}"
    )


def inert(text: str) -> str:
    """JSON that ends no element of the page that it stands in."""
    return text.replace("<", "\\u003c")


def _read(name: str) -> str:
    return (PAGE / name).read_text(encoding="utf-8")


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def plot_data(folder: RunFolder, rows: Sequence[Row]) -> dict[str, Any]:
    """What the program of the page reads, all times in milliseconds but those since a trial's start, in seconds."""
    valid = {(row["level"], row["cell"]): row["valid_numbers"] for row in rows if not row["image"]}
    requests: list[dict[str, Any]] = []
    times: dict[tuple[str, str], Floats] = {}
    for level in folder.measured_levels():
        for cell, group in itertools.groupby(folder.trials(level), key=lambda one: one[0]):
            trials = [(number, trial) for _, number, trial in group]
            name = {"level": level.id, "cell": cell.id}
            numbers = valid.get((level.id, cell.id), [])
            requests.append(name | _requests(cell, trials, numbers))
            good = [response_times(trial, cell) for number, trial in trials if number in numbers]
            if any(map(len, good)):
                times[level.id, cell.id] = np.sort(1e3 * np.concatenate(good))
    return {"colours": COLOURS, "most": MOST, "spread": _spread(times), "requests": requests, "cells": _cells(rows)}


def _requests(cell: Cell, trials: Sequence[tuple[int, Trial]], valid: Sequence[int]) -> dict[str, Any]:
    shown = []
    for number, trial in trials:
        answered = [one for one in trial.samples if one.ok]
        failed = [one for one in trial.samples if not one.ok]
        counts = {"number": number, "valid": number in valid, "n": len(answered), "failures": len(failed)}
        shown.append(counts | {"answered": _points(answered), "failed": _points(failed)})
    return {"warmup_s": min((warmup_s(trial, cell) for _, trial in trials), default=0.0), "trials": shown}


def _points(samples: Sequence[Sample]) -> list[list[float]]:
    order = sorted(samples, key=lambda one: one.scheduled_s)
    at_s = np.array([one.scheduled_s for one in order])
    took_ms = np.array([max(1e3 * one.response_s, _LEAST_MS) for one in order])
    drawn = thinned(at_s, took_ms)
    return [[round(float(one), 3) for one in at_s[drawn]], [_short(one) for one in took_ms[drawn]]]


def thinned(at_s: Floats, values: Floats, most: int = MOST) -> Ints:
    """Choose the requests of a long trial that are drawn; no extreme of it is left out.

    Its time is cut into most / 3 equal stretches. Of each the fastest, the median and the slowest request are drawn.

    Args:
        at_s: When each was due, shape (n,), ascending.
        values: How long each took, shape (n,).
        most: Where there are no more than this, all are drawn.

    Returns:
        Their indexes, ascending.
    """
    if len(at_s) <= most:
        return np.arange(len(at_s))
    edges = np.linspace(at_s[0], at_s[-1], most // 3 + 1)[1:-1]
    stretch = np.searchsorted(edges, at_s, side="right")
    chosen: set[int] = set()
    for one in np.unique(stretch):
        inside = np.flatnonzero(stretch == one)
        slower = inside[np.argsort(values[inside], kind="stable")]
        chosen.update(int(slower[place]) for place in (0, (len(slower) - 1) // 2, -1))
    return np.array(sorted(chosen))


def _spread(times_ms: dict[tuple[str, str], Floats]) -> dict[str, Any]:
    """How many requests of each cell took longer than each of the same times."""
    if not times_ms:
        return {"ms": [], "curves": []}
    low, high = min(one[0] for one in times_ms.values()), max(one[-1] for one in times_ms.values())
    at = np.unique([_short(one) for one in np.geomspace(max(low, _LEAST_MS), max(high, _LEAST_MS), TIMES)])
    curves = [
        {"level": level, "cell": cell, "n": len(one), "longer": longer(one, at)}
        for (level, cell), one in times_ms.items()
    ]
    return {"ms": at.tolist(), "curves": curves}


def longer(times: Floats, at: Floats) -> list[int]:
    """How many of the ascending times are longer than each of `at`."""
    counts: list[int] = (len(times) - np.searchsorted(times, at, side="right")).tolist()
    return counts


def _cells(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """One plot for the cells with a rate, one for closed loops by the image's side, one by row for the others."""
    known = [(place, row) for place, row in enumerate(rows, start=1) if row["valid_trials"]]
    if not known:
        return []
    rated = [(row["asked_hz"], row) for _, row in known if row["asked_hz"]]
    closed = [row for _, row in known if row["arrivals"] == "closed" and row["images"].endswith("px")]
    sided = [(int(row["images"].removesuffix("px")), row) for row in closed]
    plots = []
    if rated:
        plots.append(_plot("by the rate that was asked", "requests a second, asked", rated))
    if len({side for side, _ in sided}) > 1:
        plots.append(_plot("by the size of the image", "side of the square image, px", sided, log=True))
    else:
        sided = []
    left = [one for one in known if not any(one[1] is row for _, row in [*rated, *sided])]
    if left:
        plots.append(_plot("by row of the table", "row of the table of cells", list(left)))
    return plots


def _plot(title: str, axis: str, placed: Sequence[tuple[float, Row]], *, log: bool = False) -> dict[str, Any]:
    def name(one: tuple[float, Row]) -> str:
        row = one[1]
        loop = [f"{row['in_flight']} in flight"] if row["in_flight"] else []
        loop += [f"every {row['measured_every']}th measured"] if (row["measured_every"] or 1) > 1 else []
        images = f"{row['image']} of {row['images']}" if row["image"] else row["images"]
        return ", ".join([row["level"], row["arrivals"], *loop, *([] if log else [images])])

    quantities = [
        {"key": key, "label": label} for key, label in _QUANTITIES if any(row[key] is not None for _, row in placed)
    ]
    series = []
    for label, group in itertools.groupby(sorted(placed, key=lambda one: (name(one), one[0])), key=name):
        own = list(group)
        values = {one["key"]: [_interval(row, one["key"]) for _, row in own] for one in quantities}
        cells = [row["cell"] for _, row in own]
        series.append({"label": label, "x": [_short(place) for place, _ in own], "cells": cells, "values": values})
    return {"title": title, "axis": {"label": axis, "log": log}, "quantities": quantities, "series": series}


def _interval(row: Row, key: str) -> list[float | None] | None:
    """A value with both ends of its interval, of a time that of the logarithm, as in the figures.

    Both ends are None where there is no interval, as of a single trial.
    """
    if row[key] is None:
        return None
    if key.endswith("_s"):
        value = ms(row[key])
        (below,), (above,) = log_bars([row], key.removesuffix("_s"))
    else:
        value = row[key]
        (below,) = (above,) = halves([row], f"{key.removesuffix('_hz')}_ci")
    return [_short(value), *(None if math.isnan(end) else _short(end) for end in (value - below, value + above))]


def _short(value: float) -> float:
    return float(f"{value:.4g}")
