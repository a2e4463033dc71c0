"""Which of several autoscalers acts: the one whose balancer has the virtual address, else the first that answers.

The others wait, and tell what came through their balancers. Two that act at a time, because they cannot reach each
other, do no harm: each says only whom its own balancer asks.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from dataclasses import dataclass
from typing import Any

import aiohttp

from imagerec_autoscaler.law import Seen
from imagerec_autoscaler.settings import Settings
from imagerec_autoscaler.together import read

_PATIENCE_S = 0.5


@dataclass(frozen=True, slots=True)
class Turn:
    """Whose turn it is, and what the others say.

    Attributes:
        acts: Whether this program acts.
        why: If it waits, what for.
        asleep: If it waits, who sleeps by the word of who acts, or None.
        target: If it waits, how many shall serve by that word, or None.
        seen: What came through each of the other balancers in a second.
    """

    acts: bool
    why: str = ""
    asleep: frozenset[str] | None = None
    target: int | None = None
    seen: tuple[Seen, ...] = ()


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
    seen = tuple(each for _, answer in told if (each := read(answer.get("seen"))) is not None)
    if settings.address:
        if holds(settings.address):
            return Turn(acts=True, seen=seen)
        why = f"this host has not the address {settings.address}" + ", and no other autoscaler answers" * (not told)
    else:
        earlier = [url for url, _ in told if url in settings.peers[: settings.before]]
        if not earlier:
            return Turn(acts=True, seen=seen)
        why = f"{earlier[0]} goes first"
    leads = [answer for _, answer in told if answer.get("acts") and isinstance(answer.get("asleep"), list)]
    if not leads:
        return Turn(acts=False, why=why)
    asleep, target = leads[0]["asleep"], leads[0].get("target")
    return Turn(False, why, frozenset(map(str, asleep)), target if isinstance(target, int) else None)


async def _ask(session: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError, ValueError):
        timeout = aiohttp.ClientTimeout(total=_PATIENCE_S)
        async with session.get(url, timeout=timeout, allow_redirects=False) as answer:
            said = await answer.json()
            if answer.status == 200 and isinstance(said, dict):
                return said
    return {}
