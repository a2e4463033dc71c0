"""Arrival laws: when requests are to be sent, independent of how the service answers.

Every law is an iterator over send offsets in seconds from the start of a trial, in ascending order. The laws are
pure: the same arguments and the same generator state give the same offsets.
"""

from collections.abc import Iterator

import numpy as np

from loadtest.errors import LoadtestError

_BLOCK = 1024


def poisson(rate_hz: float, duration_s: float, rng: np.random.Generator) -> Iterator[float]:
    """Yield send offsets in seconds: exponential gaps, none at or after duration_s.

    Args:
        rate_hz: Mean number of arrivals a second, above 0.
        duration_s: Length of the trial in seconds.
        rng: Source of the gaps.

    Raises:
        LoadtestError: rate_hz or duration_s is not above 0.
    """
    _check(rate_hz, duration_s)
    return _until(duration_s, _exponential_gaps(rate_hz, rng))


def constant(rate_hz: float, duration_s: float) -> Iterator[float]:
    """Yield offsets 0, 1/rate_hz, 2/rate_hz, … seconds, none at or after duration_s.

    Raises:
        LoadtestError: rate_hz or duration_s is not above 0.
    """
    _check(rate_hz, duration_s)
    return _every(1.0 / rate_hz, duration_s)


def jittered(rate_hz: float, duration_s: float, rng: np.random.Generator, jitter: float = 0.5) -> Iterator[float]:
    """Yield offsets whose gaps are uniform on (1 ± jitter)/rate_hz, none at or after duration_s.

    Args:
        rate_hz: Mean number of arrivals a second, above 0.
        duration_s: Length of the trial in seconds.
        rng: Source of the gaps.
        jitter: Half-width of the gap's range as a share of its mean, 0 to 1.

    Raises:
        LoadtestError: rate_hz or duration_s is not above 0.
    """
    _check(rate_hz, duration_s)
    return _until(duration_s, _uniform_gaps(rate_hz, jitter, rng))


def original_pauses(mean_interval_s: float, rng: np.random.RandomState) -> Iterator[int]:
    """Yield the original's pauses without end: Poisson *counts* of mean mean_interval_s, slept as whole seconds.

    The original meant exponential gaps. What it drew is an integer: at 0.5 s, 61 % of the pauses are zero and the
    rest 1, 2, … s, so requests leave in batches. It is kept, exactly so, to show what that does to a result; it uses
    numpy's legacy generator because `np.random.poisson` does.
    """
    while True:
        yield int(rng.poisson(mean_interval_s))


def _check(rate_hz: float, duration_s: float) -> None:
    if not 0 < rate_hz < float("inf"):
        raise LoadtestError(f"the rate is {rate_hz} requests/s; give a finite number above 0")
    if not 0 < duration_s < float("inf"):
        raise LoadtestError(f"the duration is {duration_s} s; give a finite number above 0")


def _until(duration_s: float, gaps: Iterator[float]) -> Iterator[float]:
    offset = 0.0
    for gap in gaps:
        offset += gap
        if offset >= duration_s:
            return
        yield offset


def _every(gap_s: float, duration_s: float) -> Iterator[float]:
    number = 0
    while (offset := number * gap_s) < duration_s:
        yield offset
        number += 1


def _exponential_gaps(rate_hz: float, rng: np.random.Generator) -> Iterator[float]:
    while True:
        yield from rng.exponential(1.0 / rate_hz, _BLOCK).tolist()


def _uniform_gaps(rate_hz: float, jitter: float, rng: np.random.Generator) -> Iterator[float]:
    while True:
        yield from rng.uniform((1 - jitter) / rate_hz, (1 + jitter) / rate_hz, _BLOCK).tolist()
