"""Rates that change during a trial, and arrivals at such rates.

λ(t) is the rate in requests a second, t the time since the trial's start in seconds. The arrivals are a Poisson process
of that rate, made by thinning (Lewis and Shedler 1979): of a Poisson process at the highest rate an arrival at t stays
with probability λ(t) / highest rate.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from loadtest.generate.arrivals import poisson

One = TypeVar("One")


class Shape(Protocol):
    """How a rate changes."""

    @property
    def highest_hz(self) -> float:
        """The highest rate there is."""

    def rate_at(self, t_s: float) -> float:
        """λ(t) in requests a second."""

    def expected(self, duration_s: float) -> float:
        """Requests to expect until then: the integral of λ from 0."""


@dataclass(frozen=True, slots=True)
class _Change:
    """A rate that becomes another one.

    Attributes:
        rate_hz: Requests a second before.
        factor: How many times as many there are then, 0 or more.
        at_s: When it begins.
        until_s: When it ends.
    """

    rate_hz: float
    factor: float
    at_s: float
    until_s: float = math.inf

    @property
    def highest_hz(self) -> float:
        """See Shape."""
        return self.rate_hz * max(1.0, self.factor)


class Step(_Change):
    """From at_s to until_s `factor` times as many requests as before and after."""

    def rate_at(self, t_s: float) -> float:
        """See Shape."""
        return self.rate_hz * (self.factor if self.at_s <= t_s < self.until_s else 1.0)

    def expected(self, duration_s: float) -> float:
        """See Shape."""
        within_s = max(0.0, min(duration_s, self.until_s) - self.at_s)
        return self.rate_hz * (duration_s + (self.factor - 1) * within_s)


class Ramp(_Change):
    """From at_s to until_s the rate goes evenly to `factor` times what it was, and stays there."""

    def rate_at(self, t_s: float) -> float:
        """See Shape."""
        share = min(max((t_s - self.at_s) / (self.until_s - self.at_s), 0.0), 1.0)
        return self.rate_hz * (1 + (self.factor - 1) * share)

    def expected(self, duration_s: float) -> float:
        """See Shape."""
        climbing_s = max(0.0, min(duration_s, self.until_s) - self.at_s)
        above_s = climbing_s**2 / (2 * (self.until_s - self.at_s)) + max(0.0, duration_s - self.until_s)
        return self.rate_hz * (duration_s + (self.factor - 1) * above_s)


@dataclass(frozen=True, slots=True)
class Sine:
    """λ(t) = rate_hz · (1 + amplitude · sin(2π t / period_s)).

    Attributes:
        rate_hz: Mean requests a second of a whole period.
        amplitude: 0 to 1.
        period_s: Length of a period.
    """

    rate_hz: float
    amplitude: float
    period_s: float

    @property
    def highest_hz(self) -> float:
        """See Shape."""
        return self.rate_hz * (1 + self.amplitude)

    def rate_at(self, t_s: float) -> float:
        """See Shape."""
        return self.rate_hz * (1 + self.amplitude * math.sin(2 * math.pi * t_s / self.period_s))

    def expected(self, duration_s: float) -> float:
        """See Shape."""
        turn = 2 * math.pi * duration_s / self.period_s
        return self.rate_hz * (duration_s + self.amplitude * self.period_s / (2 * math.pi) * (1 - math.cos(turn)))


def varying(shape: Shape, duration_s: float, rng: np.random.Generator) -> Iterator[float]:
    """Yield the send offsets in seconds of a Poisson process whose rate changes, none at or after duration_s.

    Raises:
        LoadtestError: The rate or the duration is not above 0.
    """
    highest_hz = shape.highest_hz
    candidates = poisson(highest_hz, duration_s, rng)
    return (offset for offset in candidates if rng.random() * highest_hz < shape.rate_at(offset))


def share(arrivals: Iterator[One], part: int, parts: int, rng: np.random.Generator) -> Iterator[One]:
    """Yield what is left for one of several clients that send the same arrivals together.

    Each arrival is drawn for one of them. A Poisson process that is thinned so is `parts` independent Poisson processes
    of the same shape and the `parts`-th of its rate; all together they are the whole again.

    Args:
        arrivals: The whole, the same for each client: when they are, or what is sent then.
        part: The client's number, from 0.
        parts: How many clients there are.
        rng: Draws the client of each arrival; the same seed for each client, and no generator that draws the arrivals.
    """
    return (one for one in arrivals if int(rng.integers(parts)) == part)
