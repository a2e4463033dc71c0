"""Cases of a corpus: one connection each, and what comes back on it."""

from __future__ import annotations

import collections
import contextlib
import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from chaos.attacks.expected import Report, is_failure

ANSWER_TIMEOUT_S = 30
PARALLEL = 20  # cases of a corpus at once
GRACE_S = 1.0  # how long a second answer to one request may take

Address = tuple[str, int]


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
