"""Slow clients: many connections at once with one habit."""

from __future__ import annotations

import collections
import contextlib
import select
import socket
import time
from collections.abc import Callable
from typing import NamedTuple

from chaos.attacks.exchange import Address, answers
from chaos.attacks.expected import Report


class Habit(NamedTuple):
    """How a slow client behaves: what it says first and every so many seconds, and whether it never listens."""

    connections: int
    opening: bytes
    drip: Callable[[int], bytes] | None = None
    deaf: bool = False


DRIP_S = 4.0
_HEAD = b" HTTP/1.1\r\nHost: balancer\r\n"
_PHOTOGRAPH = b"Content-Type: image/jpeg\r\nContent-Length: 100000\r\n\r\n\xff\xd8"
HABITS = {
    "slow_headers": Habit(300, b"GET /" + _HEAD, lambda number: b"X-%d: a\r\n" % number),
    "slow_body": Habit(300, b"POST /predict" + _HEAD + _PHOTOGRAPH, lambda _: b"x"),
    "slow_reader": Habit(200, (b"GET /style.css" + _HEAD + b"\r\n") * 900, deaf=True),
    "idle": Habit(10_000, b""),
}


class Connection(socket.socket):
    """One connection of a swarm."""

    connected_s: float | None = None
    drips = 0


class Swarm:
    """Keeps a number of connections with one habit open; opens a new one for each that the server ends."""

    def __init__(self, address: Address, habit: Habit, count: int) -> None:
        self._address, self._habit, self._count = address, habit, count
        self._poll = select.epoll()
        self._connections: dict[int, Connection] = {}
        self._drips: collections.deque[tuple[float, Connection]] = collections.deque()
        self._answers: collections.Counter[str] = collections.Counter()
        self._happened: collections.Counter[str] = collections.Counter(sent=0, closed=0, refused=0, open_at_once=0)
        self._connected, self._held_s = 0, 0.0

    def run(self, seconds: float) -> Report:
        """Attack for so many seconds and report."""
        begin_s = time.monotonic()
        rate_hz, opened = max(20.0, self._count / 5), 0
        while (now_s := time.monotonic()) < begin_s + seconds:
            due = int(rate_hz * (now_s - begin_s + 0.1)) - opened
            for _ in range(min(due, self._count - len(self._connections))):
                self._open()
                opened += 1
            for descriptor, _ in self._poll.poll(0.05, 1024):
                self._happen(self._connections[descriptor])
            if self._habit.drip is not None:
                self._drip(self._habit.drip)
        for connection in list(self._connections.values()):
            self._drop(connection)
        answered = {"answers": dict(self._answers), "held_s": round(self._held_s, 1), "smuggled": []}
        return dict(self._happened) | answered

    def _open(self) -> None:
        connection = Connection()
        connection.setblocking(False)
        if self._habit.deaf:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # the system's least
        connection.connect_ex(self._address)
        self._connections[connection.fileno()] = connection
        self._poll.register(connection, select.EPOLLOUT)

    def _happen(self, connection: Connection) -> None:
        if connection.connected_s is not None:
            data = b""
            if not self._habit.deaf:
                with contextlib.suppress(OSError):
                    data = connection.recv(65536)
            self._answers.update((answers(data) or ["unfinished"])[:1] if data else [])
            self._happened["closed"] += not data
            self._drop(connection)
        elif connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._happened["refused"] += 1
            self._drop(connection)
        else:
            connection.connected_s = time.monotonic()
            self._connected += 1
            self._happened["sent"] += 1
            self._happened["open_at_once"] = max(self._happened["open_at_once"], self._connected)
            self._poll.modify(connection, select.EPOLLRDHUP | (0 if self._habit.deaf else select.EPOLLIN))
            self._say(connection, self._habit.opening)

    def _say(self, connection: Connection, words: bytes) -> None:
        with contextlib.suppress(OSError):  # a full buffer is part of the attack; an end is an event of its own
            connection.send(words)
        if self._habit.drip is not None:
            self._drips.append((time.monotonic() + DRIP_S, connection))

    def _drip(self, drip: Callable[[int], bytes]) -> None:
        while self._drips and self._drips[0][0] <= time.monotonic():
            connection = self._drips.popleft()[1]
            if connection.fileno() >= 0:
                connection.drips += 1
                self._say(connection, drip(connection.drips))

    def _drop(self, connection: Connection) -> None:
        if connection.connected_s is not None:
            self._connected -= 1
            self._held_s = max(self._held_s, time.monotonic() - connection.connected_s)
        del self._connections[connection.fileno()]
        self._poll.unregister(connection)
        connection.close()
