"""The file that says who sleeps, for the agent of the pool, and how many shall serve.

It outlives this program, so the pool stays as it is.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO


@dataclass(frozen=True, slots=True)
class Kept:
    """What the file says.

    Attributes:
        asleep: Who sleeps.
        target: How many shall serve; None where nothing says so.
        service_s: Seconds of one answer; None where nothing says so.
        model: Name and digest of the model that took them; empty where it is not known.
    """

    asleep: frozenset[str] = frozenset()
    target: int | None = None
    service_s: float | None = None
    model: str = ""


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

    def read(self) -> Kept:
        """Return what the file says."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            said = json.loads(self._path.read_bytes())
            target, service_s = said["target"], said["service_s"]
            return Kept(
                frozenset(map(str, said["asleep"])),
                None if target is None else int(target),
                None if service_s is None else float(service_s),
                str(said["model"]),
            )
        return Kept()

    def write(self, kept: Kept) -> None:
        """Say who sleeps, how many shall serve, and what one answer of which model takes.

        Raises:
            OSError: The folder cannot be written; what stood there stands.
        """
        aside = self._path.with_name(f".{self._path.name}.partial")
        with aside.open("w", encoding="utf-8") as file:
            said = {"asleep": sorted(kept.asleep), "service_s": kept.service_s, "model": kept.model}
            json.dump(said | {"target": kept.target}, file)
            file.flush()
            os.fsync(file.fileno())
        aside.chmod(0o644)
        aside.replace(self._path)
