"""How long a process takes for a request: two samples of service times, after idleness and after another request."""

from dataclasses import dataclass

import numpy as np

from loadtest.arrays import Floats

_DRAWN = 20_000


@dataclass(frozen=True, slots=True)
class Service:
    """Service times of one process of a worker, from which those of requests are drawn.

    Attributes:
        idle_s: Of requests that found a process idle, in seconds, shape (i,).
        busy_s: Of requests that waited for another one, in seconds, shape (b,).
        source: Where they come from, as a sentence.
    """

    idle_s: Floats
    busy_s: Floats
    source: str

    @property
    def mean_s(self) -> float:
        """Mean of a busy process's service times in seconds; its reciprocal is a process's capacity."""
        return float(self.busy_s.mean())

    @property
    def cv2(self) -> float:
        """Squared coefficient of variation c² of a busy process's service times."""
        return float(self.busy_s.var()) / self.mean_s**2

    def draw(self, count: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Service times of this many requests, should they find a process idle, and should they find none."""
        return rng.choice(self.idle_s, count), rng.choice(self.busy_s, count)

    def scaled(self, factor: float) -> "Service":
        """The same with times so many times as long."""
        return Service(self.idle_s * factor, self.busy_s * factor, self.source)


def supposed(mean_s: float, cv2: float, seed: int) -> Service:
    """Service times of a gamma law with this mean in seconds and c²; constant where c² is 0."""
    drawn: Floats = np.full(1, mean_s)
    if cv2:
        drawn = np.random.default_rng(seed).gamma(1 / cv2, mean_s * cv2, _DRAWN)
        drawn *= mean_s / drawn.mean()
    return Service(drawn, drawn, f"supposed: {1e3 * mean_s:g} ms, c² = {cv2:g}, idle or busy")
