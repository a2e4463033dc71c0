"""When requests arrive: Poisson, at a steady rate or at one that swings as day and night do."""

import math

import numpy as np

from loadtest.arrays import Floats

MOST_REQUESTS = 5_000_000  # of one simulated case: they are held in memory, about 1 GB
_POINTS = 4096  # of the table by which the swinging rate is turned round, a period


def poisson(count: int, rate_hz: float, rng: np.random.Generator) -> Floats:
    """The first `count` arrivals of a Poisson process, in seconds, ascending, shape (count,)."""
    times: Floats = np.cumsum(rng.exponential(1 / rate_hz, count))
    return times


def swinging(steady_s: Floats, share: float, period_s: float) -> Floats:
    """Make a steady Poisson process one whose rate swings: r(t) = r (1 − share · cos 2πt/period).

    It begins in the valley; the mean over a period stays. Each time is moved to where the swinging process has as many
    arrivals to expect as the steady one had, so the result is exactly Poisson.

    Args:
        steady_s: Arrival times of the steady process in seconds, ascending, shape (m,).
        share: Swing as a share of the mean rate, 0 to 1.
        period_s: Length of a period in seconds.
    """
    if len(steady_s) == 0 or share == 0:
        return steady_s
    periods = math.ceil(float(steady_s[-1]) / period_s)
    phase = np.linspace(0, 1, _POINTS + 1)
    expected = phase - share * np.sin(2 * math.pi * phase) / (2 * math.pi)
    whole, rest = np.divmod(steady_s / period_s, 1)
    assert whole[-1] <= periods
    moved: Floats = (whole + np.interp(rest, expected, phase)) * period_s
    return moved
