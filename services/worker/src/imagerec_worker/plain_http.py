"""Plain HTTP/1.1 on a socket: nearly every request that a balancer sends, read and answered in a few steps.

One pattern says what is plain: a short head that is there as a whole, of ordinary characters, without anything that
changes how a body is read. Each such head means the same to gunicorn's parser. Nothing is taken off the socket
before it is known to be plain, so whatever else comes is left to that parser, untouched.
"""

from __future__ import annotations

import array
import email.utils
import fcntl
import io
import re
import socket
import struct
import sys
import termios
import time
from collections.abc import Iterable
from typing import Any

from gunicorn import SERVER, util
from gunicorn.config import Config
from gunicorn.http import wsgi

from imagerec_worker import offload

# A larger body may be refused without being read.
MOST_BODY_BYTES = 4 * 1024 * 1024
# A balancer sends head and body at once. A body is late when nothing of it comes for so many microseconds, or when it
# is not whole after twice as long.
_PATIENCE_US = 25_000
_MOST_HEAD_BYTES = 4096  # of a plain request
_LONGEST_HEAD_BYTES = 65536
_END = b"\r\n\r\n"
_HEAD = re.compile(
    rb"(GET|HEAD|POST) ((/[A-Za-z0-9/._-]*)(?:\?([!\"$-~]*))?) HTTP/1\.1\r\n((?:[A-Za-z0-9-]+: [!-~][ -~]*\r\n)*)\r\n"
)
_UNUSUAL = frozenset({"HTTP_EXPECT", "HTTP_TRANSFER_ENCODING", "HTTP_UPGRADE"})
_LENGTH = re.compile(r"[0-9]{1,9}")
_OWN_NAMES = ("HTTP_CONTENT_LENGTH", "HTTP_CONTENT_TYPE")
_FIELD = re.compile(r"([A-Za-z0-9-]+): (.*)\r\n")


class LateError(Exception):
    """The head of a request is not whole yet.

    Args:
        said: Bytes of it that have come.
    """

    def __init__(self, said: int) -> None:
        super().__init__(f"{said} bytes of a head have come")
        self.said = said


class NoChildError(Exception):
    """A body is late, and as many children as may be wait for others already."""


class Listener:
    """What the requests of a listener have in common.

    Args:
        config: gunicorn's configuration.
        address: Host and port, or the path of a unix socket.
    """

    def __init__(self, config: Config, address: Any) -> None:
        self._is_tcp = isinstance(address, tuple)
        host, port = address[:2] if self._is_tcp else ("localhost", 80)
        self._common: dict[str, Any] = {
            **wsgi.base_environ(config),
            "wsgi.errors": sys.stderr,
            "wsgi.url_scheme": "http",
            "SCRIPT_NAME": "",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "SERVER_NAME": host,
            "SERVER_PORT": str(port),
        }

    def receive(self, client: socket.socket, peer: Any) -> dict[str, Any] | None:
        """Return the WSGI environment of the request on a connection, its body read; None if it is not plain.

        Args:
            client: The connection, blocking.
            peer: Host and port of the client, or nothing.

        Raises:
            LateError: The head is not whole yet; nothing of it has been taken.
            NoChildError: The body is late, and no child can wait for it.
            OSError: The connection is broken.
        """
        _limit_waits(client, _PATIENCE_US)
        head = _peek(client, _MOST_HEAD_BYTES)
        match = _HEAD.match(head)
        if match is None:
            if len(head) == _MOST_HEAD_BYTES:
                head = _peek(client, _LONGEST_HEAD_BYTES)
            _limit_waits(client, 0)
            if self._is_tcp and head and _END not in head and len(head) < _LONGEST_HEAD_BYTES:
                raise LateError(len(head))
            return None
        method, uri, path, query, block = match.groups(b"")
        lines = _FIELD.findall(block.decode("ascii"))
        fields = {"HTTP_" + name.upper().replace("-", "_"): value.rstrip(" ") for name, value in lines}
        length = fields.get("HTTP_CONTENT_LENGTH", "0")
        usual = len(fields) == len(lines) and _UNUSUAL.isdisjoint(fields) and _LENGTH.fullmatch(length) is not None
        if not usual or int(length) > MOST_BODY_BYTES:
            _limit_waits(client, 0)
            return None
        for name in _OWN_NAMES:
            if name in fields:
                fields[name.removeprefix("HTTP_")] = fields.pop(name)
        client.recv(match.end(), socket.MSG_WAITALL)
        return {
            **self._common,
            **fields,
            **({"REMOTE_ADDR": peer[0], "REMOTE_PORT": str(peer[1])} if self._is_tcp else {"REMOTE_ADDR": ""}),
            "REQUEST_METHOD": method.decode("ascii"),
            "PATH_INFO": path.decode("ascii"),
            "QUERY_STRING": query.decode("ascii"),
            "RAW_URI": uri.decode("ascii"),
            "wsgi.input": io.BytesIO(_read(client, int(length))),
        }


class Answer:
    """Collects what a WSGI application answers; afterwards the connection is closed."""

    def __init__(self) -> None:
        self._head = ""

    def start(self, status: str, headers: list[tuple[str, str]], _error: Any = None) -> Any:
        """Begin the answer; ``start_response`` of WSGI."""
        lines = [f"{name}: {value}\r\n" for name, value in headers]
        self._head = (
            f"HTTP/1.1 {status}\r\nServer: {SERVER}\r\nDate: {_date(int(time.time()))}\r\nConnection: close\r\n"
            f"{''.join(lines)}\r\n"
        )

    def whole(self, parts: Iterable[bytes]) -> bytes:
        """Return the answer as it is sent, with the body that the application returned."""
        try:
            body = b"".join(parts)
        finally:
            if hasattr(parts, "close"):
                parts.close()
        return self._head.encode("latin-1") + body


def send(client: socket.socket, answer: bytes) -> None:
    """Send an answer and close the connection."""
    client.sendall(answer)
    if _is_drained(client):
        client.close()
    else:
        util.close_graceful(client)


def _is_drained(client: socket.socket) -> bool:
    """Return whether nothing waits to be read, so that closing cannot cut the answer short."""
    waiting = array.array("i", [0])
    fcntl.ioctl(client, termios.FIONREAD, waiting)
    return not waiting[0]


_last_date = (0, "")


def _date(now_s: int) -> str:
    global _last_date  # noqa: PLW0603
    if _last_date[0] != now_s:
        _last_date = (now_s, email.utils.formatdate(now_s, usegmt=True))
    return _last_date[1]


def _limit_waits(client: socket.socket, microseconds: int) -> None:
    """Let the kernel wait so long for what the other side sends, 0 for ever; Python's own way costs a call for each."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, microseconds))


def _peek(client: socket.socket, most: int) -> bytes:
    try:
        return client.recv(most, socket.MSG_PEEK)
    except BlockingIOError:
        raise LateError(0) from None


def _read(client: socket.socket, length: int) -> bytes:
    """Return the body; less of it where the other side ends early. A child waits for a body that is late."""
    body, short = b"", 0
    while len(body) < length:
        try:
            more = client.recv(length - len(body), socket.MSG_WAITALL)
        except BlockingIOError:
            short = 2
        else:
            if not more:
                break
            body += more
            short += 1
        if short == 2 and len(body) < length:
            offload.hand_over()
            if offload.holds_others_up():
                raise NoChildError
            _limit_waits(client, 0)
    return body
