"""Draw what a load generator tells on standard input, on standard error: `python -m loadtest.generate.viewer`.

It ends when its input ends; see `loadtest.generate.view` for what tells it.
"""

import json
import signal
import sys
from collections import deque
from typing import Any, TextIO

import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

_WINDOW_S = 5.0  # over which rates are counted
_LAST = 10_000  # requests over which quantiles are taken


class Board:
    """What is known of the load, and how it looks."""

    def __init__(self) -> None:
        self._trials: tuple[int, int] | None = None
        self._begin("", None, None, None)

    def _begin(self, name: str, asked_hz: float | None, length_s: float | None, requests: int | None) -> None:
        self._name, self._asked_hz, self._length_s, self._requests = name, asked_hz, length_s, requests
        self._at_s = 0.0
        self._sent = self._in_flight = self._ended = self._errors = 0
        self._responses: deque[int] = deque(maxlen=_LAST)
        self._lags: deque[int] = deque(maxlen=_LAST)
        self._counts: deque[tuple[float, int, int]] = deque([(0.0, 0, 0)])

    def take(self, message: dict[str, Any]) -> None:
        """Take in what the generator tells."""
        if "begin" in message:
            self._begin(message["begin"], message["asked_hz"], message["length_s"], message["requests"])
        elif "trials" in message:
            done, all_ = message["trials"]
            self._trials = (done, all_)
        elif "glimpse" in message:
            self._at_s, self._sent, self._in_flight, seen = message["glimpse"]
            for response_us, lag_us, ok in seen:
                self._ended += 1
                self._errors += not ok
                self._lags.append(lag_us)
                if ok:
                    self._responses.append(response_us)
            self._counts.append((self._at_s, self._sent, self._ended - self._errors))
            while self._at_s - self._counts[0][0] > _WINDOW_S and len(self._counts) > 2:
                self._counts.popleft()

    def drawn(self) -> Group:
        """The board as rich draws it: a line for what it is, one for how far it is, and its figures."""
        trials = f"trial {min(self._trials[0] + 1, self._trials[1])} of {self._trials[1]}   " if self._trials else ""
        bar = Table.grid(padding=(0, 2))
        share = self._share()
        bar.add_row(ProgressBar(total=1.0, completed=share or 0.0, width=40, pulse=share is None), self._left())
        figures = Table.grid(padding=(0, 3))
        figures.add_row(
            self._pair("asked", "–" if self._asked_hz is None else f"{self._asked_hz:.1f}/s"),
            self._pair("sent", f"{self._rate(1):.1f}/s"),
            self._pair("answered", f"{self._rate(2):.1f}/s"),
            self._pair("in flight", str(self._in_flight)),
            self._pair("errors", str(self._errors), "bold red" if self._errors else "bold"),
        )
        figures.add_row(
            self._pair("p50", _ms(self._responses, 0.5)),
            self._pair("p99", _ms(self._responses, 0.99)),
            self._pair("lag p99", _ms(self._lags, 0.99)),
            self._pair("requests", str(self._ended)),
        )
        return Group(Text(f"{trials}{self._name}"), bar, figures)

    def _rate(self, column: int) -> float:
        first, last = self._counts[0], self._counts[-1]
        return (last[column] - first[column]) / max(last[0] - first[0], 1e-9)

    def _share(self) -> float | None:
        if self._length_s:
            return min(self._at_s / self._length_s, 1.0)
        return min(self._ended / self._requests, 1.0) if self._requests else None

    def _left(self) -> str:
        if self._length_s:
            return f"{max(self._length_s - self._at_s, 0.0):.0f} s left"
        return f"{self._ended} of {self._requests}" if self._requests else f"{self._at_s:.0f} s"

    def _pair(self, name: str, value: str, style: str = "bold") -> Text:
        return Text.assemble((f"{name} ", "dim"), (value, style))


def _ms(values_us: deque[int], quantile: float) -> str:
    return f"{float(np.quantile(list(values_us), quantile)) / 1e3:.2f} ms" if values_us else "–"


def watch(lines: TextIO, console: Console) -> None:
    """Draw until the input ends."""
    board = Board()
    with Live(console=console, auto_refresh=False, transient=True) as live:
        for line in lines:
            message = json.loads(line)
            if "say" in message:
                console.print(message["say"], markup=False, soft_wrap=True)
                continue
            board.take(message)
            live.update(board.drawn(), refresh=True)


def main() -> None:
    """Draw what comes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the generator, which closes the input then
    watch(sys.stdin, Console(stderr=True, highlight=False))


if __name__ == "__main__":
    main()
