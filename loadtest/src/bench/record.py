"""Where a run is kept while it goes on: after each round the folder holds all rounds so far, and their page."""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench import report, trials
from loadtest.errors import LoadtestError


class Record:
    """A folder that a run is kept in; it is made where it is not there.

    Raises:
        LoadtestError: It is a file, or nothing can be written there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept = False
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise LoadtestError(
                f"nothing can be kept in {folder} ({error.strerror}); name a folder by RECORD that can be written"
            ) from error

    def keep(self, run: trials.Run) -> None:
        """Write all rounds so far, and the page of what was written."""
        trials.keep(run, self._folder)
        self._kept = True
        redraw(self._folder)

    def show(self) -> None:
        """Print the page of what this run has kept."""
        if self._kept:
            print(report.page(trials.read(self._folder)))


def redraw(folder: Path) -> trials.Run:
    """Write the page of a kept run beside it; return the run.

    Raises:
        LoadtestError: There is none, or it is damaged.
    """
    run = trials.read(folder)
    trials.write(folder / report.PAGE, report.page(run).encode())
    return run
