"""The load of a cell, or of a calibration: which loop of the generator sends it, and when."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from loadtest.errors import LoadtestError
from loadtest.experiments.calibration import BUSY_LOAD, IDLE_LOAD, IDLE_MOST_S, Capacity
from loadtest.experiments.cells import Cell
from loadtest.generate import arrivals, shapes
from loadtest.generate.limits import Limits, in_the_way
from loadtest.generate.recording import Load
from loadtest.generate.traces import Trace, read_trace


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
        trace = trace_of(cell, traces)
        return lambda runner: runner.open_loop(trace.offsets_s)
    assert rate_hz is not None
    assert length_s is not None
    if cell.arrivals == "constant":
        offsets = arrivals.constant(rate_hz, length_s)
    elif shape := shape_of(cell, rate_hz, length_s):
        offsets = shapes.varying(shape, length_s, rng)
    elif cell.arrivals == "jittered":
        offsets = arrivals.jittered(rate_hz, length_s, rng, 0.5 if cell.jitter is None else cell.jitter)
    else:
        offsets = arrivals.poisson(rate_hz, length_s, rng)
    return lambda runner: runner.open_loop(offsets)


def trace_of(cell: Cell, traces: Path) -> Trace:
    """The recorded arrivals that a cell sends, as far as its trial lasts.

    Raises:
        LoadtestError: The run's copy is not the one that it was begun with.
    """
    assert cell.trace is not None
    path = traces / cell.trace
    trace = read_trace(path)
    if hashlib.sha256(path.read_bytes()).hexdigest() != cell.trace_digest:
        raise LoadtestError(f"{path} is not the trace that the run was begun with; begin a new run")
    return trace.until(cell.duration_s)


def shape_of(cell: Cell, rate_hz: float, length_s: float) -> shapes.Shape | None:
    """How the rate of a cell changes within its trial; None where it does not."""
    if cell.arrivals == "sine":
        assert cell.amplitude is not None
        assert cell.period_s is not None
        return shapes.Sine(rate_hz, cell.amplitude, cell.period_s)
    if cell.arrivals not in ("step", "ramp"):
        return None
    assert cell.factor is not None
    at_s = cell.at_s or 0.0
    until_s = length_s if cell.until_s is None else cell.until_s
    return (shapes.Step if cell.arrivals == "step" else shapes.Ramp)(rate_hz, cell.factor, at_s, until_s)


def mean_rate(cell: Cell, rate_hz: float, length_s: float) -> float:
    """Requests a second to expect over a whole trial of a cell whose rate is rate_hz where nothing changes it."""
    shape = shape_of(cell, rate_hz, length_s)
    return rate_hz if shape is None else shape.expected(length_s) / length_s


def warnings_ahead(cells: Iterable[Cell], capacities: Mapping[str, Capacity], limits: Limits | None) -> list[str]:
    """Say which cells will measure nothing at this capacity, and of which the balancer will refuse requests."""
    found = []
    for cell in cells:
        capacity = capacities.get(cell.images_id)
        rate_hz = cell.rate(capacity.capacity_hz if capacity else None) if cell.open_loop else None
        if rate_hz is not None:
            length_s = cell.length_s(rate_hz)
            if cell.warmup_s >= length_s:
                found.append(f"{cell.id}: warmup_s leaves nothing of the {length_s:.2g} s that a trial lasts here")
            shape = shape_of(cell, rate_hz, length_s)
            rate_hz = shape.highest_hz if shape else rate_hz
        if reason := in_the_way(limits, rate_hz, cell.in_flight):
            found.append(f"{cell.id}: {reason}")
    return found


def legacy_seed(seed: np.random.SeedSequence) -> int:
    """A seed for numpy's older generator."""
    return int(seed.generate_state(1)[0])


def closed_loops(settings: Mapping[str, Any], workers: int) -> dict[str, Load]:
    """The two closed loops of a calibration, by kind: one user, and users that leave no worker without a queue."""
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
