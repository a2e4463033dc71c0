"""What a person sees while load is sent. A process of its own draws it, `loadtest.generate.viewer`.

To draw a screen takes Python some milliseconds. In the generator, also in a thread of it, requests would leave later by
that. Here it writes a line four times a second, and never waits for who reads it.
"""

import contextlib
import json
import os
import subprocess
import sys
from types import TracebackType
from typing import Any, NamedTuple

Seen = tuple[int, int, bool]  # of one request: response time and lag in microseconds, and whether it was answered
_MOST_UNREAD = 1 << 20


class Glimpse(NamedTuple):
    """What a load has come to.

    Attributes:
        at_s: Seconds since it began.
        sent: Requests so far.
        in_flight: Requests under way.
        seen: Requests that have ended since the last glimpse.
    """

    at_s: float
    sent: int
    in_flight: int
    seen: list[Seen]


class View:
    """Draws a run on the terminal that standard error is, within a block.

    A view that cannot be drawn, or whose process has ended, shows nothing and disturbs nothing.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._unread = b""

    def __enter__(self) -> "View":
        """Begin to draw."""
        command = [sys.executable, "-m", "loadtest.generate.viewer"]
        with contextlib.suppress(OSError):
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)  # noqa: S603
            assert self._process.stdin is not None
            os.set_blocking(self._process.stdin.fileno(), False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the lines that were said, and take the rest away."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            os.set_blocking(self._process.stdin.fileno(), True)
            self._flush()
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.wait()

    @property
    def processes(self) -> list[int]:
        """Who draws it; nobody where it cannot be drawn."""
        return [] if self._process is None else [self._process.pid]

    def say(self, text: str) -> None:
        """Print one line above what is drawn."""
        self._tell({"say": text})

    def begin(
        self, name: str, *, asked_hz: float | None = None, length_s: float | None = None, requests: int | None = None
    ) -> None:
        """A load begins: its name, and what is known of its rate, its length and its number of requests."""
        self._tell({"begin": name, "asked_hz": asked_hz, "length_s": length_s, "requests": requests})

    def show(self, glimpse: Glimpse) -> None:
        """Show what has come of it."""
        self._tell({"glimpse": glimpse})

    def trials(self, done: int, all_: int) -> None:
        """So many of the run's trials are done."""
        self._tell({"trials": [done, all_]})

    def _tell(self, message: dict[str, Any]) -> None:
        if self._process is None:
            return
        if len(self._unread) < _MOST_UNREAD or "say" in message:  # a person who stopped the terminal misses glimpses
            self._unread += json.dumps(message).encode() + b"\n"
        self._flush()

    def _flush(self) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            while self._unread:
                self._unread = self._unread[os.write(self._process.stdin.fileno(), self._unread) :]
        except BlockingIOError:
            pass
        except OSError:
            self._unread = b""  # its process has ended
