"""The load from which answers no longer follow: a ladder of loads, and a measurement above its knee."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from loadtest.arrays import Floats
from loadtest.errors import LoadtestError
from loadtest.find.probe import Answers, Probe

CONFIDENCE = 0.99
_STEP = 1.5  # from rung to rung
_ABOVE = 1.3  # of the capacity: what is asked where it is measured
_REQUESTS = 400  # of a rung of the ladder
_LEAST_S = 2.0
_FEWEST = 20  # requests of any rung, also where the time is over
_BATCHES = 20
_LEAST_ANSWERS = 1500
_WARM_UP = 0.25  # share of a rung that is cut


@dataclass(frozen=True, slots=True)
class Rung:
    """One load.

    Attributes:
        asked_hz: Requests a second that were asked.
        sent_hz: Requests a second that were due after the warm-up.
        answered_hz: Answers a second, after the warm-up and until the last request was due.
        half_hz: Half-width of its 99 % interval by batch means; None where there were too few.
        p50_s: Median response in seconds; infinite where so many were not answered.
        p99_s: The same of the 99th percentile; None with fewer than 1,000 requests.
        failed: Share of requests without a good answer.
    """

    asked_hz: float
    sent_hz: float
    answered_hz: float
    half_hz: float | None
    p50_s: float
    p99_s: float | None
    failed: float

    @property
    def follows(self) -> bool:
        """Whether answers came as fast as requests."""
        return self.answered_hz > 0.9 * self.sent_hz


@dataclass(frozen=True, slots=True)
class Knee:
    """The capacity.

    Attributes:
        rungs: Every load, in the order in which it was asked.
        capacity_hz: Answers a second above which answers do not follow.
        low_hz: Lower end of its 99 % interval.
        high_hz: Upper end; infinite where the time was over before answers stopped to follow, or too few came.
        reached: Whether the interval is as narrow as was asked; the time limit may have prevented it, or a service that
            became quicker, whose last rung follows.
    """

    rungs: tuple[Rung, ...]
    capacity_hz: float
    low_hz: float
    high_hz: float
    reached: bool


def find_knee(
    probe: Probe, first_hz: float, *, precision: float, longest_s: float = math.inf, most_hz: float = 10_000.0
) -> Knee:
    """Raise the load until answers no longer follow, then measure how many come a second where too many are asked.

    Above the knee every process always has work, so answers come as fast as the service can give them. Their rate is
    measured twice: first to learn how much it varies, then for as long as the precision needs. Where that was too short
    it is measured on, as long as there is time. It is 1 / the mean gap between answers, with the t-interval of the
    means of 20 batches of gaps.

    Args:
        probe: Asks the service.
        first_hz: First rung, requests a second.
        precision: Half-width of the interval that is wanted, as a share of the capacity.
        longest_s: About so many seconds are asked in all, a third more at most; what is reached by then is the answer.
        most_hz: No more is ever asked.

    Raises:
        LoadtestError: Answers still follow at the highest rung, or nothing is answered.
    """
    rungs: list[Rung] = []
    asked_s = 0.0

    def climb(rate_hz: float, requests: float, most_s: float = longest_s / 10) -> tuple[Rung, Floats]:
        nonlocal asked_s
        rate_hz = min(rate_hz, most_hz)
        left_s = max(longest_s / 10, longest_s - asked_s)
        length_s = max(min(max(_LEAST_S, requests / rate_hz), most_s, left_s), _FEWEST / rate_hz)
        asked_s += length_s
        rung, gaps = _rung(rate_hz, probe(rate_hz, length_s))
        rungs.append(rung)
        if len(gaps) == 0:
            raise LoadtestError(f"hardly anything was answered at {rate_hz:.1f} requests/s; look at the service's log")
        return rung, gaps

    rate_hz = first_hz
    while True:
        rung, gaps = climb(rate_hz, _REQUESTS)
        if not rung.follows:  # and it may be far above the capacity
            rung, gaps = climb(_ABOVE * rung.answered_hz, _REQUESTS / (1 - _WARM_UP))
            if not rung.follows:
                break
        if rung.asked_hz >= most_hz:
            raise _still_follow(most_hz)
        if rate_hz >= most_hz:  # there it did not follow: the knee is between
            break
        if asked_s >= longest_s:
            return _at_least(rungs, gaps)
        rate_hz *= _STEP
    while True:
        mean_s, _ = _mean_gap(gaps)
        rung, gaps = climb(_ABOVE / mean_s, _requests(gaps, precision, 0), longest_s)
        if not rung.follows:
            break
        if rung.asked_hz >= most_hz:
            raise _still_follow(most_hz)
        if asked_s >= longest_s:
            return _at_least(rungs, gaps)
    mean_s, half_s = _mean_gap(gaps)
    while half_s > precision * mean_s and asked_s < longest_s:
        rung, more = climb(rung.asked_hz, _requests(gaps, precision, len(gaps)), longest_s)
        if rung.follows:
            break
        gaps = np.concatenate((gaps, more))
        mean_s, half_s = _mean_gap(gaps)
    high_hz = 1 / (mean_s - half_s) if half_s < mean_s else math.inf
    return Knee(tuple(rungs), 1 / mean_s, 1 / (mean_s + half_s), high_hz, bool(half_s <= precision * mean_s))


def _requests(gaps: Floats, precision: float, known: int) -> float:
    """How many to ask above the knee so that there are enough answers, of which so many are known."""
    mean_s, half_s = _mean_gap(gaps)
    wanted = 1.2 * len(gaps) * (half_s / mean_s / precision) ** 2 if math.isfinite(half_s) else 0.0
    return _ABOVE * max(wanted - known, _LEAST_ANSWERS) / (1 - _WARM_UP)


def _still_follow(most_hz: float) -> LoadtestError:
    return LoadtestError(f"answers still follow at {most_hz:g} requests/s, the highest rung; give a larger --most")


def _at_least(rungs: list[Rung], gaps: Floats) -> Knee:
    """What is known where the time is over before answers stop to follow."""
    mean_s, half_s = _mean_gap(gaps)
    return Knee(tuple(rungs), 1 / mean_s, 1 / (mean_s + half_s), math.inf, reached=False)


def _rung(asked_hz: float, answers: Answers) -> tuple[Rung, Floats]:
    """What a load came to, and the gaps between its answers in seconds."""
    begin_s = _WARM_UP * answers.length_s
    counted = answers.after(begin_s)
    window_s = answers.length_s - begin_s
    ends = np.sort(answers.done_s[(answers.done_s >= begin_s) & (answers.done_s <= answers.length_s)])
    gaps = np.diff(ends)
    mean_s, half_s = _mean_gap(gaps)
    answered_hz = len(ends) / window_s
    half_hz = answered_hz * half_s / mean_s if math.isfinite(half_s) and mean_s > 0 else None
    times = counted.responses_s
    return Rung(
        asked_hz,
        len(times) / window_s,
        answered_hz,
        half_hz,
        _quantile(times, 0.5),
        _quantile(times, 0.99) if len(times) >= 1000 else None,
        float(np.mean(~np.isfinite(times))) if len(times) else 0.0,
    ), gaps


def _quantile(times: Floats, share: float) -> float:
    return float(np.quantile(times, share, method="higher")) if len(times) else math.inf


def _mean_gap(gaps: Floats) -> tuple[float, float]:
    """Mean gap in seconds and half-width of its 99 % t-interval over batches; infinite where there are too few.

    It is never narrower than one answer more or less.
    """
    size = len(gaps) // _BATCHES
    if size < 2:
        return (float(gaps.mean()) if len(gaps) else math.inf), math.inf
    means = gaps[: size * _BATCHES].reshape(_BATCHES, size).mean(axis=1)
    quantile = float(stdtrit(_BATCHES - 1, 0.5 + CONFIDENCE / 2))
    mean_s = float(means.mean())
    return mean_s, max(mean_s / len(gaps), quantile * float(means.std(ddof=1)) / math.sqrt(_BATCHES))
