"""What the autoscaler says of itself, where one runs: asked only when Prometheus asks."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import aiohttp

# Prometheus waits ten seconds, nginx one.
_PATIENCE_S = 0.5


class Scaled(NamedTuple):
    """How many workers are active, how many the autoscaler may keep active at least and at most, and how many shall be.

    ``target`` is None of one that waits for another balancer's: that one decides. What one of another version does not
    tell is None.
    """

    active: int | None
    minimum: int | None
    maximum: int | None
    target: int | None


async def scaled(socket: Path | None) -> Scaled | None:
    """Ask the autoscaler at its socket.

    Returns:
        What it says; None where there is none, or where it says nothing.
    """
    if socket is None:
        return None
    timeout = aiohttp.ClientTimeout(total=_PATIENCE_S)
    try:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket)), timeout=timeout) as session,
            session.get("http://autoscaler/autoscaler") as answer,
        ):
            said = await answer.json()
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
        return None
    if not isinstance(said, dict) or not said.get("on"):
        return None
    target = said.get("target") if said.get("acts") else None
    numbers = said.get("active"), said.get("minimum"), said.get("maximum"), target
    return Scaled(*(number if isinstance(number, int) else None for number in numbers))
