"""The load of a cell, or of a calibration: which loop of the generator sends it, and when."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from loadtest.errors import LoadtestError
from loadtest.experiments.calibration import BUSY_LOAD, IDLE_LOAD, IDLE_MOST_S
from loadtest.experiments.cells import Cell
from loadtest.generate import arrivals
from loadtest.generate.recording import Load


def load_of(
    cell: Cell,
    traces: Path,
    *,
    rate_hz: float | None,
    length_s: float | None,
    rng: np.random.Generator,
    legacy: np.random.RandomState,
) -> Load:
    """Return what makes a runner send a cell's load.

    Args:
        cell: The cell.
        traces: Folder of the run's traces.
        rate_hz: Requests a second, where the arrivals have a rate.
        length_s: How long the arrivals go on, where they have a rate, in seconds.
        rng: Of the arrivals.
        legacy: Of the original's pauses, which came from numpy's older generator.

    Raises:
        LoadtestError: The run's copy of the trace is not the one that it was begun with.
    """
    if cell.arrivals == "closed":
        assert cell.in_flight is not None
        users, requests = cell.in_flight, cell.requests
        # each image once: the stream of images ends the loop
        endless = None if requests is not None or cell.duration_s is not None else 10**9
        return lambda runner: runner.closed_loop(users, requests=requests or endless, duration_s=cell.duration_s)
    if cell.arrivals == "original":
        assert cell.interval_s is not None
        assert cell.requests is not None
        assert cell.measured_every is not None
        pauses, count, every = arrivals.original_pauses(cell.interval_s, legacy), cell.requests, cell.measured_every
        return lambda runner: runner.original_loop(pauses, count, every)
    if cell.arrivals == "trace":
        assert cell.trace is not None
        offsets = arrivals.trace(traces / cell.trace, cell.duration_s)
        if hashlib.sha256((traces / cell.trace).read_bytes()).hexdigest() != cell.trace_digest:
            raise LoadtestError(f"{traces / cell.trace} is not the trace that the run was begun with; begin a new run")
    else:
        assert rate_hz is not None
        assert length_s is not None
        if cell.arrivals == "constant":
            offsets = arrivals.constant(rate_hz, length_s)
        elif cell.arrivals == "jittered":
            offsets = arrivals.jittered(rate_hz, length_s, rng, 0.5 if cell.jitter is None else cell.jitter)
        else:
            offsets = arrivals.poisson(rate_hz, length_s, rng)
    return lambda runner: runner.open_loop(offsets)


def legacy_seed(seed: np.random.SeedSequence) -> int:
    """A seed for numpy's older generator."""
    return int(seed.generate_state(1)[0])


def closed_loops(settings: Mapping[str, Any], workers: int) -> dict[str, Load]:
    """The two closed loops of a calibration, by kind: one user, and users that leave no worker without a queue.

    Args:
        settings: A design's calibration.
        workers: How many there are.
    """
    users = settings["in_flight_per_worker"] * workers
    return {
        "unloaded": lambda runner: runner.closed_loop(1, requests=settings["unloaded_requests"]),
        "saturated": lambda runner: runner.closed_loop(users, duration_s=settings["saturated_s"]),
    }


def open_loops(settings: Mapping[str, Any], capacity_hz: float) -> dict[str, Load]:
    """The two open loops of a calibration, by kind: workers that are idle, and busy ones; empty where there are none.

    Args:
        settings: A design's calibration; that of an earlier run has no open loops.
        capacity_hz: Answers a second, as the closed loops found it.
    """
    requests, busy_s = settings.get("idle_requests", 0), settings.get("busy_s", 0)
    if not requests or not busy_s:
        return {}
    idle_s = min(IDLE_MOST_S, requests / (IDLE_LOAD * capacity_hz))

    def poisson(load: float, length_s: float) -> Load:
        return lambda runner: runner.open_loop(arrivals.poisson(load * capacity_hz, length_s, np.random.default_rng(1)))

    return {"idle": poisson(IDLE_LOAD, idle_s), "busy": poisson(BUSY_LOAD, busy_s)}
