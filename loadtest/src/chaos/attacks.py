"""One hostile client: `python attacks.py NAME HOST PORT`; prints a JSON object of what the server did.

Needs the standard library alone. The attacks by corpus send what `corpus.py` writes: a file of its own given with
--corpus, or made on the spot when corpus.py and hostile_images.py lie beside this file (they need Pillow and numpy).
What is expected of a server stands in EXPECTED; what was otherwise is named in "unexpected".
"""

from __future__ import annotations

import argparse
import base64
import collections
import contextlib
import json
import random
import re
import resource
import select
import socket
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

CLIENT_TIMEOUT_S = 15  # the balancer's balancer_client_timeout_s
ANSWER_TIMEOUT_S = 30
PARALLEL = 20  # cases of a corpus at once
GRACE_S = 1.0  # how long a second answer to one request may take

# The longest that a server may keep a useless connection, in seconds. Besides: never more answers than requests, and
# none of 5xx but 501 and 505, which name a coding or a version that no server has to know. nginx has no bound for a
# body that drips, for it limits the time between two reads; that holds a connection of the balancer and no worker.
EXPECTED: dict[str, float] = dict.fromkeys(
    ("slow_headers", "slow_reader", "idle", "smuggling", "multipart", "bombs", "mutated", "polyglots"),
    CLIENT_TIMEOUT_S + 5,
) | {"slow_body": float("inf")}

Report = dict[str, Any]
Address = tuple[str, int]


def is_failure(status: str) -> bool:
    """Whether a status is one that no server should give, whatever it is sent."""
    return status.startswith("5") and status not in {"501", "505"}


def violations(report: Report) -> list[str]:
    """Return what in a report was not as expected, in words."""
    found = [f"{count} answers of {status}" for status, count in report["answers"].items() if is_failure(status)]
    if report["smuggled"]:
        found.append(f"smuggled: {', '.join(report['smuggled'])}")
    if report["held_s"] > EXPECTED[report["attack"]]:
        found.append(f"a connection was held for {report['held_s']} s")
    return found


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


class Case(NamedTuple):
    """One connection's worth of bytes: how many requests they are, at most."""

    name: str
    requests: int
    raw: bytes


def answers(stream: bytes) -> list[str]:
    """Return the status of each HTTP answer in what a connection received; interim ones do not count."""
    found: list[str] = []
    while stream:
        head, end, rest = stream.partition(b"\r\n\r\n")
        status = re.match(rb"HTTP/1\.[01] (\d{3})[ \r]", head + b"\r")
        if status is None:
            return [*found, "HTTP/0.9" if not found else "noise"]
        if not end:
            return found
        stream = rest
        if not status[1].startswith(b"1"):
            found.append(status[1].decode())
            stream = rest if status[1] in {b"204", b"304"} else _after_content(head.lower(), rest)
    return found


def _after_content(head: bytes, content: bytes) -> bytes:
    length = re.search(rb"\r\ncontent-length: *(\d+)", head)
    if length is not None:
        return content[int(length[1]) :]
    if re.search(rb"\r\ntransfer-encoding: *chunked", head):
        return (b"\r\n" + content).partition(b"\r\n0\r\n\r\n")[2]
    return b""  # as long as the connection


class Outcome(NamedTuple):
    """What a connection saw; held_s: seconds until the first answer or the end."""

    case: str
    statuses: list[str]
    closed: bool
    held_s: float
    smuggled: bool


def exchange(address: Address, case: Case, timeout_s: float = ANSWER_TIMEOUT_S) -> Outcome:
    """Send a case on a connection of its own and read what comes back."""
    begin_s, received, closed, held_s = time.monotonic(), b"", False, 0.0
    with socket.socket() as connection:
        connection.settimeout(timeout_s)
        try:
            connection.connect(address)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it may have answered already
                connection.sendall(case.raw)
            while not closed and (left_s := begin_s + timeout_s - time.monotonic()) > 0:
                done = len(answers(received)) >= case.requests
                connection.settimeout(min(left_s, GRACE_S) if done else left_s)
                part = connection.recv(65536)
                held_s = held_s or time.monotonic() - begin_s
                received, closed = received + part, not part
        except TimeoutError:
            pass
        except OSError:
            closed = True
    statuses = answers(received)
    smuggled = len(statuses) > case.requests or b"/smuggled-" in received
    return Outcome(case.name, statuses, closed, held_s or time.monotonic() - begin_s, smuggled)


def replay(address: Address, cases: list[Case], rate_hz: float, seconds: float) -> Report:
    """Send all cases, so many a second, for so many seconds at most, and report."""
    begin_s, pending = time.monotonic(), []
    with ThreadPoolExecutor(PARALLEL) as pool:
        for number, case in enumerate(cases):
            time.sleep(max(0.0, begin_s + number / rate_hz - time.monotonic()))
            if time.monotonic() - begin_s > seconds:
                break
            pending.append(pool.submit(exchange, address, case))
    outcomes = [future.result() for future in pending]
    return {
        "sent": len(outcomes),
        "answers": dict(collections.Counter(status for outcome in outcomes for status in outcome.statuses)),
        "closed": sum(outcome.closed and not outcome.statuses for outcome in outcomes),
        "silent": [outcome.case for outcome in outcomes if not outcome.closed and not outcome.statuses],
        "held_s": round(max((outcome.held_s for outcome in outcomes), default=0.0), 1),
        "open_at_once": min(PARALLEL, len(outcomes)),
        "smuggled": [outcome.case for outcome in outcomes if outcome.smuggled],
        "failed": [outcome.case for outcome in outcomes if any(map(is_failure, outcome.statuses))],
    }


def _allow_open_files(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), max(hard, wanted)))
    except (ValueError, OSError):
        sys.exit(f"{wanted} open files are needed and {hard} are allowed; run as root, or lower --count")


def _cases(name: str, corpus: str | None, count: int | None, seed: int) -> list[Case]:
    if corpus is None:
        from corpus import make  # type: ignore[import-not-found]  # noqa: PLC0415  lies beside this file

        cases: list[Case] = make(name, count, seed)
    else:
        items = map(json.loads, Path(corpus).read_text().splitlines())
        cases = [Case(item["case"], item["requests"], base64.b64decode(item["raw"])) for item in items]
    random.Random(seed).shuffle(cases)  # noqa: S311  an order, no secret
    return cases[:count]


def main() -> None:
    """Carry one attack out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=EXPECTED)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--seconds", type=float, help="how long: 40 for slow clients, at most 600 for a corpus")
    parser.add_argument("--count", type=int, help="connections at once, or cases of a corpus")
    parser.add_argument("--seed", type=int, default=6, help="of mutations and of the cases' order")
    parser.add_argument("--corpus", help="file that corpus.py wrote")
    parser.add_argument("--rate", type=float, default=50.0, help="cases a second")
    chosen = parser.parse_args()
    address = (socket.gethostbyname(chosen.host), chosen.port)
    if chosen.name in HABITS:
        count = HABITS[chosen.name].connections if chosen.count is None else chosen.count
        _allow_open_files(count + 100)
        report = Swarm(address, HABITS[chosen.name], count).run(chosen.seconds or 40.0)
    else:
        cases = _cases(chosen.name, chosen.corpus, chosen.count, chosen.seed)
        report = replay(address, cases, chosen.rate, chosen.seconds or 600.0)
    report["attack"] = chosen.name
    sys.stdout.write(json.dumps(report | {"unexpected": violations(report)}) + "\n")


if __name__ == "__main__":
    main()
