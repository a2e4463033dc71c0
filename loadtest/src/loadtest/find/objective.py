"""The highest rate at which an objective for the 99th percentile holds, with its interval."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from loadtest.analyse.theory.formulas import settling_s
from loadtest.arrays import Floats
from loadtest.errors import LoadtestError
from loadtest.find.probe import Probe

CONFIDENCE = 0.99
SHARE = 0.01  # of requests that may be late
_STEP = 1.5
_SPREAD = 0.06  # of the estimate: by how much blocks ask less and more, twice that much at first
_NEAR = 0.15  # blocks farther than this from the estimate, as a share of it, are left out
_REQUESTS = 1500  # of a block
_PILOT, _PILOTS = 15, 5  # blocks before it is known how many are needed, and how often the estimate may move
_AT_ONCE = 600  # blocks, before the line says again how many are needed


@dataclass(frozen=True, slots=True)
class Block:
    """Requests at one rate, after queues have settled.

    Attributes:
        asked_hz: Requests a second.
        sent: How many there were.
        late: How many took longer than the objective, or had no good answer.
    """

    asked_hz: float
    sent: int
    late: int


@dataclass(frozen=True, slots=True)
class Objective:
    """The answer.

    Attributes:
        blocks: Everything that was asked, in order.
        rate_hz: Highest rate at which 99 of 100 requests are in time.
        low_hz: Lower end of its 99 % interval.
        high_hz: Upper end; infinite where the blocks do not bound it.
        reached: Whether the interval is as narrow as was asked.
    """

    blocks: tuple[Block, ...]
    rate_hz: float
    low_hz: float
    high_hz: float
    reached: bool


def find_rate(
    probe: Probe,
    slo_s: float,
    alone_s: float,
    *,
    precision: float,
    longest_s: float = math.inf,
    most_hz: float = 10_000.0,
) -> Objective:
    """Search the highest rate whose p99 is within an objective.

    1. Rates rise until more than 1 % of a block is late, then the bracket is halved.
    2. Blocks around the estimate say how the logarithm of the late share rises with the rate. Near the answer it is a
       line (of M/M/1 everywhere: P(T > t) = exp(−(μ − λ)t)). Late requests come in clusters, so the line is fitted as
       a Poisson regression whose variance is that between blocks (quasi-Poisson); a block, not a request, is a sample.
    3. From the interval that the first blocks give follows how many are needed. They are run, and the line is fitted
       again, until it is as precise as was asked or the time is over. The interval of the rate is
       Fieller's, with Student's t.

    Args:
        probe: Asks the service.
        slo_s: Objective in seconds.
        alone_s: Mean response of a request that is alone, in seconds.
        precision: Half-width of the interval that is wanted, as a share of the rate.
        longest_s: Seconds that may be asked in all; what is reached by then is the answer.
        most_hz: Highest rate that is tried.

    Raises:
        LoadtestError: The objective holds at no rate, or at every one that may be tried, or there is no time to say.
    """
    search = _Search(probe, slo_s, alone_s, longest_s, most_hz)
    rate_hz = search.bracket()
    for _ in range(_PILOTS):
        search.around(rate_hz, _PILOT, 2 * _SPREAD)
        line = search.line(rate_hz, 2 * _NEAR)
        if line is None:
            continue
        moved = min(max(line.rate_hz / rate_hz, 1 / (1 + _NEAR)), 1 + _NEAR)
        rate_hz *= moved
        if abs(moved - 1) <= _SPREAD:
            break
    line = search.line(rate_hz, _NEAR) or search.line(rate_hz, 2 * _NEAR)
    blocks = 0
    while line is not None and len(search.blocks) > blocks:
        blocks = len(search.blocks)
        half = line.half if math.isfinite(line.half) else 4 * precision
        near = len(search.near(rate_hz, _NEAR))
        more = math.ceil(1.2 * near * (half / precision) ** 2) - near
        search.around(rate_hz, min(_AT_ONCE, more), _SPREAD)
        line = search.line(rate_hz, _NEAR)
    if line is None:
        raise LoadtestError(
            f"the late requests of {len(search.blocks)} blocks near {rate_hz:.1f} requests/s do not say where 1 % is; "
            "give more --minutes"
        )
    return Objective(tuple(search.blocks), line.rate_hz, line.low_hz, line.high_hz, bool(line.half <= precision))


@dataclass(frozen=True, slots=True)
class _Line:
    rate_hz: float
    low_hz: float
    high_hz: float

    @property
    def half(self) -> float:
        return max(self.high_hz / self.rate_hz - 1, 1 - self.low_hz / self.rate_hz)


class _Search:
    def __init__(self, probe: Probe, slo_s: float, alone_s: float, longest_s: float, most_hz: float) -> None:
        self.probe, self.slo_s, self.alone_s, self.left_s = probe, slo_s, alone_s, longest_s
        self.most_hz = most_hz
        self.blocks: list[Block] = []
        # the nearer to ρ = 1 the objective lets the queue come, the longer it remembers; of M/M/1 1 − ρ = ln(100) S/t
        self.settling_s = settling_s(alone_s, 1.0, max(0.0, 1 - math.log(1 / SHARE) * alone_s / slo_s))

    def ask(self, rate_hz: float) -> Block | None:
        """One block; None where the time is over."""
        rate_hz = min(rate_hz, self.most_hz)
        length_s = self.settling_s + max(_REQUESTS / rate_hz, 3 * self.settling_s)
        if length_s > self.left_s:
            return None
        self.left_s -= length_s
        times = self.probe(rate_hz, length_s).after(self.settling_s).responses_s
        block = Block(rate_hz, len(times), int(np.sum(times > self.slo_s)))
        self.blocks.append(block)
        return block

    def bracket(self) -> float:
        """A rate near which 1 % are late."""
        most_hz = self.most_hz
        rate_hz = min(0.3 / self.alone_s, most_hz)
        low_hz = 0.0
        while True:
            block = self._must(rate_hz)
            if block.late > SHARE * block.sent:
                break
            if rate_hz >= most_hz:
                raise LoadtestError(
                    f"p99 is within {self.slo_s:g} s at {most_hz:g} requests/s, the highest rate; give a larger --most"
                )
            low_hz, rate_hz = rate_hz, min(rate_hz * _STEP, most_hz)
        high_hz = rate_hz
        while low_hz == 0.0:
            rate_hz /= 4
            block = self._must(rate_hz)
            if block.late <= SHARE * block.sent:
                low_hz = rate_hz
            elif rate_hz < 0.01 / self.alone_s:
                raise LoadtestError(
                    f"no rate keeps p99 within {self.slo_s:g} s: {100 * block.late / block.sent:.1f} % are later even "
                    f"at {rate_hz:.2f} requests/s, and a lone request takes {self.alone_s:.3f} s on average"
                )
            else:
                high_hz = rate_hz
        while high_hz > 1.12 * low_hz:
            middle_hz = math.sqrt(low_hz * high_hz)
            block = self._must(middle_hz)
            if block.late > SHARE * block.sent:
                high_hz = middle_hz
            else:
                low_hz = middle_hz
        return math.sqrt(low_hz * high_hz)

    def _must(self, rate_hz: float) -> Block:
        block = self.ask(rate_hz)
        if block is None:
            raise LoadtestError("the time was over before the rate was near; give more --minutes, or a shorter --p99")
        return block

    def around(self, rate_hz: float, blocks: int, spread: float) -> None:
        """Ask for blocks at a rate, a share below and above it, as long as there is time."""
        for number in range(blocks):
            if self.ask(rate_hz * (1 + spread * (number % 3 - 1))) is None:
                return

    def near(self, rate_hz: float, share: float) -> list[Block]:
        """Blocks whose rate differs by at most a share."""
        return [block for block in self.blocks if abs(block.asked_hz / rate_hz - 1) <= share]

    def line(self, rate_hz: float, share: float) -> _Line | None:
        """Where the line through the blocks near a rate meets 1 %; None where they do not say."""
        return _crossing(self.near(rate_hz, share), rate_hz)


def _crossing(blocks: Sequence[Block], rate_hz: float) -> _Line | None:
    """Fit log(late share) = a + b x, x = asked / rate − 1, and solve for 1 %.

    With v the covariance of (a, b) and t Student's quantile, Fieller's interval is every x with
    (a + bx − log 0.01)² ≤ t² (v_aa + 2x v_ab + x² v_bb).
    """
    late = np.array([block.late for block in blocks], dtype=float)
    if len(blocks) < 5 or late.sum() < 10:
        return None
    offset = np.log([block.sent for block in blocks])
    x = np.array([block.asked_hz for block in blocks]) / rate_hz - 1
    terms = np.stack((np.ones_like(x), x), axis=1)
    found, covariance = _quasi_poisson(terms, offset, late)
    a, b = found[0] - math.log(SHARE), found[1]
    if not (np.isfinite(covariance).all() and b > 0):
        return None
    place = -a / b
    t2 = float(stdtrit(len(blocks) - 2, 0.5 + CONFIDENCE / 2)) ** 2
    square, linear = b**2 - t2 * covariance[1, 1], a * b - t2 * covariance[0, 1]
    root = linear**2 - square * (a**2 - t2 * covariance[0, 0])
    if place <= -1:
        return None
    if square <= 0 or root < 0:  # the slope is not told from 0
        return _Line(rate_hz * (1 + place), 0.0, math.inf)
    low, high = ((-linear + sign * math.sqrt(root)) / square for sign in (-1, 1))
    return _Line(rate_hz * (1 + place), rate_hz * max(0.0, 1 + low), rate_hz * (1 + high))


def _quasi_poisson(terms: Floats, offset: Floats, counts: Floats) -> tuple[Floats, Floats]:
    """Coefficients and their covariance, by iterated weighted least squares; the scatter between counts is estimated.

    Source: P. McCullagh and J. A. Nelder, Generalized Linear Models (1989), chapters 2 and 9.
    """
    found = np.array([math.log(counts.sum() / np.exp(offset).sum()), 0.0])
    for _ in range(50):
        mean = np.exp(np.clip(offset + terms @ found, -50, 50))
        inverse = np.linalg.pinv(terms.T @ (terms * mean[:, None]))
        step = inverse @ (terms.T @ (counts - mean))
        found = found + np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-9:
            break
    mean = np.exp(np.clip(offset + terms @ found, -50, 50))
    inverse = np.linalg.pinv(terms.T @ (terms * mean[:, None]))
    scatter = max(1.0, float(np.sum((counts - mean) ** 2 / mean)) / (len(counts) - 2))
    return found, inverse * scatter
