"""How well a trial knows its mean or quantile, asked while it runs: it ends once that is well enough.

The warm-up is cut by MSER-5 (White 1997): of all beginnings that could be cut, take the one after which the mean is
known best. What is left is divided into 20 batches, whose means are nearly independent; where they are not, the
interval is widened as for a first-order autoregression. The interval of a quantile is Woodruff's (1952): that of the
share of requests below it, by the same batches, read on the axis of times.
"""

import math
from array import array
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from loadtest.arrays import Floats
from loadtest.generate.effort import Effort
from loadtest.generate.samples import Sample

if TYPE_CHECKING:  # they import aiohttp, which checking a design does not need
    from loadtest.generate.recording import Load
    from loadtest.generate.runner import Runner

QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}
BATCHES = 20
_LEAST_BATCH = 10
_T = 2.093  # 0.975 quantile of Student's t with 19 degrees of freedom; the client host has no scipy
_MSER = 5
_MOST_CORRELATED = 0.9
# Each look at the samples is a chance to stop by luck. So there are few, after a fifth more than at the last one; the
# first comes late, and two in a row must be narrow enough. A trial that happens to be short of slow answers looks
# precise: with one look from 1,000 requests on, p99 of M/M/1 was 7 % low and its interval held it in 79 of 100 trials.
_NEXT_LOOK = 1.2
_FIRST_LOOK = 5
_NARROW = 2


def least_for(quantile: float) -> int:
    """So many requests a quantile needs, that ten of them lie beyond it: p99 1,000 and p99.9 10,000."""
    return round(10 / (1 - quantile))


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean or a quantile with its 95 % confidence interval, in seconds."""

    value_s: float
    low_s: float
    high_s: float

    @property
    def half_width(self) -> float:
        """Half of the interval's width as a share of the value; infinite where the interval has no upper end."""
        return (self.high_s - self.low_s) / 2 / self.value_s if self.value_s > 0 else math.inf


def warmup_count(times_s: Floats) -> int | None:
    """How many observations MSER-5 cuts; None where it would cut more than half: they have not settled.

    Args:
        times_s: Response times in the order in which the requests were due, shape (n,).
    """
    count = len(times_s) // _MSER
    if count < 2:
        return None
    means = times_s[: count * _MSER].reshape(count, _MSER).mean(axis=1)
    means = means - means.mean()
    left = np.arange(count, 0, -1)
    sums, squares = (np.cumsum(one[::-1])[::-1] for one in (means, means**2))
    # the last few are left out: a handful of means that happen to be equal is no steady state
    error = ((squares - sums**2 / left) / left**2)[: max(1, count - _MSER)]
    cut = int(np.argmin(error))
    return None if cut > count // 2 else cut * _MSER


def estimate(times_s: Floats, of: str) -> Estimate | None:
    """Estimate what a design asks for from a settled part of a trial; None where there are too few requests for it.

    Args:
        times_s: Response times without the warm-up, in the order in which the requests were due, shape (n,).
        of: `mean` or one of QUANTILES.
    """
    size = len(times_s) // BATCHES
    if size < _LEAST_BATCH:
        return None
    whole = times_s[len(times_s) - size * BATCHES :]
    batches = whole.reshape(BATCHES, size)
    if of == "mean":
        value, half = _interval(batches.mean(axis=1))
        return Estimate(value, value - half, value + half)
    quantile = QUANTILES[of]
    if len(whole) < least_for(quantile):
        return None
    value = float(np.quantile(whole, quantile))
    _, half = _interval((batches <= value).mean(axis=1))
    if quantile + half >= 1:
        return Estimate(value, float(np.quantile(whole, max(quantile - half, 0.0))), math.inf)
    low, high = np.quantile(whole, [max(quantile - half, 0.0), quantile + half])
    return Estimate(value, float(low), float(high))


