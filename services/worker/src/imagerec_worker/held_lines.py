"""Lines for the standard error stream, held for a moment and written together.

Whoever reads the stream (supervisor, journald) pays for each write, not for each line. One write is never longer than
what a pipe takes whole, so the lines of several processes do not mix. Gunicorn's own messages are not held: they may
stand before lines that are a moment older.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import threading
import time

HELD_S = 0.2
# At once below this, a pipe takes all of a write or nothing of it yet (pipe(7)).
MOST_BYTES = select.PIPE_BUF
_STDERR = 2


class HeldLines:
    """Holds lines for at most :data:`HELD_S`.

    A thread writes what is held; it is made by the first line and sleeps in the kernel while nothing is held.
    """

    def __init__(self) -> None:
        self._held = b""
        self._lock = threading.Lock()
        self._begun = threading.Event()
        self._writer: threading.Thread | None = None

    def put(self, line: str, *, at_once: bool) -> None:
        """Hold a line, which ends with a newline; with ``at_once`` write it, and what was held before it."""
        data = line.encode()
        with self._lock:
            if len(self._held) + len(data) > MOST_BYTES:
                self._write()
            first = not self._held
            self._held += data
            if at_once or len(data) > MOST_BYTES:
                self._write()
                return
        if first:
            if self._writer is None:
                self._writer = threading.Thread(target=self._keep_writing, name="log", daemon=True)
                self._writer.start()
            self._begun.set()

    def flush(self) -> None:
        """Write what is held."""
        with self._lock:
            self._write()

    def _write(self) -> None:
        if self._held:
            with contextlib.suppress(OSError):  # a full disk or a reader that has gone must not end a request
                os.write(_STDERR, self._held)
            self._held = b""

    def _keep_writing(self) -> None:
        while True:
            self._begun.wait()
            self._begun.clear()
            time.sleep(HELD_S)
            self.flush()


_lines = HeldLines()


def put(line: str, *, at_once: bool) -> None:
    """Hold a line for this process; see :meth:`HeldLines.put`."""
    _lines.put(line, at_once=at_once)


def flush() -> None:
    """Write what this process holds."""
    _lines.flush()


def _forget() -> None:
    """Begin anew in a process that was forked: the lines, the lock and the thread are its parent's."""
    global _lines  # noqa: PLW0603
    _lines = HeldLines()


atexit.register(flush)
os.register_at_fork(before=flush, after_in_child=_forget)
