"""What two runs measured in one cell, trial by trial, and the changes of its metrics."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from loadtest.arrays import Floats
from loadtest.compare import changes

# A load in units of utilisation is a share of each run's own calibration. Two calibrations differ by some per cent, and
# so do the rates: then goodput and times differ though nothing was changed.
SAME_RATE = 0.001


@dataclass(frozen=True, slots=True)
class Pairs:
    """What two runs measured in a cell, trial by trial, in the same order of seeds.

    Attributes:
        before: Response times of each of the first run's trials, in seconds; none where nothing was answered.
        after: Those of the second's.
        goodput: Answers a second of each pair.
        asked_hz: Requests a second that each pair was asked for; None where a load has no rate.
    """

    before: list[Floats]
    after: list[Floats]
    goodput: list[tuple[float, float]]
    asked_hz: list[tuple[float | None, float | None]] = field(default_factory=list)

    def rates_apart(self) -> str:
        """The rates of a pair that was not asked for the same; empty where all were."""
        for first, second in self.asked_hz:
            if first and second and abs(second / first - 1) > SAME_RATE:
                return f"{first:.1f} and {second:.1f} requests/s"
        return ""


def metrics(pairs: Pairs) -> Iterator[tuple[str, float | None, float | None, Floats | None]]:
    """Name, both values, and the logarithms of the pairs' ratios of each metric of a cell.

    Only pairs of which both trials had answers have times. A service that answers nothing shows in the goodput.
    """
    answered = [both for both in zip(pairs.before, pairs.after, strict=True) if all(map(len, both))]
    if answered:
        before, after = zip(*answered, strict=True)
        first, second = (float(np.mean([one.mean() for one in trials])) for trials in (before, after))
        yield "mean", first, second, changes.of_means(before, after)
        logs = changes.of_quantiles(before, after, 0.99)
        if logs is None:
            yield "p99", None, None, None
        else:
            first, second = (float(np.quantile(np.concatenate(one), 0.99)) for one in (before, after))
            yield "p99", first, second, logs
    else:
        yield "mean", None, None, None
    if pairs.goodput:
        rates = [[pair[side] for pair in pairs.goodput] for side in (0, 1)]
        first, second = (float(np.mean(one)) for one in rates)
        yield "goodput", first, second, changes.of_rates(rates[0], rates[1], one_answer(pairs))


def one_answer(pairs: Pairs) -> float:
    """What one answer is of those of a trial: a goodput is a count, and is not known better."""
    counts = ([len(times) for times in trials if len(times)] for trials in (pairs.before, pairs.after))
    return 1 / min(next(filter(None, counts), [1]))
