"""What each network costs and buys: one row for each level of a run that names its model."""

import json
from collections.abc import Sequence
from typing import Any

from loadtest.errors import LoadtestError
from loadtest.experiments.cells import Level
from loadtest.experiments.folder import RunFolder

Row = dict[str, Any]
_ACCURACY = ("top1", "top1_low", "top1_high", "top5", "top5_low", "top5_high")


def model_rows(folder: RunFolder, cells: Sequence[Row]) -> list[Row]:
    """Join what the cells of each level say of its model, fastest first.

    Accuracy comes from the cell that sends every labelled photograph, throughput from the closed loop with most
    requests in flight. A level that lacks one of them is left out.

    Returns:
        Rows with `answered_hz` in images a second, `cpu_ms` in milliseconds of the workers' processor time an image
        (None where it was not read), `size_mb` in megabytes of 10⁶ bytes, and whether no other network is better in
        accuracy and in throughput (`front_hz`), or in accuracy and in processor time (`front_cpu`).

    Raises:
        LoadtestError: A level's record is broken.
    """
    rows = []
    for level in folder.measured_levels():
        own = [row for row in cells if row["level"] == level.id and row["valid_trials"] and not row["image"]]
        accurate = [row for row in own if row["top1"] is not None]
        saturated = [row for row in own if row["arrivals"] == "closed" and row["top1"] is None]
        if level.model is not None and accurate and saturated:
            busiest = max(saturated, key=lambda row: int(row["in_flight"]))
            rows.append(_row(folder, level, accurate[0], busiest))
    rows.sort(key=lambda row: (-row["answered_hz"], row["model"]))
    for front, cost in (("front_hz", "answered_hz"), ("front_cpu", "cpu_ms")):
        sign = 1 if cost == "answered_hz" else -1
        points = [None if row[cost] is None else (row["top1"], sign * row[cost]) for row in rows]
        best = pareto([point for point in points if point is not None])
        for row, point in zip(rows, points, strict=True):
            row[front] = point in best
    return rows


def pareto(points: Sequence[tuple[float, float]]) -> set[tuple[float, float]]:
    """The points that no other point beats in one coordinate without losing in the other; more is better in both."""
    return {
        one for one in points if not any(other[0] >= one[0] and other[1] >= one[1] and other != one for other in points)
    }


def _row(folder: RunFolder, level: Level, accurate: Row, busiest: Row) -> Row:
    record = folder.read_level(level)
    assert record is not None
    served, deployed = record["version"]["model"], record["facts"].get("model") or {}
    cpu_s, answers = _processor_time(folder, level)
    row: Row = {"level": level.id, "model": level.model}
    row |= {key: served.get(key) for key in ("version", "digest", "title", "input_size", "quantisation")}
    row["source"] = deployed.get("source")
    row["size_mb"] = deployed["bytes"] / 1e6 if "bytes" in deployed else None
    row["photographs"] = accurate["labelled"]
    row |= {key: accurate[key] for key in _ACCURACY}
    row["alone_s"] = accurate["mean_s"]
    row |= {key: busiest[key] for key in ("in_flight", "trials", "valid_trials", "answered_hz", "answered_ci")}
    row["cpu_ms"] = 1e3 * cpu_s / answers if answers else None
    row["cpu_answers"] = answers
    return row


def _processor_time(folder: RunFolder, level: Level) -> tuple[float, int]:
    """Seconds of processor time that the workers used over a level, and the photographs that they classified in it."""
    path = folder.path / "cpu" / f"{level.id}.json"
    if not path.exists():
        return 0.0, 0
    try:
        workers = json.loads(path.read_text(encoding="utf-8")).values()
        spent = [one["after"]["cpu_s"] - one["before"]["cpu_s"] for one in workers]
        answered = [one["after"]["answers"] - one["before"]["answers"] for one in workers]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LoadtestError(f"cannot read {path} ({error}); remove it, and the run has no processor time") from error
    return float(sum(spent)), int(sum(answered))
