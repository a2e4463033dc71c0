"""Who sleeps until it is needed: a file of the autoscaler, `{"asleep": ["worker3"]}`."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from pathlib import Path

# The autoscaler needs two seconds to replace a worker that fell. Where it is away, this program does it then.
_ALONE_S = 4.0


class Standby:
    """Reads the file when it changes; without a file nobody sleeps."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._names: frozenset[str] = frozenset()
        self._alone_since_s: float | None = None

    def asleep(self, members: Collection[str], serving: Iterable[str], now_s: float) -> set[str]:
        """Return who must sleep now; nobody where only sleepers are left that could serve.

        Args:
            members: Names of the pool.
            serving: Names of those that serve.
            now_s: The time, in seconds of any clock that only goes forward.
        """
        listed = self._listed() & set(members)
        if not listed or set(serving) - listed:
            self._alone_since_s = None
            return listed
        if self._alone_since_s is None:
            self._alone_since_s = now_s
        return listed if now_s - self._alone_since_s < _ALONE_S else set()

    def _listed(self) -> set[str]:
        if self._path is None:
            return set()
        try:
            there = self._path.stat()
            stamp = (there.st_ino, there.st_mtime_ns)
            if stamp != self._stamp:
                self._names = frozenset(map(str, json.loads(self._path.read_bytes())["asleep"]))
                self._stamp = stamp
        except FileNotFoundError:
            self._names, self._stamp = frozenset(), None
        except (OSError, ValueError, KeyError, TypeError):
            pass  # it is written beside and renamed, so the next look finds a whole one; the last one counts until then
        return set(self._names)
