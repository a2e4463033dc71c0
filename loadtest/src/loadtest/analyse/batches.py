"""What batches cost and buy: how long runs take, and what a server that takes several at once makes of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from loadtest.analyse.theory.batches import batch_response, simulate_batches
from loadtest.experiments.cells import Level
from loadtest.experiments.folder import RunFolder

Row = dict[str, Any]
_SIMULATED = 100_000


@dataclass(frozen=True, slots=True)
class Runs:
    """How long a worker needs for so many photographs at once.

    Attributes:
        seconds: For 1, 2, … of them, with all else that they cost a process.
        outside_s: What an answer takes besides: network, balancer.
    """

    seconds: tuple[float, ...]
    outside_s: float


def servers_of(folder: RunFolder, rows: Sequence[Row]) -> list[tuple[int, int]]:
    """Workers, and processes of each, where one photograph is taken at a time; empty where that was not calibrated."""
    found: set[tuple[int, int]] = set()
    for row in rows:
        if (row.get("batch") or 1) == 1:
            record = folder.read_level(folder.design.level(row["level"])) or {}
            found |= {(len(facts["workers"]), facts["processes"]) for facts in record.get("capacity", {}).values()}
    return sorted(found)


def runs_of(folder: RunFolder, rows: Sequence[Row]) -> Runs | None:
    """Find how long runs take, from the closed loops of the settings without a window; None where there are none.

    Each loop has enough users to fill every run, so a run of b takes b ÷ (answers a second). Numbers between the
    measured ones are interpolated. What is outside is an unloaded answer less a run of one.
    Of several processes it says nothing: their answers are closer together than one of them runs.
    """
    if servers_of(folder, rows) != [(1, 1)]:
        return None
    measured: dict[int, float] = {}
    unloaded_s: float | None = None
    for row in rows:
        if row["arrivals"] != "closed" or row.get("batch_window_ms") or not row["answered_hz"]:
            continue
        most = row.get("batch") or 1
        measured[most] = most / row["answered_hz"]
        if most == 1:
            unloaded_s = _unloaded_s(folder, folder.design.level(row["level"]))
    if 1 not in measured or unloaded_s is None:
        return None
    known = sorted(measured)
    between = np.interp(np.arange(1, known[-1] + 1), known, [measured[most] for most in known])
    return Runs(tuple(float(one) for one in between), unloaded_s - measured[1])


def predicted(runs: Runs, row: Row, seed: int) -> tuple[float, float] | None:
    """Mean and p99 of a cell of Poisson arrivals, in seconds; None where the worker cannot keep up.

    The mean is that of theory where no run waits; a simulation of 100,000 requests gives the others.
    """
    rate_hz, most, window_s = row["asked_hz"], row.get("batch") or 1, (row.get("batch_window_ms") or 0.0) / 1000
    took_s = runs.seconds[:most]
    if most > len(runs.seconds) or rate_hz * took_s[-1] >= most:
        return None
    window_s = window_s if most > 1 else 0.0
    gaps = np.random.default_rng(seed).exponential(1 / rate_hz, _SIMULATED)
    simulated = simulate_batches(np.cumsum(gaps), took_s, window_s) + runs.outside_s
    mean_s = float(simulated.mean()) if window_s else batch_response(rate_hz, took_s) + runs.outside_s
    return mean_s, float(np.quantile(simulated, 0.99))


def _unloaded_s(folder: RunFolder, level: Level) -> float | None:
    record = folder.read_level(level) or {}
    found = [facts["unloaded_response_s"] for facts in record.get("capacity", {}).values()]
    return float(found[0]) if found else None
