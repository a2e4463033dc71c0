"""Servers behind nginx that answer what a test has written down, and remember what they were asked."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

OK = b"HTTP/1.1 200 OK\r\nX-Worker: w1\r\nServer-Timing: queue;dur=1\r\nContent-Length: 3\r\n\r\nok\n"
CLOSED = b""  # no answer


def answer_of(status: int, *fields: str) -> bytes:
    """An answer with these header fields and a body of three bytes."""
    return "\r\n".join((f"HTTP/1.1 {status} X", "Content-Length: 3", *fields, "", "no\n")).encode()


class Heard(NamedTuple):
    """A request: its line, its header fields as they are written, its body."""

    line: str
    fields: dict[str, str]
    body: bytes


class _Handler(socketserver.StreamRequestHandler):
    server: _Script

    def handle(self) -> None:
        head = []
        while (line := self.rfile.readline()) not in {b"", b"\r\n"}:
            head.append(line.decode("latin-1").rstrip("\r\n"))
        if not head:
            return
        fields = dict(each.split(": ", 1) for each in head[1:])
        if self.server.ignores_a_request():
            self.server.let_go.wait(60)
            return
        body = self.rfile.read(int(fields.get("Content-Length", 0)))
        heard, answer = Heard(head[0], fields, body), self.server.answer
        self.server.heard.append(heard)  # who waits for this may script another answer, for later requests
        self.wfile.write(answer(heard))


class _Script(socketserver.ThreadingMixIn, socketserver.BaseServer):
    daemon_threads = True
    block_on_close = False

    def forget(self) -> None:
        """Begin anew: nothing was heard, every answer is OK, and no request's body is left unread for ever."""
        self.heard: list[Heard] = []
        self.answer: Callable[[Heard], bytes] = lambda _: OK
        self.ignores_a_request: Callable[[], bool] = lambda: False
        self.let_go = threading.Event()

    def late(self, _: Heard) -> bytes:
        """Answer OK when the test lets go."""
        self.let_go.wait(60)
        return OK

    def handle_error(self, *_: Any) -> None:
        """Say nothing where nginx has closed a connection."""


class Worker(_Script, socketserver.TCPServer):
    """A worker on a free port."""


class Agent(_Script, socketserver.UnixStreamServer):
    """A program on a unix socket."""


@contextmanager
def serving(*servers: Worker | Agent) -> Iterator[None]:
    """Serve until the end of the block."""
    threads = [threading.Thread(target=each.serve_forever, args=(0.05,)) for each in servers]
    for each, thread in zip(servers, threads, strict=True):
        each.forget()
        thread.start()
    try:
        yield
    finally:
        for each, thread in zip(servers, threads, strict=True):
            each.let_go.set()
            each.shutdown()
            thread.join()
            each.server_close()


def agent(path: Path) -> Agent:
    """A program on the unix socket of this path."""
    return Agent(str(path), _Handler)


def worker() -> Worker:
    """A worker on a free port of this machine."""
    return Worker(("127.0.0.1", 0), _Handler)
