"""What a process needs around a classification: to take the request, to send the answer, its line in the log.

A process can answer no more than one request in ``total`` and this together, so whoever plans with ``total`` alone
plans with too few workers.
"""

from __future__ import annotations

import time
from collections.abc import Callable

# The mean follows the last answers, about so many.
_ANSWERS = 100


class Overhead:
    """Times each request of a process, from the end of the one before, or from when it came to a process that waited.

    Args:
        clock: Returns seconds.

    Attributes:
        mean_s: Seconds around a classification, the mean of the last ones; None before the first.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self.mean_s: float | None = None
        self._answers = 0
        self._waited = True
        self._begun_s = self._ended_s = 0.0
        self._classified_s: float | None = None

    def wait(self) -> None:
        """Say that nobody has asked for anything."""
        self._waited = True

    def begin(self) -> None:
        """Say that a request was taken."""
        self._begun_s = self._clock() if self._waited else self._ended_s
        self._waited, self._classified_s = False, None

    def classified(self, spent_s: float) -> None:
        """Say how long the classification of the present request took."""
        self._classified_s = spent_s

    def end(self) -> None:
        """Say that the present request has been dealt with; one without a classification does not count."""
        self._ended_s = self._clock()
        if self._classified_s is None:
            return
        around_s = max(0.0, self._ended_s - self._begun_s - self._classified_s)
        self._answers = min(self._answers + 1, _ANSWERS)
        before_s = self.mean_s or 0.0
        self.mean_s = before_s + (around_s - before_s) / self._answers


# Of this process; a child has the mean of its parent.
PROCESS = Overhead()
