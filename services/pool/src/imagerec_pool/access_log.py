"""The balancer's access log as it grows: which worker answered, and whether by a 500."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

_MOST_BYTES = 4 * 1024 * 1024
# What nginx writes where a worker gave no answer of its own.
_NO_ANSWER = {"502", "504", "-", ""}
# nginx puts a comma between tries, and a colon where it went on in another location.
_BETWEEN = re.compile(", | : ")


class Answer(NamedTuple):
    """One answer of a worker."""

    address: str
    status: int


def answers_in(line: bytes) -> Iterator[Answer]:
    """Yield the answers of workers that a line of the log tells of: of several tries each one that was answered."""
    try:
        entry = json.loads(line)
        addresses = _BETWEEN.split(entry["upstream_addr"])
        statuses = _BETWEEN.split(entry["upstream_status"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return
    for address, status in zip(addresses, statuses, strict=False):
        if status not in _NO_ANSWER and status.isdigit():
            yield Answer(address, int(status))


class AccessLog:
    """Reads what was added to a log since the last call; follows it when it is rotated or cut."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._rest = b""
        self._open(at_end=True)

    def read(self) -> list[Answer]:
        """Return the answers that were logged since the last call."""
        text = self._rest + self._added()
        *lines, self._rest = text.split(b"\n")
        return [answer for line in lines for answer in answers_in(line)]

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self, *, at_end: bool) -> None:
        self.close()
        try:
            self._file = self._path.open("rb")
        except OSError:
            return
        if at_end:
            self._file.seek(0, 2)

    def _added(self) -> bytes:
        if self._file is None:
            self._open(at_end=False)
            if self._file is None:
                return b""
        added = self._file.read(_MOST_BYTES)
        if added:
            return added
        try:
            there = self._path.stat()
        except OSError:
            return b""
        held = self._file
        if there.st_size < held.tell() or not _same(held, there.st_ino):
            self._rest = b""
            self._open(at_end=False)
        return b""


def _same(file: BinaryIO, inode: int) -> bool:
    return Path(f"/proc/self/fd/{file.fileno()}").stat().st_ino == inode
