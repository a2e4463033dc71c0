"""Progress shown while something runs long: a bar on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

_LINE_EVERY_S = 60.0


class Report(Protocol):
    """What a running job calls: units done in all, and a text such as a speed."""

    def __call__(self, done: float, text: str = "") -> None:
        """Show that `done` units are finished."""


@contextmanager
def progress(title: str, total: float, *, already: float = 0.0, in_bytes: bool = False) -> Iterator[Report]:
    """Show the progress of a job on standard error, with the time that is left.

    Args:
        title: what is being done.
        total: units in all; a unit is anything that takes equally long each.
        already: units that were done before.
        in_bytes: units are bytes; shows megabytes and their speed.

    Yields:
        A function to call with the units done so far.
    """
    console = Console(stderr=True)
    if console.is_terminal:
        counts = (DownloadColumn(), TransferSpeedColumn()) if in_bytes else (TextColumn("{task.fields[text]}"),)
        with Progress(TextColumn(title), BarColumn(), *counts, TimeRemainingColumn(), console=console) as bar:
            task = bar.add_task(title, total=total, text="")
            bar.update(task, completed=already)
            yield lambda done, text="": bar.update(task, completed=done, text=text)
        return
    yield _Lines(title, total, already)


class _Lines:
    def __init__(self, title: str, total: float, already: float) -> None:
        self._title, self._total, self._already = title, total, already
        self._start = self._last = time.monotonic()

    def __call__(self, done: float, text: str = "") -> None:
        now = time.monotonic()
        if now - self._last < _LINE_EVERY_S or done <= self._already:
            return
        self._last = now
        left_s = (now - self._start) * (self._total - done) / (done - self._already)
        share = 100 * done / self._total
        line = f"{self._title}: {share:.1f} %, {text + ', ' if text else ''}{left_s / 60:.0f} min left\n"
        sys.stderr.write(line)
        sys.stderr.flush()
