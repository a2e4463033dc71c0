"""The smallest number of workers that is enough, found in few tries."""

import math
from collections.abc import Callable

from loadtest.errors import LoadtestError

MOST_WORKERS = 10_000


def smallest(keep: Callable[[int], bool], least: int, near: int | None = None) -> int:
    """The smallest number from `least` on that keeps what is asked, where every larger one does; steps double.

    Raises:
        LoadtestError: No number up to MOST_WORKERS does.
    """
    high, low, step = max(least, near or least), least - 1, 1
    if keep(high):
        while high > least:
            lower = max(least, high - step)
            if not keep(lower):
                low = lower
                break
            high, step = lower, 2 * step
    else:
        low, high = high, high + step
        while not keep(high):
            step *= 2
            low, high = high, high + step
            if high > 2 * MOST_WORKERS:
                raise LoadtestError(f"no number of workers up to {MOST_WORKERS} is enough; check --rate and --slo-p99")
    while high - low > 1:
        middle = (low + high) // 2
        if keep(middle):
            high = middle
        else:
            low = middle
    return high


def smallest_if_any(keep: Callable[[int], bool], least: int, near: int) -> float:
    """The same, and infinite where no number up to MOST_WORKERS keeps what is asked."""
    try:
        return smallest(keep, least, near)
    except LoadtestError:
        return math.inf
