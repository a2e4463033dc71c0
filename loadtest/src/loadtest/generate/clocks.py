"""How far another machine's clock is ahead, from questions that it answered, and where that cannot be told.

A question leaves at a and its answer comes at b by this clock; the other clock says c in between. Then c − (a + b) / 2
is how far it is ahead, wrong by (b − a) / 2 at most (Cristian 1989). Of many questions the quickest are the best ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from loadtest.errors import LoadtestError

# Beyond this times of several clients make no order: a request takes ten times as long.
APART_S = 0.002
# A clock that is wrong by this is one that nobody sets; what it wrote into logs and records is wrong as well.
WRONG_S = 60.0
_LEAST = 8
_CRYSTAL = 5e-4  # seconds a second: no clock that is left alone, or that ntpd slews, runs off faster


class Reading(NamedTuple):
    """One question: when it left and when its answer came by this clock, and what the other clock said; seconds."""

    asked_s: float
    told_s: float
    answered_s: float


@dataclass(frozen=True, slots=True)
class Clock:
    """Another machine's clock: ahead_s + drift · (its time − at_s) seconds ahead of this one.

    Attributes:
        ahead_s: Seconds ahead at at_s.
        drift: Seconds a second by which that grows.
        at_s: A time of the other clock.
        error_s: How wrong this may be.
    """

    ahead_s: float
    drift: float
    at_s: float
    error_s: float

    def here(self, there_s: float) -> float:
        """What this machine's clock shows when the other one shows there_s."""
        return there_s - self.ahead_s - self.drift * (there_s - self.at_s)


def compare(readings: Sequence[Reading]) -> Clock:
    """Work out how far another clock is ahead.

    Raises:
        LoadtestError: There are too few readings.
    """
    if len(readings) < _LEAST:
        raise LoadtestError(f"the clock of a client was read {len(readings)} times; {_LEAST} are needed")
    waits = np.array([one.answered_s - one.asked_s for one in readings])
    there = np.array([one.told_s for one in readings])
    ahead = there - np.array([(one.asked_s + one.answered_s) / 2 for one in readings])
    # The quickest half of each half: a clock that was set in between is to be seen.
    halves = np.array_split(np.arange(len(readings)), 2)
    best = np.concatenate([half[waits[half] <= np.median(waits[half])] for half in halves])
    at_s = float(there[best].mean())
    drift, ahead_s = np.polyfit(there[best] - at_s, ahead[best], 1)
    left = np.abs(ahead[best] - ahead_s - drift * (there[best] - at_s))
    # What a reading may be wrong by is no fault of the clock.
    moved_s = float(np.max(np.maximum(left - waits[best] / 2, 0.0)))
    set_s = max(abs(float(drift)) - _CRYSTAL, 0.0) * float(np.ptp(there)) / 2
    return Clock(float(ahead_s), float(drift), at_s, max(moved_s, set_s, float(waits[best].min() / 2)))


def refuse_apart(name: str, clock: Clock) -> None:
    """Refuse a clock by which no samples can be merged.

    Raises:
        LoadtestError: It is far wrong, or it was set while it was read, or the link to it is too slow.
    """
    if abs(clock.ahead_s) > WRONG_S:
        raise LoadtestError(
            f"the clock of {name} is {abs(clock.ahead_s):.0f} s {'ahead of' if clock.ahead_s > 0 else 'behind'} this "
            "machine's: set it (chrony does), then send again"
        )
    if clock.error_s > APART_S:
        raise LoadtestError(
            f"the clock of {name} cannot be told to {APART_S * 1e3:g} ms, only to {clock.error_s * 1e3:.1f} ms: it was "
            "set during the load, or the link to it is slow; samples of such clients do not merge"
        )
