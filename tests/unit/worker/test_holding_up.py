"""What could hold others up: heads and bodies that are late, and the numbers that the manual gives."""

from __future__ import annotations

import re
import select
import socket
import struct
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import Config

from imagerec_worker import late_heads, offload, plain_http, v2_views
from imagerec_worker.late_heads import LateHeads
from tests.conftest import REPOSITORY

NUMBERS = {
    r"at most (four) children": offload.MOST_CHILDREN,
    r"Of more than (\d+) the oldest is closed": late_heads.MOST,
    r"at a lower priority \(nice (\d+)\)": offload.NICENESS,
    r"after (\d+) s they answer 429": offload.TURN_S,
    r"several photographs take more than (\d+) s, it answers 429": v2_views.SPEND_S,
    r"The photographs of a request may take (\d+) s together": v2_views.SPEND_S,
}


@pytest.mark.parametrize("sentence", NUMBERS)
def test_the_manual_has_the_same_number(sentence: str) -> None:
    manual = " ".join((REPOSITORY / "services/worker/README.md").read_text().split())
    found = re.search(sentence, manual)
    assert found is not None
    assert int({"four": "4"}.get(found[1], found[1])) == NUMBERS[sentence]


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a connection over TCP, the worker's first."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname(), timeout=60) as client,
        listener.accept()[0] as ours,
    ):
        yield ours, client


def test_a_head_is_heard_as_soon_as_one_more_byte_of_it_comes(pair: tuple[socket.socket, socket.socket]) -> None:
    """The last one may come alone; and so may each byte of the body behind it."""
    ours, client = pair
    waiting = LateHeads(60)
    client.sendall(b"GET")
    assert select.select([ours], [], [], 60)[0]
    assert waiting.keep("listener", ours, "address", 3)
    assert list(waiting.spoken()) == []
    client.sendall(b" ")
    assert select.select(list(waiting), [], [], 60)[0]
    assert list(waiting.spoken()) == [("listener", ours, "address")]
    assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) == 1


def test_who_says_no_more_than_before_has_ended(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, client = pair
    waiting = LateHeads(60)
    assert waiting.keep(None, ours, None, 0) is True
    client.shutdown(socket.SHUT_WR)
    assert select.select(list(waiting), [], [], 60)[0]
    assert [client for _, client, _ in waiting.spoken()] == [ours]
    assert waiting.keep(None, ours, None, 0) is False


def test_who_waits_is_looked_at_without_a_wait(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(
        late_heads, "select", SimpleNamespace(select=lambda *those: (asked.append(those), ([], [], []))[1])
    )
    waiting = LateHeads(60)
    assert list(waiting.spoken()) == []
    waiting.keep(None, pair[0], None, 0)
    assert list(waiting.spoken()) == []
    assert asked == [([pair[0]], [], [], 0)]


def test_a_limit_of_zero_closes_nobody(pair: tuple[socket.socket, socket.socket]) -> None:
    waiting = LateHeads(0)
    waiting.keep(None, pair[0], None, 0)
    assert list(waiting.spoken()) == []
    assert list(waiting) == [pair[0]]


def receive_timeout(client: socket.socket) -> tuple[int, int]:
    """How long a read may wait, in seconds and microseconds; 0 for ever."""
    seconds, microseconds = struct.unpack("ll", client.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16))
    return seconds, microseconds


def test_who_says_nothing_is_waited_for_no_longer_than_25_milliseconds(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """The kernel makes whole ticks of it, of 10 ms at most."""
    ours, _ = pair
    with pytest.raises(plain_http.LateError):
        plain_http.Listener(Config(), ("127.0.0.1", 1)).receive(ours, ("127.0.0.1", 2))
    seconds, microseconds = receive_timeout(ours)
    assert seconds == 0
    assert 25_000 <= microseconds < 40_000


class Slow:
    """A connection from which these pieces are read; None is a wait in vain."""

    def __init__(self, *pieces: bytes | None) -> None:
        self.pieces = list(pieces)
        self.limits_us: list[int] = []

    def recv(self, _most: int, _how: int) -> bytes:
        """Return the next piece."""
        piece = self.pieces.pop(0)
        if piece is None:
            raise BlockingIOError
        return piece

    def setsockopt(self, _level: int, _name: int, value: bytes) -> None:
        """Note how long a read may wait."""
        seconds, microseconds = struct.unpack("ll", value)
        self.limits_us.append(1_000_000 * seconds + microseconds)


BODIES: dict[str, tuple[tuple[bytes | None, ...], bytes, bool]] = {
    "at once": ((b"body",), b"body", False),
    "in two pieces": ((b"bo", b"dy"), b"body", False),
    "in three pieces": ((b"b", b"o", b"dy"), b"body", True),
    "after a wait": ((None, b"body"), b"body", True),
    "after a piece and a wait": ((b"bo", None, b"d", b"y"), b"body", True),
    "cut short": ((b"bo", b""), b"bo", False),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_is_late_is_handed_over_once_and_waited_for(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    pieces, body, is_late = BODIES[name]
    client, handed_over = Slow(*pieces), list[bool]()
    monkeypatch.setattr(offload, "hand_over", lambda: handed_over.append(True))
    assert plain_http._read(client, 4) == body  # type: ignore[arg-type]
    assert (len(handed_over), client.limits_us) == ((1, [0]) if is_late else (0, []))
    assert client.pieces == []


def test_a_date_is_made_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    date = SimpleNamespace(formatdate=lambda second, **_: made.append(second) or f"{second}")
    monkeypatch.setattr(plain_http, "_last_date", (0, ""))
    monkeypatch.setattr(plain_http, "email", SimpleNamespace(utils=date))
    assert [plain_http._date(second) for second in (5, 5, 6)] == ["5", "5", "6"]
    assert made == [5, 6]
