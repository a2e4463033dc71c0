"""Which of a trial's samples count: those after its warm-up, and until it was ended."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from loadtest.arrays import Floats
from loadtest.experiments.cells import Cell
from loadtest.generate.samples import Sample, Trial


def ending(trial: Trial) -> dict[str, Any]:
    """How a trial ended whose design asks for a precision; empty where it asks for none, or the trial is not whole."""
    return dict((trial.footer or {}).get("precision") or {})


def warmup_s(trial: Trial, cell: Cell) -> float:
    """When the warm-up ends, in seconds since the trial's start: as the cell says, or later where MSER-5 cut more."""
    return max(cell.warmup_s, float(ending(trial).get("cut_s") or 0.0))


def length_s(trial: Trial) -> float:
    """How long requests were sent, in seconds."""
    footer = trial.footer or {}
    return float(ending(trial).get("ended_s") or trial.header.get("duration_s") or footer.get("wall_s") or 0.0)


def spans(trials: Sequence[Trial], cell: Cell, rate_hz: float) -> list[tuple[float, float]]:
    """Of each trial how long it sent, and its warm-up, in seconds; as the cell says where there is no trial."""
    return [(length_s(trial), warmup_s(trial, cell)) for trial in trials] or [(cell.length_s(rate_hz), cell.warmup_s)]


def kept(trial: Trial, cell: Cell, image: str = "") -> list[Sample]:
    """Samples after the warm-up, of one image where it is named."""
    begin_s = warmup_s(trial, cell)
    return [one for one in trial.samples if one.scheduled_s >= begin_s and (not image or one.image == image)]


def response_times(trial: Trial, cell: Cell, image: str = "") -> Floats:
    """Response times of the answered requests that count, in seconds, shape (n,)."""
    return np.array([one.response_s for one in kept(trial, cell, image) if one.ok])


def measured_by_original(cell: Cell, samples: Sequence[Sample]) -> list[float]:
    """Response times that the original's scripts would have measured: every k-th request."""
    if cell.measured_every is None:
        return []
    every = cell.measured_every
    return [one.response_s for one in samples if one.seq % every == every - 1]


def answered_hz(trial: Trial, cell: Cell, image: str = "") -> float:
    """Answers a second between the end of the warm-up and that of the trial, to requests due whenever: goodput."""
    begin_s, until_s = warmup_s(trial, cell), length_s(trial)
    answers = [one for one in trial.samples if one.ok and (not image or one.image == image)]
    return sum(begin_s <= one.done_s <= until_s for one in answers) / max(until_s - begin_s, 1e-9)
