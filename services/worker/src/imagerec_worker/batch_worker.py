"""A gunicorn worker class for several requests a run: ``imagerec_worker.batch_worker.BatchWorker``.

It takes the connection that waits and up to ``IMAGEREC_BATCH_MAX`` − 1 more: those that wait too, and those that come
within ``IMAGEREC_BATCH_WINDOW_MS``. Each is read and decoded as soon as it is taken. Then the network runs, and each is
answered as :class:`ImageWorker` does. A request that is no plain ``POST /predict`` ends the batch and is served after
it.
"""

from __future__ import annotations

import errno
import select
import socket
import time
from typing import Any

from imagerec_worker import offload, plain_http
from imagerec_worker.batching import Batch
from imagerec_worker.gunicorn_worker import ImageWorker
from imagerec_worker.service import Service, service_of
from imagerec_worker.waiting import remember_wait

# Photographs that are slow to decode must not hold up the first of their batch: after so long no more are taken.
_LONGEST_S = 1.0
_NOBODY = (errno.EAGAIN, errno.EWOULDBLOCK, errno.ECONNABORTED)


class ReadAhead(plain_http.Listener):
    """Plain requests of a listener, which may be read before it is their turn."""

    def __init__(self, config: Any, address: Any) -> None:
        super().__init__(config, address)
        self._found: dict[socket.socket, dict[str, Any] | BaseException] = {}

    def read_ahead(self, client: socket.socket, peer: Any) -> dict[str, Any] | None:
        """Read the request of a connection if it is plain; what goes wrong is raised when it is its turn."""
        try:
            environ = super().receive(client, peer)
        except BaseException as error:
            self._found[client] = error
            return None
        if environ is not None:
            self._found[client] = environ
        return environ

    def receive(self, client: socket.socket, peer: Any) -> dict[str, Any] | None:
        """Return the request of a connection, which may have been read already; see the base class."""
        found = self._found.pop(client, None)
        if isinstance(found, BaseException):
            raise found
        return super().receive(client, peer) if found is None else found


class BatchWorker(ImageWorker):
    """The worker class that gathers requests; where ``IMAGEREC_BATCH_MAX`` is 1 it is its base class."""

    def load_wsgi(self) -> None:
        """Load the application; see the base class."""
        super().load_wsgi()
        service = service_of(self.wsgi)
        gathers = self._answers_plain and service is not None and service.settings.batch_max > 1
        self._service: Service | None = service if gathers else None
        if gathers:
            self._offload = None  # a child would have the connections of the whole batch
            offload.use(None)

    def accept(self, listener: Any) -> None:
        """Serve the connection that waits, and with it others of its batch."""
        clients = [listener.accept()]
        try:
            if self._service is not None:
                self._gather(listener, clients, self._service)
        finally:  # whoever was accepted is served, also where gathering was cut short
            for client, addr in clients:
                self.handle(listener, client, addr)
        self._hear()

    def _gather(self, listener: Any, clients: list[tuple[socket.socket, Any]], service: Service) -> None:
        """Add the connections of a batch to the first one, and find what the requests of all come to."""
        begun_s, ahead, batch = time.monotonic(), self._listener(listener), Batch(service)
        closes_s = begun_s + service.settings.batch_window_ms / 1000
        try:
            while True:
                client, addr = clients[-1]
                remember_wait(client)
                environ = ahead.read_ahead(client, addr)
                if environ is None or not batch.add(environ):
                    break
                self.notify()
                full = len(clients) >= service.settings.batch_max or time.monotonic() > begun_s + _LONGEST_S
                another = None if full or not self.alive else _next(listener, closes_s)
                if another is None:
                    break
                clients.append(another)
        finally:
            batch.run()

    def _listener(self, listener: Any) -> ReadAhead:
        if listener not in self._listeners:
            self._listeners[listener] = ReadAhead(self.cfg, listener.getsockname())
        found = self._listeners[listener]
        assert isinstance(found, ReadAhead)
        return found


def _next(listener: Any, closes_s: float) -> tuple[socket.socket, Any] | None:
    """Return the next connection, one that waits or comes until then; None where there is none."""
    while True:
        try:
            client, addr = listener.accept()
        except OSError as error:
            if error.errno not in _NOBODY:
                raise
        else:
            return client, addr
        left_s = closes_s - time.monotonic()
        if left_s <= 0 or not select.select([listener], [], [], left_s)[0]:
            return None
