"""The file that says who sleeps, for the agent of the pool. It outlives this program, so the pool stays as it is."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import TextIO


class Standby:
    """The file, and the lock beside it that lets one program at a time write it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock: TextIO | None = None

    def lock(self) -> bool:
        """Take the lock; return whether it was free.

        Raises:
            OSError: The folder cannot be written.
        """
        file = self._path.with_suffix(".lock").open("a", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        self._lock = file
        return True

    def read(self, model: str) -> tuple[set[str], float | None]:
        """Return who sleeps, and the seconds of one answer of this model; nobody and None where nothing says so."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            said = json.loads(self._path.read_bytes())
            service_s = said.get("service_s") if said.get("model", "") == model else None
            return set(map(str, said["asleep"])), None if service_s is None else float(service_s)
        return set(), None

    def write(self, asleep: Collection[str], service_s: float | None, model: str) -> None:
        """Say who sleeps, and what one answer of which model takes.

        Raises:
            OSError: The folder cannot be written; what stood there stands.
        """
        aside = self._path.with_name(f".{self._path.name}.partial")
        with aside.open("w", encoding="utf-8") as file:
            json.dump({"asleep": sorted(asleep), "service_s": service_s, "model": model}, file)
            file.flush()
            os.fsync(file.fileno())
        aside.chmod(0o644)
        aside.replace(self._path)
