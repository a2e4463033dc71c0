"""The balancer's access log as it grows: which worker answered and whether by a 500, and what clients got."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

_MOST_BYTES = 4 * 1024 * 1024
# What nginx writes where a worker gave no answer of its own.
_NO_ANSWER = {"502", "504", "-", ""}
# nginx puts a comma between tries, and a colon where it went on in another location.
_BETWEEN = re.compile(", | : ")
# Where photographs are sent to.
_CLASSIFIES = re.compile(r"/(predict|submit|v2/.+)")
# What nginx writes of a body that breaks off, or does not go on: it closes the connection without an answer. Before may
# have come "100 Continue", of 25 bytes; each of its own answers has more than 300.
_CUT_SHORT, _LEAST_BYTES, _CLIENT_LEFT = {400, 408}, 100, 499


class Answer(NamedTuple):
    """One answer of a worker."""

    address: str
    status: int


class Request(NamedTuple):
    """One request to classify.

    Attributes:
        ended_s: When nginx wrote its line, in seconds since 1970.
        status: What the client got; 499 where it left before its answer, or before it had sent its photograph whole.
        took_ms: From its first byte to the last byte of the answer, by nginx's clock.
        by: The address of the worker whose answer the client got; None where nginx answered by itself.
        worker_ms: For how long that worker was asked.
    """

    ended_s: float
    status: int
    took_ms: float
    by: str | None
    worker_ms: float


class Entry(NamedTuple):
    """One line of the log: each try that a worker answered, and the request where it is one to classify."""

    answers: tuple[Answer, ...]
    request: Request | None


def entry_of(line: bytes) -> Entry:
    """Return what a line of the log tells; nothing where it is not the log's."""
    try:
        fields = json.loads(line)
        addresses = _BETWEEN.split(fields["upstream_addr"])
        statuses = _BETWEEN.split(fields["upstream_status"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return Entry((), None)
    tries = list(zip(addresses, statuses, strict=False))
    answers = tuple(Answer(address, int(status)) for address, status in tries if _answered(status))
    last = addresses[-1] if _answered(statuses[-1]) else None
    return Entry(answers, _request(fields, last))


def _answered(status: str) -> bool:
    return status not in _NO_ANSWER and status.isdigit()


def _request(fields: dict[str, Any], by: str | None) -> Request | None:
    try:
        if fields["method"] != "POST" or not _CLASSIFIES.fullmatch(fields["path"]):
            return None
        ended_s, took_s = float(fields["msec"]), float(fields["request_s"])
        asked_s = _BETWEEN.split(fields["upstream_response_s"])[-1]
        worker_s = took_s if asked_s in _NO_ANSWER else float(asked_s)
        status = int(fields["status"])
        if status in _CUT_SHORT and fields["response_bytes"] < _LEAST_BYTES:
            status = _CLIENT_LEFT
        return Request(ended_s, status, took_s * 1000, by, worker_s * 1000)
    except (ValueError, KeyError, TypeError):
        return None


class AccessLog:
    """Reads what was added to a log since the last call; follows it when it is rotated or cut."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._rest = b""
        self._open(at_end=True)

    def read(self) -> list[Entry]:
        """Return what was logged since the last call."""
        text = self._rest + self._added()
        *lines, self._rest = text.split(b"\n")
        return [entry_of(line) for line in lines]

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
        if there.st_size < held.tell() or os.fstat(held.fileno()).st_ino != there.st_ino:
            self._rest = b""
            self._open(at_end=False)
        return b""
