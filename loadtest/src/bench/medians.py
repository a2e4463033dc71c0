"""Medians over rounds, their intervals, and ratios of trials of the same round."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import NamedTuple

from bench.trials import Run, Trial
from loadtest.analyse.statistics import t_interval


class Median(NamedTuple):
    """A median over rounds, and the bounds of the 95 % t-interval of the geometric mean; NaN below three rounds."""

    value: float
    low: float
    high: float

    def text(self, digits: int = 0) -> str:
        """Write it with its interval."""
        interval = "" if math.isnan(self.low) else f" ({self.low:.{digits}f} to {self.high:.{digits}f})"
        return f"{self.value:.{digits}f}{interval}"


def median(values: Sequence[float]) -> Median:
    """Return the median of one value a round, and its interval.

    Rates, times and their ratios are above 0 and differ by factors, so the interval is of their logarithms.
    """
    if not values:
        return Median(math.nan, math.nan, math.nan)
    mean, half = (
        t_interval([math.log(value) for value in values]) if len(values) >= 3 and min(values) > 0 else (None, None)
    )
    if mean is None or half is None:
        return Median(statistics.median(values), math.nan, math.nan)
    return Median(statistics.median(values), math.exp(mean - half), math.exp(mean + half))


def of(run: Run, system: str, load: str, value: Callable[[Trial], float]) -> Median:
    """Return the median of a value of a system's trials under a load."""
    return median([value(trial) for trial in run.of(system, load)])


def ratio(run: Run, one: str, other: str, load: str, value: Callable[[Trial], float]) -> Median:
    """Return the median over the rounds of one system's value over the other's of the same round."""
    pairs = zip(run.of(one, load), run.of(other, load), strict=True)
    return median([value(first) / value(second) for first, second in pairs])
