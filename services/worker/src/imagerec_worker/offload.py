"""A request that would hold others up is answered by a child process; its parent serves the next one.

A worker's process answers one request at a time. It would make all others wait while a body comes over a slow link, and
for half a second of decoding. So it forks: as soon as a body is late or larger than 4 MiB, and before it decodes what
is dear by its header. The child answers that one request and ends. Of all children one decodes what is dear at a time,
at a lower priority. The others hold only their file and its copies, and give up where their turn does not come.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagerec_worker import held_lines, shared_metrics
from imagerec_worker.errors import BusyError

if TYPE_CHECKING:
    from gunicorn.glogging import Logger

MOST_CHILDREN = 4
NICENESS = 10  # a tenth of the time of who serves, as long as both have work
TURN_S = 15  # longest wait for a turn: half of a balancer's patience is left for what comes then
_ENDED_FIRST = "1000"  # by the kernel, when memory ends


class HandedOver(BaseException):
    """A child answers the present request. It is no error: whoever answers errors must let it pass."""


class Offload:
    """The children of one worker process.

    Args:
        limit_s: Seconds after which a child is ended without an answer; 0 for never.
        listening: Returns the sockets that are its parent's matter; a child closes its copies.
        log: Is told of a child that was killed.

    Attributes:
        waited_s: Seconds that the request has waited for its turn.
    """

    def __init__(self, limit_s: int, listening: Callable[[], Iterable[Any]], log: Logger) -> None:
        self._limit_s, self._listening, self._log = limit_s, listening, log
        self._turn = os.memfd_create("turn")
        self._children: set[int] = set()
        self._client: socket.socket | None = None
        self._is_child = self._has_turn = False
        self.waited_s = 0.0

    def begin(self, client: socket.socket) -> None:
        """Say that a request begins, which may be handed over."""
        self._client = client

    def end(self) -> None:
        """Say that a request has ended, and with it the child that answered it."""
        if self._is_child:
            held_lines.flush()
            os._exit(0)
        self._client = None

    def hand_over(self) -> None:
        """Give the request to a child. Return in the child, or here where no more children may be.

        Raises:
            HandedOver: A child has the request.
        """
        if self._client is None:
            return  # nothing that can be handed over, or it has been already
        client, self._client = self._client, None
        self.reap()
        child = _fork() if len(self._children) < MOST_CHILDREN else None
        if child:
            self._children.add(child)
            client.close()
            raise HandedOver
        if child == 0:
            self._become_child()

    def take_turn(self) -> None:
        """Give the request to a child, which waits until no other child decodes what is dear.

        Where no more children may be this process goes on at once: it must not wait for processes of a lower priority.

        Raises:
            HandedOver: A child has the request.
            BusyError: The turn has not come for long.
        """
        self.hand_over()
        if self._is_child and not self._has_turn:
            with contextlib.suppress(OSError):  # where a sandbox forbids it, it goes on as it is
                os.nice(NICENESS)
            begun_s = time.perf_counter()
            self._wait_for_turn()
            self._has_turn, self.waited_s = True, time.perf_counter() - begun_s

    @property
    def is_child(self) -> bool:
        """Whether this process is a child, so that nobody but its client and other children wait for what it does."""
        return self._is_child

    def reap(self, *, wait: bool = False) -> None:
        """Forget the children that have ended, and keep what they counted. With ``wait``, wait for all of them."""
        for child in list(self._children):
            ended, status = os.waitpid(child, 0 if wait else os.WNOHANG)
            if ended:
                self._children.remove(child)
                shared_metrics.inherit_safely(child, self._log)
                if status:
                    self._log.error("Process %s, which had one request, was ended by signal %s", child, status & 0x7F)

    def _wait_for_turn(self) -> None:
        def give_up(*_: object) -> None:
            raise BusyError(f"other large photographs have been before this one for {TURN_S} s")

        left_s, _ = signal.getitimer(signal.ITIMER_REAL)
        begun_s = time.monotonic()
        if not 0 < left_s <= TURN_S:  # else it is ended before
            signal.signal(signal.SIGALRM, give_up)
            signal.alarm(TURN_S)
        try:
            fcntl.lockf(self._turn, fcntl.LOCK_EX)  # of a process, and gone with it
        finally:
            signal.setitimer(signal.ITIMER_REAL, left_s and max(1, left_s - (time.monotonic() - begun_s)))
            signal.signal(signal.SIGALRM, signal.SIG_DFL)

    def _become_child(self) -> None:
        self._is_child, self._children = True, set()
        for each in self._listening():
            each.close()
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(self._limit_s)
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(_ENDED_FIRST)


def _fork() -> int | None:
    try:
        return os.fork()
    except OSError:  # no memory, or no more processes
        return None


class _Current:
    offload: Offload | None = None


def use(offload: Offload | None) -> None:
    """Let ``offload`` have the children of this process from now on; None where it has none."""
    _Current.offload = offload


def hand_over() -> None:
    """Hand the present request over, where this process can; see :meth:`Offload.hand_over`."""
    if _Current.offload is not None:
        _Current.offload.hand_over()


def take_turn() -> None:
    """Hand over what is dear, where this process can; see :meth:`Offload.take_turn`."""
    if _Current.offload is not None:
        _Current.offload.take_turn()


def holds_others_up() -> bool:
    """Return whether others wait for this process, though it could have handed the present request over."""
    return _Current.offload is not None and not _Current.offload.is_child


def is_child() -> bool:
    """Return whether a child answers the present request: it has what others leave of the processor."""
    return _Current.offload is not None and _Current.offload.is_child


def waited_s() -> float:
    """Return how long the present request has waited for its turn, in seconds, and 0 from then on."""
    if _Current.offload is None:
        return 0.0
    seconds, _Current.offload.waited_s = _Current.offload.waited_s, 0.0
    return seconds
