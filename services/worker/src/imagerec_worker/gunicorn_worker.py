"""A gunicorn worker class for photographs behind a buffering balancer: ``imagerec_worker.gunicorn_worker.ImageWorker``.

gunicorn's ``sync`` worker, which takes a connection only when it is free, so that the processes of one
listener share one queue. Three things are done in one step instead of several, all beneath WSGI:

* The body is received by one system call instead of being copied from buffer to buffer.
* Header and content of the answer leave together.
* A connection whose request has been read whole is closed at once, without waiting for the other side.

Whatever is not such a plain request takes the ordinary way. What gunicorn refuses by itself is answered by a problem
document, like every other error.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
from typing import Any

from gunicorn import util
from gunicorn.http.body import Body, LengthReader
from gunicorn.workers.sync import SyncWorker

from imagerec_worker.waiting import remember_wait

_MAX_BODY_BYTES = 4 * 1024 * 1024
_MAX_DETAIL = 200
_REFUSALS = {
    400: "bad-request",
    403: "forbidden",
    414: "uri-too-long",
    417: "expectation-failed",
    431: "headers-too-large",
    501: "not-implemented",
}


class ImageWorker(SyncWorker):  # type: ignore[misc]
    """The ``sync`` worker with fewer steps a request."""

    def init_process(self) -> None:
        """Serve requests; see the base class."""
        util.write_error = write_problem  # there is no hook for what gunicorn answers by itself
        super().init_process()

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serve an accepted connection; see the base class."""
        remember_wait(client)
        super().handle(listener, client, addr)

    def handle_request(self, listener: Any, req: Any, client: Any, addr: Any) -> None:
        """Serve one parsed request; see the base class."""
        if client.family in {socket.AF_INET, socket.AF_INET6}:
            # Partial segments wait until the connection is closed, which always follows the answer.
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        whole = _receive_body(req, client)
        super().handle_request(listener, req, client, addr)
        if whole and _is_drained(client):
            client.close()


def write_problem(client: Any, status: int, reason: str, message: str) -> None:
    """Answer what gunicorn refuses or cannot finish with a problem document, and never wait for the client."""
    worker = os.environ.get("IMAGEREC_WORKER_NAME") or socket.gethostname()
    document = {
        "type": f"/problems/{_REFUSALS.get(status, 'internal')}",
        "title": reason,
        "status": status,
        "detail": message[:_MAX_DETAIL] or "the worker failed; its log says why",
        "worker": worker,
    }
    body = json.dumps(document).encode() + b"\n"
    head = (
        f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\nContent-Type: application/problem+json\r\n"
        f"Content-Length: {len(body)}\r\nCache-Control: no-store\r\nX-Worker: {worker}\r\n\r\n"
    )
    util.write_nonblock(client, head.encode("latin-1", "replace") + body)


def _receive_body(req: Any, client: socket.socket) -> bool:
    """Put the whole body in place of the reader of ``req``; return whether the request has been read whole."""
    reader = req.body.reader
    plain = type(req.body) is Body and type(reader) is LengthReader and type(client) is socket.socket
    waits = any(name == "EXPECT" for name, _ in req.headers)
    if not plain or waits or reader.length > _MAX_BODY_BYTES:
        return False
    held = reader.unreader.take_buffered()
    parts = [held[: reader.length]]
    missing = reader.length - len(parts[0])
    while missing > 0:
        part = client.recv(missing, socket.MSG_WAITALL)
        if not part:
            break
        parts.append(part)
        missing -= len(part)
    req.body = io.BytesIO(b"".join(parts))
    return missing == 0 and len(held) <= int(reader.length)


def _is_drained(client: socket.socket) -> bool:
    """Return whether nothing waits to be read, so that closing cannot cut the answer short."""
    with contextlib.suppress(BlockingIOError):
        client.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        return False
    return True
