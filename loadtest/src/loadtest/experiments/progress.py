"""What a person sees while a run goes: a live view on a terminal, else a line a trial; always on standard error."""

import sys
import time
from collections.abc import Callable, Sequence
from types import TracebackType

import numpy as np
from rich.console import Console

from loadtest.generate.samples import Sample
from loadtest.generate.view import Glimpse, View


def outcome(samples: Sequence[Sample]) -> str:
    """How many requests a trial had, how many failed, and their mean response time."""
    times = [one.response_s for one in samples if one.ok]
    mean = f"{1e3 * float(np.mean(times)):.1f} ms" if times else "–"
    return f"n {len(samples)}, errors {len(samples) - len(times)}, mean {mean}"


class Reporter:
    """Shows a run's progress; by default in a live view where standard error is a terminal."""

    def __init__(self, trials: int, *, terminal: bool | None = None) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._view = View() if (sys.stderr.isatty() if terminal is None else terminal) else None
        self._trials = trials
        self._done = 0
        self._began = time.monotonic()

    def __enter__(self) -> "Reporter":
        """Show the view within a block."""
        if self._view:
            self._view.__enter__()
            self._view.trials(0, self._trials)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the view away; what was said stays on the screen."""
        if self._view:
            self._view.__exit__(kind, error, trace)

    @property
    def watch(self) -> Callable[[Glimpse], None] | None:
        """What a runner tells its glimpses to; None where nobody looks."""
        return self._view.show if self._view else None

    @property
    def processes(self) -> list[int]:
        """Who draws the live view."""
        return self._view.processes if self._view else []

    def say(self, text: str) -> None:
        """Print one line."""
        if self._view:
            self._view.say(text)
        else:
            self._console.print(text, markup=False, soft_wrap=True)

    def begin(
        self, name: str, requests: int | None, *, asked_hz: float | None = None, length_s: float | None = None
    ) -> None:
        """Something begins: a calibration or a trial, with what is known of its requests, rate and length."""
        if self._view:
            self._view.begin(name, asked_hz=asked_hz, length_s=length_s, requests=requests)

    def trial_done(self, name: str, note: str) -> None:
        """A trial has ended."""
        self._done += 1
        if self._view:
            self._view.trials(self._done, self._trials)
        elapsed_s = time.monotonic() - self._began
        self.say(f"{self._done}/{self._trials}  {elapsed_s:6.0f} s  {name}: {note}")
