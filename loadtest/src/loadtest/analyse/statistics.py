"""Quantiles and intervals: over independent trials for times, Wilson's for proportions."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import ndtri, stdtrit

from loadtest.arrays import Floats
from loadtest.experiments.precision import least_for

CONFIDENCE = 0.95
_Z = float(ndtri(0.5 + CONFIDENCE / 2))


def t_interval(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Mean of independent trials and half-width of its 95 % t-interval; None where there are too few.

    The values are one number a trial. Requests within a trial are correlated, so an interval over them is too narrow.
    """
    if not values:
        return None, None
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, None
    quantile = float(stdtrit(len(values) - 1, 0.5 + CONFIDENCE / 2))
    return mean, quantile * float(np.std(values, ddof=1)) / math.sqrt(len(values))


def wilson(successes: float, count: float) -> tuple[float | None, float | None]:
    """Wilson's 95 % interval of a proportion; None where nothing was counted."""
    if count == 0:
        return None, None
    z, share = _Z, successes / count
    twice = 2 * (count + z**2)
    middle = (2 * count * share + z**2) / twice
    half = z / twice * math.sqrt(4 * count * share * (1 - share) + z**2)
    return middle - half if successes else 0.0, middle + half if successes < count else 1.0


def failed_interval(failed: Sequence[int], sent: Sequence[int]) -> tuple[float | None, float | None]:
    """95 % interval of the share of requests that fail; None where none was sent.

    Requests of a trial fail together, so they tell less than as many that are independent. Both counts are divided by
    how much more the trials differ than independent requests would (the design effect; Korn and Graubard 1998), then
    it is Wilson's. Of one trial it is Wilson's, since nothing tells how much trials differ.

    Args:
        failed: How many of each trial's requests failed.
        sent: How many requests each trial had.
    """
    bad, count, trials = sum(failed), sum(sent), len(sent)
    effect = 1.0
    if trials > 1 and 0 < bad < count:
        share = bad / count
        apart = sum((own - share * size) ** 2 for own, size in zip(failed, sent, strict=True))
        few = (float(stdtrit(trials - 1, 0.5 + CONFIDENCE / 2)) / _Z) ** 2
        effect = max(1.0, few * trials / (trials - 1) * apart / (count * share * (1 - share)))
    return wilson(bad / effect, count / effect)


def percentile(values: Sequence[float] | Floats, share: float) -> float:
    """The smallest value that `share` of the values do not exceed; NaN of none."""
    ordered = np.sort(values)
    return float(ordered[max(0, math.ceil(round(share * len(ordered), 6)) - 1)]) if len(ordered) else math.nan


def quantile(times: Floats, share: float) -> float | None:
    """A quantile of single requests; None where fewer than ten lie beyond it: p99 needs 1,000, p99.9 needs 10,000."""
    return float(np.quantile(times, share)) if len(times) >= least_for(share) else None


def pooled_quantile(trials: Sequence[Floats], share: float) -> tuple[float | None, float | None]:
    """A quantile of the requests of all trials together, with the half-width of the t-interval of the trials' own.

    The trials' own are only asked how far they differ: one of fewer requests than it needs is biased.

    Returns:
        None and None where there are too few requests for it; no half-width where there is one trial, or one with
        too few requests for one to lie beyond it.
    """
    filled = [times for times in trials if len(times)]
    if sum(map(len, filled)) < least_for(share):
        return None, None
    value = float(np.quantile(np.concatenate(filled), share))
    if min(map(len, filled)) < 1 / (1 - share):
        return value, None
    return value, t_interval([float(np.quantile(times, share)) for times in filled])[1]


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's (1979) correction: p-values that may each be held against a limit, however many there are."""
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda one: p_values[one])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = highest
    return corrected
