"""An application that answers each ``POST /predict`` twice, before Flask and by Flask, and fails where they differ.

The tests' client is one, and so is ``tests.unit.worker.both_ways:app``, which gunicorn's plain worker class serves to
the tests: so every request and image that they have is answered both ways.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from flask import Flask

from imagerec_worker.plain import PREDICT, PlainPredict

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse

# What no two answers have in common: what took how long, and the ids made for requests that brought none.
_PASSING = re.compile(rb'(?<=;dur=)[\d.]+|(?<=ms":){.*?}|\b[0-9a-f]{32}\b|(?<=has waited )[\d.]+')

Answer = tuple[str, list[tuple[str, str]], bytes]


class Reads(io.RawIOBase):
    """A body that remembers what was read of it."""

    def __init__(self, body: Any) -> None:
        super().__init__()
        self.body = body
        self.done: list[tuple[int, bytes]] = []

    def read(self, size: int = -1) -> bytes:
        """Read from the body."""
        self.done.append((size, self.body.read(size)))
        return self.done[-1][1]


class SameReads(io.RawIOBase):
    """A body of which only the same can be read once more."""

    def __init__(self, done: list[tuple[int, bytes]]) -> None:
        super().__init__()
        self.left = list(done)

    def read(self, size: int = -1) -> bytes:
        """Give what was read before."""
        wanted, data = self.left.pop(0)
        assert size == wanted, f"{size} bytes are read by Flask's way, {wanted} by the other"
        return data


class BothWays:
    """A WSGI application around a :class:`PlainPredict`."""

    def __init__(self, plain: PlainPredict) -> None:
        self.plain = plain
        self.compared = 0

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer once if both ways answer alike."""
        if environ["PATH_INFO"] != PREDICT:
            return self.plain(environ, start_response)
        body = Reads(environ["wsgi.input"])
        status, headers, content = ask(self.plain, {**environ, "wsgi.input": body})
        again = SameReads(body.done)
        assert lasting((status, headers, content)) == lasting(
            ask(self.plain.application, {**environ, "wsgi.input": again})
        )
        assert not again.left
        self.compared += 1
        start_response(status, headers)
        return [content]


def ask(application: Callable[..., Iterable[bytes]], environ: dict[str, Any]) -> Answer:
    """Return the whole answer of a WSGI application."""
    started: list[Any] = []
    content = b"".join(application(environ, lambda *arguments: started.extend(arguments)))
    return started[0], started[1], content


def lasting(answer: Answer) -> Answer:
    """Return an answer without what differs from one time to the next."""
    status, headers, content = answer
    assert dict(headers)["Content-Length"] == str(len(content))
    kept = [(name, _PASSING.sub(b"?", value.encode()).decode()) for name, value in headers if name != "Content-Length"]
    return status, kept, _PASSING.sub(b"?", content)


def answer_both_ways(app: Flask) -> Flask:
    """Make an application answer both ways."""
    assert isinstance(app.wsgi_app, PlainPredict)
    app.wsgi_app = BothWays(app.wsgi_app)  # type: ignore[method-assign]
    return app


if "IMAGEREC_BUNDLE" in os.environ:
    from imagerec_worker.wsgi import app as served

    app = answer_both_ways(served)
