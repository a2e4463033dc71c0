"""The addresses of workers that the list names by name: looked up aside, again and again."""

from __future__ import annotations

import asyncio
import ipaddress
import math
import socket
from collections.abc import Callable, Iterable

from imagerec_pool.nginx import Server

# How long it is from one look to the next: of a name that is not found, and of one that is.
_MISSING_S, _FOUND_S = 2.0, 60.0


class Addresses:
    """What is known of the names. One may have several addresses, and nginx asks each.

    Attributes:
        changed: Called after a name was found, or has other addresses than before.
        failed: Called with a name and the reason why it was not found.
    """

    def __init__(self, changed: Callable[[], None], failed: Callable[[str, OSError], None]) -> None:
        self.changed, self.failed = changed, failed
        self._found: dict[str, tuple[str, ...]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._asked_s: dict[str, float] = {}

    def of(self, server: Server) -> tuple[str, ...]:
        """Return the addresses in numbers; none while the name was not found."""
        return (server.address,) if _is_number(server.address) else self._found.get(server.address, ())

    def look_up(self, servers: Iterable[Server], now_s: float) -> None:
        """Begin to look up each name whose time has come."""
        for name in {server.address for server in servers if not _is_number(server.address)}:
            running = self._tasks.get(name)
            due_s = self._asked_s.get(name, -math.inf) + (_FOUND_S if name in self._found else _MISSING_S)
            if (running is None or running.done()) and now_s >= due_s:
                self._asked_s[name] = now_s
                self._tasks[name] = asyncio.get_running_loop().create_task(self._find(name))

    async def _find(self, name: str) -> None:
        try:
            told = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
        except OSError as error:
            self.failed(name, error)
            return
        found = tuple(sorted({str(address[0]) for *_, address in told}))
        if found != self._found.get(name):
            self._found[name] = found
            self.changed()


def _is_number(address: str) -> bool:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True
