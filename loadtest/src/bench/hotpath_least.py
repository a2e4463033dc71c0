"""The least that a worker in Python does for a photograph: `make hotpath` holds ours against it.

It reads a request, recognises the photograph, and answers. It checks nothing, counts nothing and logs nothing. It
believes that nginx sends head and body as one.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterable
from typing import Any

import cv2
from gunicorn.workers.sync import SyncWorker

from bench.peers.recogniser import Recogniser

_MOST_HEAD_BYTES = 4096
_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\nContent-Length: ([0-9]+)\r\n")


class LeastWorker(SyncWorker):  # type: ignore[misc]
    """A gunicorn worker without WSGI."""

    def init_process(self) -> None:
        """Load the network; see the base class."""
        cv2.setNumThreads(1)  # as in ours
        self._recognise = Recogniser()
        super().init_process()

    def handle(self, listener: Any, client: socket.socket, addr: Any) -> None:  # noqa: ARG002  gunicorn's
        """Answer one photograph and close the connection; see the base class. Whatever else comes is not answered."""
        with client:
            head = client.recv(_MOST_HEAD_BYTES, socket.MSG_PEEK).partition(_END)[0] + _END
            length = _LENGTH.search(head)
            if length:
                client.recv(len(head))
                found = json.dumps(self._recognise(client.recv(int(length[1]), socket.MSG_WAITALL))).encode()
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(found), found))


def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Be the application that gunicorn loads; nobody calls it."""
    raise NotImplementedError
