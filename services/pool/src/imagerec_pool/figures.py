"""What became of the requests of the last minutes, second by second, and each worker's part: for the live page.

All of it is counted from lines of the access log, each once, in the second in which nginx wrote it. A second is told
when it is over and its last lines have been read. Memory is bounded: of the last ten seconds each time is kept, of the
last five minutes one row a second.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from imagerec_pool.access_log import Request

KEPT_S = 300
WINDOW_S = 10
# nginx writes a line at once, and the agent looks ten times a second.
_LATE_S = 0.3
OUTCOMES = ("answered", "refused", "errors", "lost")
COLUMNS = ("serving", "members", *OUTCOMES, "p50_ms", "p99_ms")
# What a client is told of a worker that does not serve.
_REASONS = ("why", "since")


def outcome_of(status: int) -> str:
    """Return what became of a request: 429 and 503 are refusals, 499 is nginx's for a client that left early."""
    if status in {429, 503}:
        return "refused"
    if status == 499:
        return "lost"
    return "errors" if status >= 500 else "answered"


def percentile(ordered: list[float], share: float) -> int | None:
    """Return the smallest time that so large a share is not above (nearest rank), in whole ms; None of no times."""
    return round(ordered[max(0, math.ceil(share * len(ordered)) - 1)]) if ordered else None


class _Second:
    """What the lines of some seconds hold.

    Attributes:
        counts: How many requests had each outcome.
        times_ms: How long each request took that a worker answered well.
        given: How many answers each worker gave to clients.
        worker_ms: How long each worker was asked, of those that it answered well.
    """

    __slots__ = ("counts", "given", "times_ms", "worker_ms")

    def __init__(self) -> None:
        self.counts = dict.fromkeys(OUTCOMES, 0)
        self.times_ms: list[float] = []
        self.given: dict[str, int] = {}
        self.worker_ms: dict[str, list[float]] = {}

    def add(self, request: Request, worker: str | None) -> None:
        outcome = outcome_of(request.status)
        self.counts[outcome] += 1
        if outcome == "answered" and request.by is not None:
            self.times_ms.append(request.took_ms)
            if worker is not None:
                self.worker_ms.setdefault(worker, []).append(request.worker_ms)
        if worker is not None:
            self.given[worker] = self.given.get(worker, 0) + 1

    def take(self, other: _Second) -> None:
        for outcome, count in other.counts.items():
            self.counts[outcome] += count
        self.times_ms += other.times_ms
        for worker, count in other.given.items():
            self.given[worker] = self.given.get(worker, 0) + count
        for worker, times_ms in other.worker_ms.items():
            self.worker_ms.setdefault(worker, []).extend(times_ms)


class Figures:
    """The series, which grows by a row each second."""

    def __init__(self, now_s: float) -> None:
        self._begin(math.floor(now_s))

    def _begin(self, second: int) -> None:
        self._next = second  # the first one that is not over
        self._open: dict[int, _Second] = {}
        self._recent: deque[_Second] = deque(maxlen=WINDOW_S)
        self._rows: deque[tuple[int | None, ...]] = deque(maxlen=KEPT_S)
        self._told: tuple[int, dict[str, Any], _Second] | None = None

    def add(self, request: Request, worker: str | None) -> None:
        """Count a request; ``worker`` is None where nobody of the pool answered it."""
        second = min(max(math.floor(request.ended_s), self._next), self._next + KEPT_S)
        if second not in self._open:
            self._open[second] = _Second()
        self._open[second].add(request, worker)

    def close(self, now_s: float, serving: int, members: int) -> None:
        """Close the seconds that are over.

        Args:
            now_s: The time, in seconds since 1970. After a clock that jumped the series begins anew.
            serving: How many workers serve now.
            members: How many there are.
        """
        due = math.floor(now_s - _LATE_S)
        if not -1 <= due - self._next <= KEPT_S:
            self._begin(due)
        while self._next < due:
            second = self._open.pop(self._next, None) or _Second()
            ordered = sorted(second.times_ms)
            times = percentile(ordered, 0.5), percentile(ordered, 0.99)
            self._rows.append((serving, members, *second.counts.values(), *times))
            self._recent.append(second)
            self._next += 1

    def tell(self, report: Iterable[Mapping[str, Any]], since: int | None = None) -> dict[str, Any]:
        """Return what the live page shows, a JSON object.

        Args:
            report: Each worker as the agent reports it.
            since: The last second that is known already, since 1970; None for all that is kept.
        """
        first = self._next - len(self._rows)
        skipped = 0 if since is None else min(max(0, since + 1 - first), len(self._rows))
        rows = list(self._rows)[skipped:]
        requests, window = self._window()
        total = sum(window.given.values())
        columns: Iterable[Iterable[int | None]] = zip(*rows, strict=True) if rows else [()] * len(COLUMNS)
        return {
            "time": self._next - 1,
            "window_s": len(self._recent),
            "requests": requests,
            "workers": [_worker(each, window, total, len(self._recent)) for each in report],
            "seconds": {"first": first + skipped, **dict(zip(COLUMNS, map(list, columns), strict=True))},
        }

    def _window(self) -> tuple[dict[str, Any], _Second]:
        """Return the requests of the last ten seconds, and all that was seen of them; made once a second."""
        if self._told is None or self._told[0] != self._next:
            window = _Second()
            for second in self._recent:
                window.take(second)
            times_ms = window.times_ms
            times_ms.sort()
            requests = {
                "rate_hz": _rate_hz(sum(window.counts.values()), len(self._recent)),
                **window.counts,
                "mean_ms": round(sum(times_ms) / len(times_ms), 1) if times_ms else None,
                "p50_ms": percentile(times_ms, 0.5),
                "p99_ms": percentile(times_ms, 0.99),
            }
            self._told = self._next, requests, window
        return self._told[1], self._told[2]


def _worker(report: Mapping[str, Any], window: _Second, total: int, seconds: int) -> dict[str, Any]:
    name = report["name"]
    given = window.given.get(name, 0)
    return {
        "name": name,
        "state": report["state"],
        "busy": report["under_way"],
        "rate_hz": _rate_hz(given, seconds),
        "share": round(given / total, 4) if total else 0,
        "p99_ms": percentile(sorted(window.worker_ms.get(name, [])), 0.99),
        **({reason: report[reason] for reason in _REASONS} if report["state"] != "up" else {}),
    }


def _rate_hz(count: int, seconds: int) -> float:
    return round(count / seconds, 1) if seconds else 0
