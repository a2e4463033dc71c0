"""A gunicorn worker class for photographs behind a buffering balancer: ``imagerec_worker.gunicorn_worker.ImageWorker``.

gunicorn's ``sync`` worker, which takes a connection only when it is free, so that the processes of one listener share
one queue. Plain requests it reads and answers by itself, as :mod:`imagerec_worker.plain_http` says: head and body are
each received by one system call, the answer leaves by one, and the connection is closed at once, without waiting for
the other side.

What would hold others up goes on in a child process, as :mod:`imagerec_worker.offload` says.

Whatever is not such a plain request takes the ordinary way. What gunicorn refuses by itself is answered by a problem
document, counted, and has its one line in the log, like every other error.
"""

from __future__ import annotations

import errno
import gc
import json
import logging
import os
import signal
import socket
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

# Before numpy is loaded, and in gunicorn's first process, which must have no other thread when it forks.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from gunicorn import util
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.workers.sync import SyncWorker
from PIL import Image

import imagerec_worker.app  # noqa: F401  all that a process runs, loaded before it is forked
from imagerec_worker import idleness, late_heads, offload, overhead, plain_http, request_log
from imagerec_worker.service import service_of
from imagerec_worker.waiting import remember_wait

_MAX_DETAIL = 200
_REFUSALS = {
    400: "bad-request",
    403: "forbidden",
    414: "uri-too-long",
    417: "expectation-failed",
    431: "headers-too-large",
    501: "not-implemented",
    503: "unavailable",
}
# Whoever sets these wants to see each request as gunicorn does.
_WATCHING = ("pre_request", "post_request")
# What is known of a request that could not be read, and the route that it counts under.
_UNREAD: Mapping[str, Any] = MappingProxyType({"REQUEST_METHOD": ""})
_ROUTE = "unknown"


class ImageWorker(SyncWorker):  # type: ignore[misc]
    """The ``sync`` worker with fewer steps a request."""

    _idleness: idleness.Idleness | None = None
    _offload: offload.Offload | None = None

    def __init__(self, *arguments: Any) -> None:
        """Make the first process ready for a fork; see the base class.

        What it has loaded is there at once in the new process, and both hold it once. The collector of garbage would
        write to every object, which copies its page: it leaves alone what was there before the fork.
        """
        super().__init__(*arguments)
        Image.preinit()  # Pillow's formats, else loaded with the first image
        gc.collect()
        gc.freeze()

    def init_process(self) -> None:
        """Serve requests; see the base class."""
        util.write_error = self._refuse  # there is no hook for what gunicorn answers by itself
        self._answers_plain = not is_watched(self.cfg, self.log)
        self._listeners: dict[Any, plain_http.Listener] = {}
        self._idleness = idleness.shared()
        self._late = late_heads.LateHeads(self.cfg.timeout)
        self._offload = offload.Offload(self.cfg.timeout, lambda: [*self.sockets, *self._late], self.log)
        offload.use(self._offload)
        super().init_process()

    def run(self) -> None:
        """Serve until told to stop, and let the children finish; see the base class."""
        signal.signal(signal.SIGCHLD, _wake)
        super().run()
        if self._offload is not None:
            self._offload.reap(wait=True)

    def wait(self, timeout: float) -> Any:
        """Wait for a connection, and let the listener end where none came for long; see the base class."""
        overhead.PROCESS.wait()
        if self._offload is not None:
            self._offload.reap()
        if self._idleness is not None:
            timeout = min(timeout, self._idleness.limit_s / 4)
        self.wait_fds = [*self.sockets, self.PIPE[0], *self._late]
        ready = super().wait(timeout)
        if self._idleness is not None and not ready:
            self._idleness.end_if_long(self.ppid)
        self._hear()
        return ready and [each for each in ready if each in self.sockets]

    def accept(self, listener: Any) -> None:
        """Serve a connection that waits; see the base class. Python has made it blocking and not inheritable."""
        client, addr = listener.accept()
        self.handle(listener, client, addr)
        self._hear()

    def _hear(self) -> None:
        for spoken in self._late.spoken():
            self.handle(*spoken)

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serve an accepted connection, or let a child serve it; see the base class."""
        overhead.PROCESS.begin()
        remember_wait(client)
        if self._idleness is not None:
            self._idleness.asked()
        if self._offload is not None:
            self._offload.begin(client)
        try:
            self._serve(listener, client, addr)
        finally:
            if self._offload is not None:
                self._offload.end()
            overhead.PROCESS.end()

    def _serve(self, listener: Any, client: Any, addr: Any) -> None:
        environ, answer = None, b""
        try:
            if self._answers_plain:
                environ = self._listener(listener).receive(client, addr)
            if environ is not None:
                answer = self._answer(environ)
                plain_http.send(client, answer)
        except OSError as error:
            if isinstance(error, ConnectionError) or error.errno == errno.ENOTCONN:
                self.log.debug("Ignoring a broken connection: %s", error)
            else:
                self.log.exception("Socket error processing %s", _name(environ))
            client.close()
        except offload.HandedOver:
            return
        except plain_http.LateError as late:
            self._wait_for_head(listener, client, addr, late.said)
        except plain_http.NoChildError:
            self._refuse(client, 503, "Service Unavailable", "too many bodies are late; try again soon")
            client.close()
        except BaseException:  # like the base class, SystemExit included
            self.log.exception("Error handling %s", _name(environ))
            if not answer:  # else a part of it may have left
                self._refuse(client, 500, "Internal Server Error", "", environ or _UNREAD)
            util.close_graceful(client)
        else:
            if environ is None:
                super().handle(listener, client, addr)

    def _wait_for_head(self, listener: Any, client: Any, addr: Any, said: int) -> None:
        if not self._late.keep(listener, client, addr, said):
            super().handle(listener, client, addr)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Refuse a request, or say why it failed; see the base class. What the client did wrong has a line already."""
        if isinstance(exc, offload.HandedOver):
            return
        said = self.log.error_log
        level = said.level
        said.setLevel(max(level, logging.ERROR))
        try:
            super().handle_error(req, client, addr, exc)
        finally:
            said.setLevel(level)

    def _refuse(
        self, client: Any, status: int, reason: str, message: str, environ: Mapping[str, Any] = _UNREAD
    ) -> None:
        service = service_of(self.wsgi)
        if service is not None:
            service.metrics.count_answer(_ROUTE, status)
        write_problem(client, status, reason, message, environ)

    def _listener(self, listener: Any) -> plain_http.Listener:
        if listener not in self._listeners:
            self._listeners[listener] = plain_http.Listener(self.cfg, listener.getsockname())
        return self._listeners[listener]

    def _answer(self, environ: dict[str, Any]) -> bytes:
        self.nr += 1
        if self.nr >= self.max_requests:
            self.log.info("Autorestarting worker after current request.")
            self.alive = False
        answer = plain_http.Answer()
        return answer.whole(self.wsgi(environ, answer.start))


