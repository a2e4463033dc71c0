"""What a person sees while a run goes: bars on a terminal, one line a trial elsewhere; always on standard error."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


class Reporter:
    """Shows a run's progress.

    Args:
        trials: How many trials there are.
        terminal: Draw bars; by default where standard error is a terminal.
    """

    def __init__(self, trials: int, *, terminal: bool | None = None) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._bars = sys.stderr.isatty() if terminal is None else terminal
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
            disable=not self._bars,
        )
        self._trials = trials
        self._done = 0
        self._all: TaskID | None = None
        self._one: TaskID | None = None
        self._began = time.monotonic()

    def __enter__(self) -> "Reporter":
        """Show the bars within a block."""
        self._progress.start()
        self._all = self._progress.add_task("trials", total=self._trials)
        self._one = self._progress.add_task("", total=None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the last state on the screen."""
        self._progress.stop()

    def say(self, text: str) -> None:
        """Print one line."""
        self._console.print(text, markup=False, soft_wrap=True)

    def begin(self, name: str, requests: int | None) -> None:
        """Something begins: a calibration or a trial, with so many requests if that is known."""
        if self._one is not None:
            self._progress.reset(self._one, description=name, total=requests)

    def requests(self, finished: int) -> None:
        """So many of its requests are finished."""
        if self._one is not None:
            self._progress.update(self._one, completed=finished)

    def trial_done(self, name: str, note: str) -> None:
        """A trial has ended."""
        self._done += 1
        if self._all is not None:
            self._progress.update(self._all, completed=self._done)
        elapsed_s = time.monotonic() - self._began
        self.say(f"{self._done}/{self._trials}  {elapsed_s:6.0f} s  {name}: {note}")
