"""Runs on the client machine, in the load generator's own environment: sends by the clock, remembers every request.

Reads one JSON object from standard input: url, phases [[seconds, requests a second], …], seed, pictures {name: base64},
labels {name: the right label}, timeout_s, stop (a file that ends it early). With `users` instead of phases, so many
users each send their next request when the last is answered. Prints the origin of its clock, and at the end one JSON
array for each request (see `Sample` in verdict.py).
"""

import asyncio
import base64
import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np

from loadtest.generate.arrivals import poisson


def main() -> None:
    """Read the task, do it, print what happened."""
    asyncio.run(Sender(json.loads(sys.stdin.readline())).run())


class Sender:
    """One run of one task."""

    def __init__(self, task: dict[str, Any]) -> None:
        self._task = task
        self._pictures = {name: base64.b64decode(text) for name, text in task["pictures"].items()}
        self._names = sorted(self._pictures)
        self._draw = np.random.default_rng(task["seed"])
        self._samples: list[tuple[Any, ...]] = []
        self._started = 0

    async def run(self) -> None:
        """Send, then print every sample."""
        timeout = aiohttp.ClientTimeout(total=self._task.get("timeout_s", 90))
        # A connection for each request: one that the balancer closed meanwhile must not look like a lost request.
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as self._session:
            print(json.dumps({"origin": time.time()}), flush=True)  # noqa: T201
            self._origin = time.monotonic()
            await (self._closed() if "users" in self._task else self._open())
        for sample in self._samples:
            print(json.dumps(sample, separators=(",", ":")))  # noqa: T201

    async def _open(self) -> None:
        stop = Path(self._task["stop"])
        start, pending = 0.0, set()
        for seconds, rate_hz in self._task["phases"]:
            for offset in poisson(rate_hz, seconds, self._draw):
                await asyncio.sleep(max(0.0, start + offset - self._now()))
                if stop.exists():
                    break
                request = asyncio.ensure_future(self._ask(start + offset))
                pending.add(request)
                request.add_done_callback(pending.discard)
            start += seconds
        await asyncio.gather(*pending)

    async def _closed(self) -> None:
        async def user() -> None:
            while self._now() < self._task["seconds"]:
                await self._ask(self._now())

        await asyncio.gather(*(user() for _ in range(self._task["users"])))

    async def _ask(self, due: float) -> None:
        number, self._started = self._started, self._started + 1
        name = self._names[int(self._draw.integers(len(self._names)))]
        sent, status, error, worker, right, identity, retry_after = self._now(), None, None, None, None, None, None
        try:
            async with self._session.post(
                self._task["url"] + "/predict?top=1", data=self._pictures[name], headers={"Content-Type": "image/jpeg"}
            ) as answer:
                content = await answer.read()
                status = answer.status
                identity = answer.headers.get("X-Request-Id")
                retry_after = answer.headers.get("Retry-After")
                worker = answer.headers.get("X-Worker")
                if status == 200:
                    right = json.loads(content)["predictions"][0]["label"] == self._task["labels"].get(name)
                else:
                    with contextlib.suppress(ValueError):
                        error = json.loads(content).get("type")
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError, KeyError) as failure:
            error = type(failure).__name__
        times = [round(each, 4) for each in (due, sent, self._now())]
        self._samples.append((number, name, *times, status, error, worker, right, identity, retry_after))

    def _now(self) -> float:
        return time.monotonic() - self._origin


if __name__ == "__main__":
    main()
