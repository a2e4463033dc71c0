"""The load of a cell: which loop of the generator sends it, and when."""

import hashlib
from pathlib import Path

import numpy as np

from loadtest.errors import LoadtestError
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
