"""What the arrivals of the last seconds say of their rate, with chance left out."""

from __future__ import annotations

import math
from collections.abc import Sequence

# Seconds over which is counted to be sure that there are more, to be sure that there are fewer, and what is now.
_MORE_S, _FEWER_S, _RECENT_S = (2, 5, 15, 60, 300), 30, 3
# Standard deviations of a Poisson count: by chance it is passed once in 30 000 looks.
_SURE = 4.0
LONGEST_S = max(_MORE_S)
# Looks are a second apart. After a longer pause, or a clock that went back, what was counted says nothing.
_NEXT_S, _LATE_S = 0.2, 3.0


def second_s(before_s: float | None, now_s: float) -> float | None:
    """Return how long the second between two looks was; None where they were not about a second apart."""
    passed_s = None if before_s is None else now_s - before_s
    return passed_s if passed_s is not None and _NEXT_S <= passed_s <= _LATE_S else None


def recent_hz(counts: Sequence[float]) -> float:
    """Return what arrives in a second now; of counts of a second each, the latest last, like everywhere here."""
    return sum(counts[-_RECENT_S:]) / max(1, len(counts[-_RECENT_S:]))


def surely_hz(counts: Sequence[float]) -> float:
    """Return what surely arrives in a second, or more.

    What is long ago counts for no more than can still arrive by the last seconds.
    """
    most = 0.0
    for length in _MORE_S:
        if len(counts) >= length:
            count = sum(counts[-length:])
            sure_hz = (count - _SURE * math.sqrt(count)) / length
            most = max(most, sure_hz if length <= _FEWER_S else min(sure_hz, at_most_hz(counts)))
    return most


def at_most_hz(counts: Sequence[float]) -> float:
    """Return what surely arrives in a second, or less; infinite while too few seconds were counted.

    It is never less than what arrives now: a quiet past says nothing of a load that has just begun.
    """
    if len(counts) < _FEWER_S:
        return math.inf
    count = sum(counts[-_FEWER_S:])
    return max((count + _SURE * math.sqrt(count) + _SURE) / _FEWER_S, recent_hz(counts))


def is_nothing(counts: Sequence[float]) -> bool:
    """Return whether nothing has arrived for as long as is counted to be sure that there is less."""
    return len(counts) >= _FEWER_S and not any(counts[-_FEWER_S:])
