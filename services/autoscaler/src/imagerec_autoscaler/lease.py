"""Which of several autoscalers acts: the one whose balancer has the virtual address, else the first that answers.

The others wait. Two that act at a time, because they cannot reach each other, do no harm: each says only whom its own
balancer asks.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from dataclasses import dataclass
from typing import Any

import aiohttp

from imagerec_autoscaler.settings import Settings

_PATIENCE_S = 0.5


@dataclass(frozen=True, slots=True)
class Turn:
    """Whether this program acts; if it waits, what for, and who sleeps by the word of who acts (or None)."""

    acts: bool
    why: str = ""
    asleep: frozenset[str] | None = None


def holds(address: str) -> bool:
    """Return whether this host has an address."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as tried:
        try:
            tried.bind((address, 0))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                return False
            raise
    return True


async def turn(session: aiohttp.ClientSession, settings: Settings) -> Turn:
    """Ask the others, and say whose turn it is."""
    answers = await asyncio.gather(*(_ask(session, url) for url in settings.peers))
    told = [(url, answer) for url, answer in zip(settings.peers, answers, strict=True) if answer.get("on")]
    if settings.address:
        if holds(settings.address):
            return Turn(acts=True)
        why = f"this host has not the address {settings.address}" + ", and no other autoscaler answers" * (not told)
    else:
        earlier = [url for url, _ in told if url in settings.peers[: settings.before]]
        if not earlier:
            return Turn(acts=True)
        why = f"{earlier[0]} goes first"
    asleep = [answer["asleep"] for _, answer in told if answer.get("acts") and isinstance(answer.get("asleep"), list)]
    return Turn(acts=False, why=why, asleep=frozenset(map(str, asleep[0])) if asleep else None)


async def _ask(session: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError, ValueError):
        timeout = aiohttp.ClientTimeout(total=_PATIENCE_S)
        async with session.get(url, timeout=timeout, allow_redirects=False) as answer:
            said = await answer.json()
            if answer.status == 200 and isinstance(said, dict):
                return said
    return {}
