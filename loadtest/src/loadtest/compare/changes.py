"""How much two runs differ in one metric, from pairs of trials that saw the same arrivals."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from loadtest.arrays import Floats
from loadtest.experiments.precision import least_for

# The least p-value is one of these; after Holm's correction of 250 tests, 5000 could find nothing.
RESAMPLES = 50_000
# How far the ratio of two calibrations of one deployment strays: standard deviation of its logarithm. Three recorded
# runs of four equal workers on three days have 197.2, 203.2 and 204.8 answers a second, whose logarithms have 0.020;
# a ratio has √2 times as much, 0.028.
CALIBRATIONS_STRAY = 0.03
# Of two pairs every resample that has an error of its own is the sample itself: any difference would be significant.
LEAST_PAIRS = 3
_CONFIDENCE = 0.95
_BLOCKS = 20


@dataclass(frozen=True, slots=True)
class Effect:
    """The change of a metric as a ratio, second ÷ first.

    Attributes:
        ratio: Estimate.
        low: Lower end of its 95 % interval.
        high: Upper end.
        p: Probability of a change as large where there is none, before any correction.
    """

    ratio: float
    low: float
    high: float
    p: float


def of_means(before: Sequence[Floats], after: Sequence[Floats]) -> Floats:
    """Logarithms of the ratios of the means, one a pair of trials; both runs have the same order of seeds."""
    return np.array([math.log(b.mean() / a.mean()) for a, b in zip(before, after, strict=True)])


def of_quantiles(before: Sequence[Floats], after: Sequence[Floats], share: float) -> Floats | None:
    """Logarithms of the ratios of a quantile of each trial, one a pair of trials.

    A trial's own is biased where it has fewer requests than the quantile needs, but in both runs alike. All requests
    of a run together must be as many as it needs, and one in each trial must lie beyond it; else None.
    """
    if min(sum(map(len, trials)) for trials in (before, after)) < least_for(share):
        return None
    if min(map(len, (*before, *after))) < 1 / (1 - share):
        return None
    return np.array(
        [math.log(np.quantile(b, share) / np.quantile(a, share)) for a, b in zip(before, after, strict=True)]
    )


def of_rates(before: Sequence[float], after: Sequence[float], resolution: float) -> Floats:
    """Logarithms of the ratios of rates, one a pair of trials.

    Where one trial of a pair had no answer, half an answer is taken for it; two without one are equal.

    Args:
        before: Answers a second of the first run's trials.
        after: Those of the second's.
        resolution: One answer, as a share of those of a trial.
    """
    rates = np.array([before, after], dtype=float)
    most = rates.max(axis=0)
    first, second = np.maximum(rates, np.where(most > 0, most * resolution / 2, 1.0))
    logs: Floats = np.log(second / first)
    return logs


def effect(
    cells: Sequence[Floats], rng: np.random.Generator, resamples: int = RESAMPLES, *, resolution: float = 0.0
) -> Effect | None:
    """Bootstrap the mean of logarithms of ratios, studentised: each resample is measured by its own error.

    With five pairs the plain percentiles would be too narrow (Efron and Tibshirani 1993, chapter 12). Pairs are drawn
    within their cell, so that cells which change unlike do not widen the interval of their mean. Three or four pairs
    have so few resamples that a p-value is either large or nearly 0, which no correction mends. So Student's p-value
    and interval count where they are larger (of several cells with Welch's degrees of freedom).

    Args:
        cells: Of each cell one logarithm a pair of trials, shape (n,).
        rng: Source of the resamples.
        resamples: How many.
        resolution: What one value cannot be told from another by; a count of 500 has 1/500.

    Returns:
        The change, the mean of the cells' means; None where a cell has fewer than LEAST_PAIRS pairs.
    """
    if not cells or min(map(len, cells)) < LEAST_PAIRS:
        return None
    mean, error = (float(one[0]) for one in _mean_and_error([logs[None] for logs in cells], resolution))
    if error <= 1e-12:  # equal to the last bit but for rounding
        return Effect(
            math.exp(mean), math.exp(mean), math.exp(mean), 1.0 if abs(mean) <= 1e-12 else 1 / (resamples + 1)
        )
    drawn = (logs[rng.integers(0, len(logs), (resamples, len(logs)))] for logs in cells)
    means, errors = _mean_and_error(drawn, resolution)
    # a resample of one pair alone has no error to be measured by
    usable = errors > 1e-9 * error
    if not usable.any():
        return None
    away = np.abs(means - mean)[usable] / errors[usable]
    p = float(1 + np.count_nonzero(away >= abs(mean) / error)) / (len(away) + 1)
    freedom = _freedom(cells, resolution)
    p = max(p, 2 * float(stdtr(freedom, -abs(mean) / error)))
    half = max(float(np.quantile(away, _CONFIDENCE)), float(stdtrit(freedom, 0.5 + _CONFIDENCE / 2))) * error
    return Effect(math.exp(mean), math.exp(mean - half), math.exp(mean + half), p)


def _freedom(cells: Sequence[Floats], resolution: float) -> float:
    """Degrees of freedom of the error of the mean of the cells' means (Welch 1947)."""
    variances = [(float(logs.var(ddof=1)) + resolution**2) / len(logs) for logs in cells]
    return sum(variances) ** 2 / sum(one**2 / (len(logs) - 1) for one, logs in zip(variances, cells, strict=True))


def of_capacities(
    before: Mapping[str, Sequence[float]],
    after: Mapping[str, Sequence[float]],
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
) -> Effect | None:
    """Bootstrap the ratio of two capacities, each from the gaps between answers of one calibration.

    Gaps are drawn in blocks of neighbours, since neighbours are alike. One calibration cannot say how far the next one
    strays from it, so each resample also strays by CALIBRATIONS_STRAY.

    Args:
        before: Seconds between answers of each worker of the first run, in their order.
        after: Those of the second run.
        rng: Source of the resamples.
        resamples: How many.

    Returns:
        The change; None where a run has no gaps, as without the files of its calibration, or a worker too few.
    """
    if min(min(map(len, run.values()), default=0) for run in (before, after)) < _BLOCKS:
        return None
    first, first_drawn = _capacities(before, rng, resamples)
    second, second_drawn = _capacities(after, rng, resamples)
    change = math.log(second / first)
    strayed = rng.normal(0, CALIBRATIONS_STRAY, resamples)
    away = np.abs(np.log(second_drawn / second) - np.log(first_drawn / first) + strayed)
    half = float(np.quantile(away, _CONFIDENCE))
    p = float(1 + np.count_nonzero(away >= abs(change))) / (resamples + 1)
    return Effect(math.exp(change), math.exp(change - half), math.exp(change + half), p)


def _capacities(gaps: Mapping[str, Sequence[float]], rng: np.random.Generator, resamples: int) -> tuple[float, Floats]:
    """Answers a second of all workers together, and of each resample, shape (resamples,)."""
    drawn = rng.integers(0, _BLOCKS, (resamples, _BLOCKS))
    every, each = 0.0, np.zeros(resamples)
    for own in gaps.values():
        blocks = np.array_split(np.array(own), _BLOCKS)
        counts, sums = np.array([len(block) for block in blocks]), np.array([block.sum() for block in blocks])
        every += counts.sum() / sums.sum()
        each += counts[drawn].sum(axis=1) / sums[drawn].sum(axis=1)
    return float(every), each


def _mean_and_error(cells: Iterable[Floats], resolution: float) -> tuple[Floats, Floats]:
    """Mean of the cells' means and its standard error, over the last axis; counts are not known better than to one."""
    told = [
        (logs.mean(axis=-1), (logs.var(axis=-1, ddof=1) + resolution**2) / logs.shape[-1]) for logs in cells
    ]  # one cell's resamples at a time
    means, variances = zip(*told, strict=True)
    return np.mean(means, axis=0), np.sqrt(np.sum(variances, axis=0)) / len(told)
