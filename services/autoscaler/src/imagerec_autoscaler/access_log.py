"""The balancer's access log as it grows: what came to the workers since the last look, and what it cost them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_MOST_BYTES = 4 * 1024 * 1024
_PHASE = re.compile(r"(queue|total|overhead);dur=([0-9.]+)")
# nginx names the pool itself where no worker had room.
_NO_ROOM = re.compile(r"(^|, |: )workers$")


@dataclass(slots=True)
class Tally:
    """Requests that were finished, those of which the times are known, these added up, and those without room."""

    finished: int = 0
    answers: int = 0
    busy_s: float = 0.0
    waited_s: float = 0.0
    refused: int = 0


def tally(lines: Iterable[bytes]) -> Tally:
    """Add up lines of the log; only what was sent to be recognised counts."""
    found = Tally()
    for line in lines:
        try:
            entry = json.loads(line)
            asked = entry["method"] == "POST" and entry["upstream_addr"]
            if not asked:
                continue
            found.refused += entry["status"] == 429 and bool(_NO_ROOM.search(entry["upstream_addr"]))
            phases = dict(_PHASE.findall(entry.get("timing", "")))
            found.finished += 1
            if "total" in phases:
                found.busy_s += (float(phases["total"]) + float(phases.get("overhead", 0))) / 1000
                found.waited_s += float(phases.get("queue", 0)) / 1000
                found.answers += 1
        except (ValueError, KeyError, TypeError):
            continue
    return found


class AccessLog:
    """Reads what was added to the log; follows it when it is rotated or cut."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._rest = b""

    def read(self) -> Tally:
        """Return what was logged since the last call; nothing at the first.

        Raises:
            OSError: There is no log, or it cannot be read.
        """
        if self._file is None:
            self._file = self._path.open("rb")
            self._file.seek(0, 2)
            return Tally()
        text = self._rest + self._added(self._file)
        *lines, self._rest = text.split(b"\n")
        return tally(lines)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _added(self, file: BinaryIO) -> bytes:
        added = file.read(_MOST_BYTES)
        held = os.fstat(file.fileno())
        try:
            there = self._path.stat()
        except FileNotFoundError:
            if held.st_nlink:  # it has another name: nginx goes on writing there until it opens the new one
                return added
            raise
        if there.st_ino == held.st_ino and there.st_size >= file.tell():
            return added
        self.close()
        self._file = self._path.open("rb")
        return added + self._file.read(_MOST_BYTES)
