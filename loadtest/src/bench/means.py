"""Means and medians over rounds, their intervals, and ratios of trials of the same round."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from bench.trials import Run, Trial
from loadtest.analyse.statistics import CONFIDENCE, t_interval

_LEAST_ROUNDS = 3


class Mean(NamedTuple):
    """A mean or a median over rounds, and the bounds of its 95 % interval; NaN where there are too few rounds."""

    value: float
    low: float
    high: float

    def text(self, digits: int = 0) -> str:
        """Write it with its interval; a dash where there is none."""
        if math.isnan(self.value):
            return "–"
        interval = "" if math.isnan(self.low) else f" ({self.low:.{digits}f} to {self.high:.{digits}f})"
        return f"{self.value:.{digits}f}{interval}"


def mean(values: Sequence[float]) -> Mean:
    """Return the geometric mean of one value a round, and its interval.

    Rates, times and their ratios are above 0 and differ by factors, so the interval is of their logarithms. Where one
    is 0 or endless, a system answered nothing or failed: there is no mean.
    """
    if not values or not all(0 < value < math.inf for value in values):
        return Mean(math.nan, math.nan, math.nan)
    middle, half = t_interval([math.log(value) for value in values])
    assert middle is not None
    if half is None or len(values) < _LEAST_ROUNDS:
        return Mean(math.exp(middle), math.nan, math.nan)
    return Mean(math.exp(middle), math.exp(middle - half), math.exp(middle + half))


def median(values: Sequence[float]) -> Mean:
    """Return the median and the interval between two of the values that covers it with 95 % or more.

    Whatever the values' distribution, each is below its median with probability 1/2, so how many are is binomial. Below
    six values no such interval exists.
    """
    ordered, count = sorted(values), len(values)
    middle = (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
    tail, rank = 0.0, -1
    while (tail := tail + math.comb(count, rank + 1) / 2**count) <= (1 - CONFIDENCE) / 2:
        rank += 1
    if rank < 0:
        return Mean(middle, math.nan, math.nan)
    return Mean(middle, ordered[rank], ordered[count - 1 - rank])


def difference(values: Sequence[float]) -> Mean:
    """Return the mean of one difference a round, and its interval; NaN where a round has none."""
    middle, half = t_interval(values)
    if middle is None or half is None or len(values) < _LEAST_ROUNDS:
        return Mean(math.nan if middle is None else middle, math.nan, math.nan)
    return Mean(middle, middle - half, middle + half)


def of(run: Run, system: str, load: str, value: Callable[[Trial], float]) -> Mean:
    """Return the mean of a value of a system's trials under a load."""
    return mean([value(trial) for trial in run.of(system, load)])


def ratio(run: Run, one: str, other: str, load: str, value: Callable[[Trial], float]) -> Mean:
    """Return the mean over the rounds of one system's value over the other's of the same round."""
    pairs = [(value(first), value(second)) for first, second in run.pairs(one, other, load)]
    return mean([_over(first, second) for first, second in pairs])


def _over(first: float, second: float) -> float:
    return first / second if math.isfinite(first) and 0 < second < math.inf else math.nan
