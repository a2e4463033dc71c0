"""The addresses of workers that the list names by name: looked up aside, and again until each is found."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Iterable

from imagerec_pool.nginx import Server

_AGAIN_S = 2.0


class Addresses:
    """What is known of the names.

    Attributes:
        changed: Called after a name was found.
        failed: Called with a name and the reason why it was not found.
    """

    def __init__(self, changed: Callable[[], None], failed: Callable[[str, OSError], None]) -> None:
        self.changed, self.failed = changed, failed
        self._found: dict[str, str] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._asked_s: dict[str, float] = {}

    def of(self, server: Server) -> str | None:
        """Return the address in numbers; None while the name was not found."""
        return server.address if _is_number(server.address) else self._found.get(server.address)

    def look_up(self, servers: Iterable[Server], now_s: float) -> None:
        """Begin to look up what is missing, each name every two seconds."""
        for name in {server.address for server in servers if self.of(server) is None}:
            running = self._tasks.get(name)
            if (running is None or running.done()) and now_s - self._asked_s.get(name, -_AGAIN_S) >= _AGAIN_S:
                self._asked_s[name] = now_s
                self._tasks[name] = asyncio.get_running_loop().create_task(self._find(name))

    async def _find(self, name: str) -> None:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
        except OSError as error:
            self.failed(name, error)
            return
        self._found[name] = str(found[0][4][0])
        self.changed()


def _is_number(address: str) -> bool:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True
