"""Intervals: over independent trials for times, Wilson's for proportions."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

CONFIDENCE = 0.95


def t_interval(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Mean of independent trials and half-width of its 95 % t-interval; None where there are too few.

    The values are one number a trial. Requests within a trial are correlated, so an interval over them is too narrow.
    """
    if not values:
        return None, None
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, None
    quantile = float(stats.t.ppf(0.5 + CONFIDENCE / 2, len(values) - 1))
    return mean, quantile * float(np.std(values, ddof=1)) / math.sqrt(len(values))


def wilson(successes: int, count: int) -> tuple[float | None, float | None]:
    """Wilson's 95 % interval of a proportion; None where nothing was counted."""
    if count == 0:
        return None, None
    z = float(stats.norm.ppf(0.5 + CONFIDENCE / 2))
    share = successes / count
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def paired_interval(one: Sequence[float], other: Sequence[float]) -> tuple[float | None, float | None]:
    """Mean and half-width of the 95 % t-interval of other − one, for trials that had the same arrivals."""
    return t_interval([b - a for a, b in zip(one, other, strict=True)])


def welch_interval(one: Sequence[float], other: Sequence[float]) -> tuple[float | None, float | None]:
    """Mean and half-width of Welch's 95 % interval of other − one; None where there are too few trials."""
    if len(one) < 2 or len(other) < 2:
        return None, None
    variances = float(np.var(one, ddof=1)) / len(one), float(np.var(other, ddof=1)) / len(other)
    total = sum(variances)
    difference = float(np.mean(other) - np.mean(one))
    if total == 0:
        return difference, 0.0
    freedom = total**2 / (variances[0] ** 2 / (len(one) - 1) + variances[1] ** 2 / (len(other) - 1))
    return difference, float(stats.t.ppf(0.5 + CONFIDENCE / 2, freedom)) * math.sqrt(total)
