"""Send load and record it: the three loops, and what the generator notices of itself.

- open: requests leave when the arrival law says, whatever the service does;
- closed: each of k users sends its next request when its last is answered;
- original: the original's loop, which sleeps whole seconds and waits for every k-th answer.
"""

import asyncio
import gc
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import Any

from loadtest.generate.answers import Reply
from loadtest.generate.client import Client
from loadtest.generate.effort import Effort, Meter
from loadtest.generate.payload import Payload
from loadtest.generate.recorder import Recorder, RecorderError
from loadtest.generate.samples import Sample
from loadtest.generate.view import Glimpse, Seen

NOT_SENT = "not sent: in-flight limit"
_PAUSE_AFTER_FAILURE_S = 0.1
_GLIMPSE_EVERY_S = 0.25
_LEAD_S = 1.5e-4  # it takes so long from a timer to the first step of a new task


class Runner:
    """Runs one trial with one client and one recorder.

    Args:
        client: Sends the requests.
        recorder: Keeps the samples.
        payloads: What to send, one for each request; an iterator that ends ends the trial.
        max_in_flight: Open loop: a request due while so many are under way is not sent, and recorded as failed.
        watch: Called four times a second with what has happened since the last time.
        started: Called when the clock of the samples begins.
        begin_s: When that is, by time.perf_counter; None: at once.
    """

    def __init__(
        self,
        client: Client,
        recorder: Recorder,
        payloads: Iterator[Payload],
        *,
        max_in_flight: int = 2000,
        watch: Callable[[Glimpse], None] | None = None,
        started: Callable[[], None] | None = None,
        begin_s: float | None = None,
    ) -> None:
        self._client, self._recorder, self._payloads = client, recorder, payloads
        self._max_in_flight, self._watch = max_in_flight, watch
        self._fresh: list[Seen] = []
        self._started, self._begin_s = started, begin_s
        self._stopped = False
        self._origin = 0.0
        self._in_flight = self._peak = self._not_sent = self._seq = 0
        self._area = self._changed = 0.0
        self._failure: RecorderError | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def sent(self) -> int:
        """Requests so far."""
        return self._seq

    def stop(self) -> None:
        """Send no further request; the loop that is under way returns when the last has its answer."""
        self._stopped = True

    async def open_loop(self, offsets: Iterable[float]) -> Effort:
        """Send at the given offsets in seconds and wait for the last answer.

        Raises:
            RecorderError: Samples can no longer be written.
        """
        return await self._measure(self._open(offsets))

    async def closed_loop(self, users: int, *, requests: int | None = None, duration_s: float | None = None) -> Effort:
        """Let `users` users send one request after the other, until so many requests or seconds.

        A user whose request failed pauses for 0.1 s, so that a refusing service is not flooded.

        Raises:
            RecorderError: Samples can no longer be written.
        """
        if requests is None and duration_s is None:
            raise ValueError("a closed loop needs an end: requests or duration_s")
        return await self._measure(self._closed(users, requests, duration_s))

    async def original_loop(self, pauses: Iterable[int], requests: int, measured_every: int) -> Effort:
        """Send as the original did: pause, send, and wait for the answer of every measured_every-th request.

        Raises:
            RecorderError: Samples can no longer be written.
        """
        return await self._measure(self._original(pauses, requests, measured_every))

    async def _open(self, offsets: Iterable[float]) -> None:
        for offset in offsets:
            payload = next(self._payloads, None)  # before the wait: making one may take a millisecond
            if payload is None:
                return
            await asyncio.sleep(max(offset - _LEAD_S - self._now(), 0.0))
            if self._over:
                return
            if self._in_flight >= self._max_in_flight:
                self._drop(offset, payload)
            else:
                self._start(self._request(self._take_seq(), offset, payload))

    async def _closed(self, users: int, requests: int | None, duration_s: float | None) -> None:
        left = requests

        async def user() -> None:
            nonlocal left
            while not self._over and (duration_s is None or self._now() < duration_s):
                if left is not None:
                    if left == 0:
                        return
                    left -= 1
                payload = next(self._payloads, None)
                if payload is None:
                    return
                reply = await self._request(self._take_seq(), None, payload)
                if reply.error is not None:
                    await asyncio.sleep(_PAUSE_AFTER_FAILURE_S)

        await asyncio.gather(*(user() for _ in range(users)))

    async def _original(self, pauses: Iterable[int], requests: int, measured_every: int) -> None:
        for number, pause in zip(range(requests), pauses, strict=False):
            payload = next(self._payloads, None)
            if payload is None or self._over:
                return
            if number % measured_every == measured_every - 1:
                await self._request(self._take_seq(), None, payload)
            else:
                self._start(self._request(self._take_seq(), None, payload))
            await asyncio.sleep(pause)

    async def _request(self, seq: int, scheduled_s: float | None, payload: Payload) -> Reply:
        while scheduled_s is not None and self._now() < scheduled_s:
            await asyncio.sleep(0)  # a turn of the loop, in which answers are read
        sent_s = self._now()
        self._count(sent_s, +1)
        try:
            reply = await self._client.predict(payload)
        finally:
            done_s = self._now()
            self._count(done_s, -1)
        self._record(
            Sample(
                seq=seq,
                scheduled_s=sent_s if scheduled_s is None else scheduled_s,
                sent_s=sent_s,
                done_s=done_s,
                image=payload.key,
                **vars(reply),
            )
        )
        return reply

    def _drop(self, offset: float, payload: Payload) -> None:
        now = self._now()
        self._not_sent += 1
        self._record(Sample(self._take_seq(), offset, now, now, None, None, NOT_SENT, payload.key))

    def _record(self, sample: Sample) -> None:
        try:
            self._recorder.add(sample)
        except RecorderError as error:
            self._failure = error
        if self._watch:
            self._fresh.append((round(sample.response_s * 1e6), round(sample.lag_s * 1e6), sample.ok))

    @property
    def _over(self) -> bool:
        return self._stopped or self._failure is not None

    def _start(self, request: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.get_running_loop().create_task(request)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _measure(self, load: Coroutine[Any, Any, None]) -> Effort:
        froze_before = gc.get_freeze_count() > 0  # a process that has done so for itself keeps it
        gc.collect()
        gc.freeze()  # what exists now is not looked at again: a collection would hold up the requests for milliseconds
        await asyncio.sleep(max((self._begin_s or 0.0) - time.perf_counter(), 0.0))
        meter = Meter()
        self._origin = self._begin_s or time.perf_counter()
        self._changed = 0.0
        if self._started:
            self._started()
        watching = asyncio.create_task(self._show(self._watch)) if self._watch else None
        try:
            await load
            while self._tasks and self._failure is None:
                await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            if watching:
                watching.cancel()
            if not froze_before:
                gc.unfreeze()
        wall_s = max(self._now(), 1e-9)
        self._count(wall_s, 0)
        if self._failure:
            raise self._failure
        return Effort(
            wall_s=wall_s,
            **meter.shares(wall_s),
            peak_in_flight=self._peak,
            mean_in_flight=self._area / wall_s,
            not_sent=self._not_sent,
        )

    async def _show(self, watch: Callable[[Glimpse], None]) -> None:
        while True:
            await asyncio.sleep(_GLIMPSE_EVERY_S)
            seen, self._fresh = self._fresh, []
            watch(Glimpse(self._now(), self._seq, self._in_flight, seen))

    def _count(self, now: float, change: int) -> None:
        self._area += self._in_flight * (now - self._changed)
        self._changed = now
        self._in_flight += change
        self._peak = max(self._peak, self._in_flight)

    def _now(self) -> float:
        return time.perf_counter() - self._origin

    def _take_seq(self) -> int:
        self._seq += 1
        return self._seq - 1
