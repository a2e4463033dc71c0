"""Asking a worker whether it is ready, and how long it has been silent."""

from __future__ import annotations

import asyncio
import errno
import os

import aiohttp

from imagerec_pool.conditions import DRAINING, READY, STANDBY, Seen

# A probe waits in the worker's queue like any request, so it is not given up early while the worker serves. One that is
# out is asked anew, since the kernel repeats what it has sent at ever longer intervals.
_PATIENCE_S, _PATIENCE_DOWN_S = 10.0, 2.0
_CONNECT_S = 1.0
# What this program lacks is not the worker's fault.
_OWN_FAULTS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}


class Probe:
    """The probe of one worker: at most one question is under way.

    Attributes:
        waited_s: Seconds for which it has been under way without any sign of life.
    """

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.waited_s = 0.0
        self._url = url
        self._session = session
        self._news: str | None = None
        self._broken = 0
        self._task: asyncio.Task[None] | None = None
        self._sent_s = 0.0
        self._failures: list[bool] = []

    def tick(self, now_s: float, passed_s: float, interval_s: float, *, serves: bool) -> None:
        """Ask when it is time, give up what takes too long, and count the silence.

        Args:
            now_s: The time, on the agent's clock.
            passed_s: Seconds since the last call for which this program was awake.
            interval_s: Seconds from one question to the next.
            serves: Whether the worker is in service now.
        """
        if self._task is not None and self._task.done():
            self._task = None
        if self._task is not None:
            self.waited_s += passed_s
            if now_s - self._sent_s > (_PATIENCE_S if serves else _PATIENCE_DOWN_S):
                self._task.cancel()
                self._task = None
        if self._task is None and now_s - self._sent_s >= interval_s:
            self._sent_s = now_s
            self._task = asyncio.get_running_loop().create_task(self._ask())

    def moved(self) -> None:
        """Take note of a sign of life other than an answer."""
        self.waited_s = 0.0

    def answered(self, *, failed: bool) -> None:
        """Take note of an answer in the access log."""
        self.waited_s = 0.0
        self._failures.append(failed)

    def seen(self) -> Seen:
        """Return what was seen since the last call."""
        seen = Seen(self._news, self.waited_s, tuple(self._failures))
        self._news = None
        self._failures = []
        return seen

    def rest(self) -> None:
        """Ask nothing until the next tick; what is seen is that the worker sleeps."""
        self.stop()
        self._task, self._news, self._failures, self._broken = None, STANDBY, [], 0
        self.waited_s = 0.0

    def stop(self) -> None:
        """Give up what is under way."""
        if self._task is not None:
            self._task.cancel()

    async def _ask(self) -> None:
        try:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S)
            async with self._session.get(self._url, timeout=timeout, allow_redirects=False) as answer:
                body = await answer.content.read(4096)
                self._tell(_meaning(answer.status, body))
                return
        except asyncio.CancelledError:
            raise
        except aiohttp.ClientConnectorError as error:
            # A connection that fails at once leaves no silence, so the error itself must tell.
            if error.os_error.errno not in _OWN_FAULTS:
                self._tell(_unreachable(error.os_error))
        except TimeoutError:
            pass  # the silence tells
        except (aiohttp.ClientError, OSError):
            # Its process ended with the question in its hands: the next one tells whether another has its place.
            self._broken += 1
            if self._broken > 1:
                self._tell("ends connections without an answer")

    def _tell(self, news: str) -> None:
        self._news = news
        self.waited_s = 0.0
        if news in {READY, DRAINING}:
            self._broken = 0


def _unreachable(error: OSError) -> str:
    if error.errno == errno.ECONNREFUSED:
        return "refuses connections"
    # asyncio puts words of its own in the place of the system's; a name that is not found has a negative number.
    number = error.errno or 0
    return f"cannot be reached: {os.strerror(number) if number > 0 else error.strerror or error}"


def _meaning(status: int, body: bytes) -> str:
    if status == 200:
        return READY
    if status == 503 and b"draining" in body:
        return DRAINING
    return f"answers {status} at /readyz"
