"""What a pool that follows its load refused, lost and cost, trial by trial."""

from collections.abc import Sequence
from typing import Any

from loadtest.analyse.statistics import t_interval
from loadtest.analyse.window import kept, length_s, warmup_s
from loadtest.experiments.cells import Cell
from loadtest.experiments.design import Design
from loadtest.generate.samples import Trial

REFUSED = (429, 503)
# Seconds since the load began, workers that serve, workers that are awake.
Seen = Sequence[tuple[float, int, int]]


def is_watched(design: Design) -> bool:
    """Whether a design's trials count their workers."""
    return any(level.workers_awake is not None for level in design.levels)


def pool_of(trial: Trial) -> Seen:
    """What the autoscaler said each second of a trial; empty where it was not asked."""
    return [(float(at_s), int(serving), int(awake)) for at_s, serving, awake in (trial.footer or {}).get("pool") or []]


def worker_seconds(seen: Seen, begin_s: float, end_s: float) -> float | None:
    """Seconds for which workers were awake, added up over all of them; None where nobody counted.

    Args:
        seen: What was seen; it holds until the next look, and the first look for what was before.
        begin_s: From then on, in seconds since the load began.
        end_s: Until then.
    """
    if not seen:
        return None
    starts_s = [begin_s, *(at_s for at_s, _, _ in seen[1:])]
    ends_s = [*starts_s[1:], end_s]
    return sum(
        awake * max(0.0, min(until_s, end_s) - max(since_s, begin_s))
        for (_, _, awake), since_s, until_s in zip(seen, starts_s, ends_s, strict=True)
    )


def trial_columns(trial: Trial, cell: Cell, image: str) -> dict[str, Any]:
    """Columns of a trial: requests `refused` with 429 or 503, requests `lost` otherwise, `worker_s`."""
    failed = [one for one in kept(trial, cell, image) if not one.ok]
    refused = sum(one.status in REFUSED for one in failed)
    return {
        "refused": refused,
        "lost": len(failed) - refused,
        "worker_s": worker_seconds(pool_of(trial), warmup_s(trial, cell), length_s(trial)),
    }


def cell_columns(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Columns of a cell from those of its valid trials: sums, and the mean of worker_s with its 95 % t-interval."""
    columns = {key: sum(row[key] for row in rows) for key in ("refused", "lost")}
    columns["worker_s"], columns["worker_ci"] = t_interval(
        [row["worker_s"] for row in rows if row["worker_s"] is not None]
    )
    return columns