def _wake(*_: object) -> None:
    """Do nothing: a signal that somebody waits for ends the wait for a connection, and ended children are forgotten."""


def is_watched(config: Config, log: Logger) -> bool:
    """Return whether gunicorn's configuration wants something done for each request that only the ordinary way does."""
    hooks = any(config.settings[name].get() != config.settings[name].default for name in _WATCHING)
    log_is_usual = type(log) is Logger and not log.access_log_enabled and config.errorlog == "-"
    return bool(hooks or config.is_ssl or os.environ.get("SCRIPT_NAME") or not log_is_usual)


def write_problem(client: Any, status: int, reason: str, message: str, environ: Mapping[str, Any]) -> None:
    """Answer what gunicorn refuses or cannot finish with a problem document, and never wait for the client.

    The line in the log names the problem. What gunicorn says of it may hold what a client wrote, and stays out.
    """
    worker = os.environ.get("IMAGEREC_WORKER_NAME") or socket.gethostname()
    problem, identity = _REFUSALS.get(status, "internal"), request_log.id_of(environ)
    document = {
        "type": f"/problems/{problem}",
        "title": reason,
        "status": status,
        "detail": message[:_MAX_DETAIL] or "the worker failed; its log says why",
        "worker": worker,
    }
    body = json.dumps(document).encode() + b"\n"
    head = (
        f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\nContent-Type: application/problem+json\r\n"
        f"Content-Length: {len(body)}\r\nCache-Control: no-store\r\nX-Worker: {worker}\r\n"
        f"{request_log.HEADER}: {identity}\r\n\r\n"
    )
    outcome = request_log.Outcome(_ROUTE, status, len(body), problem)
    request_log.write(environ, identity, outcome, worker, os.environ.get("IMAGEREC_LOG_LEVEL") or "info")
    util.write_nonblock(client, head.encode("latin-1", "replace") + body)


def _name(environ: dict[str, Any] | None) -> str:
    return (
        "a request that had not been read" if environ is None else f"{environ['REQUEST_METHOD']} {environ['RAW_URI']}"
    )