def _interval(means: Floats) -> tuple[float, float]:
    """Mean of batches and the half-width of its interval."""
    off = means - means.mean()
    spread = float((off**2).sum())
    if spread == 0:
        return float(means.mean()), 0.0
    # its expectation is −1/k where there is no correlation
    lag1 = float((off[1:] * off[:-1]).sum()) / spread + 1 / len(means)
    lag1 = min(max(lag1, 0.0), _MOST_CORRELATED)
    error = math.sqrt(spread / (len(means) - 1) / len(means) * (1 + lag1) / (1 - lag1))
    return float(means.mean()), _T * error


class Watch:
    """Looks at a trial's samples as they come and stops it when it is precise enough.

    Only the requests before the first that is still under way count: the latest answers are the slow ones.

    Args:
        asked: `of` and `half_width`, a share of the value.
        warmup_s: Requests due before it never count.
    """

    def __init__(self, asked: Mapping[str, Any], warmup_s: float) -> None:
        self._of: str = asked["of"]
        self._asked: float = asked["half_width"]
        self._warmup_s = warmup_s
        self._times, self._due = array("d"), array("d")
        self._early: dict[int, Sample] = {}
        self._next_seq = 0
        self._look_at = max(BATCHES * _LEAST_BATCH, _FIRST_LOOK * least_for(QUANTILES.get(self._of, 0.0)))
        self._narrow = 0  # looks in a row
        self._runner: Runner | None = None
        self._ended_s: float | None = None

    def over(self, load: "Load") -> "Load":
        """The same load, which this watch ends."""

        def watched(runner: "Runner") -> Coroutine[Any, Any, Effort]:
            self._runner = runner
            return load(runner)

        return watched

    def seen(self, sample: Sample) -> None:
        """Take one sample, in whatever order they come."""
        self._early[sample.seq] = sample
        while (one := self._early.pop(self._next_seq, None)) is not None:
            self._next_seq += 1
            if one.ok and one.scheduled_s >= self._warmup_s:
                self._times.append(one.response_s)
                self._due.append(one.scheduled_s)
        if self._ended_s is None and len(self._times) >= self._look_at:
            self._look_at = math.ceil(len(self._times) * _NEXT_LOOK)
            _, found = self._look()
            self._narrow = self._narrow + 1 if found is not None and found.half_width <= self._asked else 0
            if self._narrow >= _NARROW:
                self._ended_s = sample.done_s
                if self._runner is not None:
                    self._runner.stop()

    def facts(self) -> dict[str, Any]:
        """How the trial ended, as JSON values for the footer of its file.

        `ended` is `precision` or `time limit`; `reached` the half-width at the end as a share of the value, None where
        there were too few requests or they had not settled; `cut_s` where the warm-up ends; `ended_s` when the trial
        was stopped, None where it was not.
        """
        cut, found = self._look()
        reached = None if found is None or not math.isfinite(found.half_width) else round(found.half_width, 5)
        return {
            "ended": "time limit" if self._ended_s is None else "precision",
            "of": self._of,
            "asked": self._asked,
            "reached": reached,
            "cut_s": self._warmup_s if cut is None or cut >= len(self._due) else round(self._due[cut], 6),
            "ended_s": None if self._ended_s is None else round(self._ended_s, 6),
        }

    def _look(self) -> tuple[int | None, Estimate | None]:
        times = np.frombuffer(self._times, dtype=np.float64).copy()  # a view would forbid to append
        cut = warmup_count(times)
        return cut, None if cut is None else estimate(times[cut:], self._of)


def told(facts: Mapping[str, Any]) -> str:
    """Say how a trial ended: by its precision, or at its limit with what it reached."""
    what = f"the {facts['of']}"
    if facts["reached"] is None:
        known = f"{what} has no interval yet (too few requests, or they did not settle)"
    else:
        known = f"{what} is known to ±{100 * facts['reached']:.1f} %"
    if facts["ended"] == "precision":
        return f"ended by precision; with the requests that were under way then, {known}"
    return f"ended at its time limit: {known}, asked was ±{100 * facts['asked']:g} %"
