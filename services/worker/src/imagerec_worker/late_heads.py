"""Connections that have not said yet what they want: they wait beside the listener, and hold nobody up.

A balancer sends the head of a request at once. Where packets are lost, or the other side is gone without a word, it
comes late or never. A process that waited for it would serve nobody else meanwhile.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

MOST = 64  # the oldest is closed for one more


class LateHeads:
    """The connections of one process whose head is not whole.

    Args:
        limit_s: Seconds after which a connection is closed; 0 for never.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s or float("inf")
        self._waiting: dict[socket.socket, tuple[Any, Any]] = {}
        self._known: WeakKeyDictionary[socket.socket, tuple[int, float]] = WeakKeyDictionary()

    def __iter__(self) -> Iterator[socket.socket]:
        """Give the connections, for ``select``."""
        return iter(self._waiting)

    def keep(self, listener: Any, client: socket.socket, addr: Any, said: int) -> bool:
        """Keep a connection until it says more.

        Args:
            listener: What took the connection.
            client: The connection.
            addr: The other side's address.
            said: Bytes of the head that have come.

        Returns:
            False where no more can come, since the other side has ended.
        """
        before, until_s = self._known.get(client, (-1, time.monotonic() + self._limit_s))
        if said <= before:
            return False
        self._known[client] = said, until_s
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, said + 1)  # readable means: more has come, or its end
        self._waiting[client] = listener, addr
        if len(self._waiting) > MOST:
            self._close(next(iter(self._waiting)))
        return True

    def spoken(self) -> Iterator[tuple[Any, socket.socket, Any]]:
        """Give listener, connection and address of each that has said more; then close those that are over time.

        Each leaves when it is its turn: a child that serves one closes its copies of all that wait.
        """
        if not self._waiting:
            return
        for client in select.select(list(self._waiting), [], [], 0)[0]:
            if client in self._waiting:  # else it was closed meanwhile, as the oldest
                listener, addr = self._waiting.pop(client)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
                yield listener, client, addr
        now_s = time.monotonic()
        for client in [each for each in self._waiting if self._known[each][1] <= now_s]:
            self._close(client)

    def _close(self, client: socket.socket) -> None:
        del self._waiting[client]
        client.close()
