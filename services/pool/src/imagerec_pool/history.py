"""What Prometheus has kept of the last hours, for the live page: a few columns of 300 points.

Prometheus runs beside this program where `make monitor` has started it. It is asked one fixed question for each window,
and what it said is told to everybody for fifteen seconds.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from typing import Any

import aiohttp

WINDOWS_H = (1, 6, 24)
POINTS = 300
FRESH_S = 15.0
# nginx waits one second for this program.
PATIENCE_S = 0.8
# Its answer has 70 kB. Whatever else listens at its port must not fill this program's memory.
_MOST_BYTES = 1 << 20
# Between two questions for metrics Prometheus lets at most 15 s pass.
_LEAST_SPAN_S = 60
_OFF: dict[str, Any] = {"on": False}
# By the names of roles/monitoring/files/rules.yml. A point stands for the time since the one before it: the mean of a
# rate, the fewest workers that served. Percentiles are of five minutes, which is longer.
_EXPRESSIONS = {
    "serving": "min_over_time(imagerec_pool_workers_serving[{span}s])",
    "members": "max_over_time(imagerec_pool_workers[{span}s])",
    "requests": "avg_over_time(imagerec:requests:rate1m[{span}s])",
    "refused": "avg_over_time(imagerec:refused:rate1m[{span}s])",
    "errors": "avg_over_time(imagerec:errors:rate1m[{span}s])",
    "lost": "avg_over_time(imagerec:lost:rate1m[{span}s])",
    "p50_ms": "1000 * imagerec:response_seconds:p50_5m",
    "p99_ms": "1000 * imagerec:response_seconds:p99_5m",
}
COLUMNS = tuple(_EXPRESSIONS)


def step_s(hours: int) -> int:
    """Return how many seconds a point of a window stands for."""
    return hours * 3600 // POINTS


def question(hours: int) -> str:
    """Return the one expression that asks for every column of a window; the label ``column`` names each."""
    span = max(step_s(hours), _LEAST_SPAN_S)
    columns = {name: text.format(span=span) for name, text in _EXPRESSIONS.items()}
    return " or ".join(f'label_replace(max({text}), "column", "{name}", "", "")' for name, text in columns.items())


class History:
    """Asks the Prometheus at an address, if there is one, and keeps what it said for a moment."""

    def __init__(self, prometheus: str | None) -> None:
        self._url = None if prometheus is None else f"{prometheus.rstrip('/')}/api/v1/query_range"
        self._told: dict[int, tuple[float, dict[str, Any] | None]] = {}
        self._asking = {hours: asyncio.Lock() for hours in WINDOWS_H}

    async def tell(self, hours: int) -> dict[str, Any] | None:
        """Return what is known of a window, one of ``WINDOWS_H``, as a JSON object.

        Returns:
            ``on``; where that is true also ``hours`` and ``points``: the second of the ``first`` one since 1970,
            ``step_s``, and a list of 300 for each of ``COLUMNS``, with None where Prometheus has no value. It is false
            where no Prometheus answers, or one that knows nothing of the pool. None where it does not answer in time.
        """
        if self._url is None:
            return _OFF
        async with self._asking[hours]:  # who comes meanwhile waits for the same answer
            asked_s, told = self._told.get(hours, (-math.inf, _OFF))
            if time.monotonic() - asked_s >= FRESH_S:
                told = await _ask(self._url, hours, time.time())
                self._told[hours] = time.monotonic(), told
            return told


async def _ask(url: str, hours: int, now_s: float) -> dict[str, Any] | None:
    step = step_s(hours)
    last = int(now_s)
    first = last - (POINTS - 1) * step
    query = {"query": question(hours), "start": str(first), "end": str(last), "step": str(step)}
    try:
        columns = _columns(json.loads(await _get(url, query)), first, step)
    except TimeoutError:
        return None
    except (aiohttp.ClientError, OSError, ValueError, LookupError, TypeError, ArithmeticError, RecursionError):
        return _OFF
    if not any(value is not None for column in columns.values() for value in column):
        return _OFF
    return {"on": True, "hours": hours, "points": {"first": first, "step_s": step, **columns}}


async def _get(url: str, query: dict[str, str]) -> bytes:
    headers = {"Accept-Encoding": "identity"}
    timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
    async with (
        aiohttp.ClientSession(timeout=timeout, headers=headers, raise_for_status=True) as session,
        session.get(url, params=query, allow_redirects=False) as answer,
    ):
        body = bytearray()
        async for chunk in answer.content.iter_any():
            body += chunk
            if len(body) > _MOST_BYTES:
                raise ValueError(f"{url} answers more than {_MOST_BYTES} bytes")
        return bytes(body)


def _columns(said: Any, first: int, step: int) -> dict[str, list[float | None]]:
    columns: dict[str, list[float | None]] = {name: [None] * POINTS for name in COLUMNS}
    for series in said["data"]["result"]:
        column = columns[series["metric"]["column"]]
        for at_s, text in series["values"]:
            column[round((at_s - first) / step)] = _number(text)
    return columns


def _number(text: str) -> float | None:
    """Return a value with four digits; None where it is no number, as a percentile of no requests."""
    value = float(text)
    if not math.isfinite(value):
        return None
    return int(value) if value.is_integer() else float(f"{value:.4g}")
