"""What is asked: of the agent of the pool who serves, and of those workers which model they have."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import time
from collections.abc import Collection, Mapping
from typing import Any

import aiohttp

_LOOK_S, _EVERY_S, _AGAIN_S, _PATIENCE_S = 1.0, 60.0, 5.0, 10.0
_LONGEST_BYTES = 65536
_NOT_SAID = (aiohttp.ClientError, OSError, TimeoutError, ValueError, KeyError, TypeError, RecursionError)


async def workers_of(pool: aiohttp.ClientSession) -> list[dict[str, Any]] | None:
    """Return what the agent says of each worker; None where it says nothing."""
    try:
        async with pool.get("http://pool/workers") as answer:
            said = await answer.json()
            return list(said["workers"])
    except _NOT_SAID:
        return None


class Models:
    """Asks each worker that comes to serve, and then every minute, which model it has: nobody else tells a rollback.

    One that did not say so is asked again after 5 s.

    Args:
        workers: ``address`` and ``port`` of each, by its name.
    """

    def __init__(self, workers: Mapping[str, Mapping[str, Any]]) -> None:
        self._workers = workers
        self._serving: list[str] = []
        self._asked_s: dict[str, float] = {}
        self._said: dict[str, str] = {}

    @property
    def served(self) -> str | None:
        """Name and digest of the model that all have; empty where they have several, None while nobody has said."""
        models = set(self._said.values())
        return None if not models else models.pop() if len(models) == 1 else ""

    def look(self, serving: Collection[str]) -> None:
        """Take note of who serves now; one that was away may have another model."""
        self._serving = [name for name in serving if name in self._workers]
        for name in self._asked_s.keys() - set(serving):
            del self._asked_s[name]
            self._said.pop(name, None)

    async def run(self) -> None:
        """Ask until cancelled."""
        connector = aiohttp.TCPConnector(force_close=True)
        patience = aiohttp.ClientTimeout(total=_PATIENCE_S)
        async with aiohttp.ClientSession(connector=connector, timeout=patience, trust_env=False) as session:
            while True:
                await asyncio.gather(*(self._ask(session, name) for name in self._due(time.monotonic())))
                await asyncio.sleep(_LOOK_S)

    def _due(self, now_s: float) -> list[str]:
        wait_s = {name: _EVERY_S if name in self._said else _AGAIN_S for name in self._serving}
        due = [name for name in wait_s if now_s - self._asked_s.get(name, -math.inf) >= wait_s[name]]
        self._asked_s |= dict.fromkeys(due, now_s)
        return due

    async def _ask(self, session: aiohttp.ClientSession, name: str) -> None:
        worker = self._workers[name]
        address = f"[{worker['address']}]" if ":" in worker["address"] else worker["address"]
        url = f"http://{address}:{worker['port']}/version"
        # Whoever answers there, this program goes on.
        with contextlib.suppress(*_NOT_SAID):
            async with session.get(url, allow_redirects=False) as answer:
                said = b""
                async for part in answer.content.iter_any():
                    said += part
                    if len(said) > _LONGEST_BYTES:
                        return
            model = json.loads(said)["model"]
            model = f"{model['name']}-{model['digest'][:16]}"
            if name in self._asked_s:  # it serves still
                self._said[name] = model
