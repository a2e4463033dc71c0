"""From the bytes of a photograph to its classes, and where the time went: the same for every protocol."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from imagerec_worker import offload, overhead, request_log
from imagerec_worker.classifier import Prediction, Probabilities
from imagerec_worker.errors import BusyError
from imagerec_worker.geometry import Pixels
from imagerec_worker.preprocess import ImageInfo, preprocess
from imagerec_worker.service import Service
from imagerec_worker.waiting import queue_s

TOP = "top"
TOP_DEFAULT = 5
TOP_MAX = 20
TOP_WANTED = f"{TOP} must be a whole number from 1 to {TOP_MAX}"


class Timing(NamedTuple):
    """Where the time of a classification went, in milliseconds.

    ``queue`` comes before the worker; ``total`` is the worker's own: the sum of ``read``, ``decode`` and ``inference``.
    Of several photographs in one request the times are added up.
    """

    queue: float
    read: float
    decode: float
    inference: float
    total: float

    def header(self) -> str:
        """Return the value of ``Server-Timing``: the times, and what the process needs around each request."""
        times = (
            f"queue;dur={self.queue}, read;dur={self.read}, decode;dur={self.decode}, "
            f"inference;dur={self.inference}, total;dur={self.total}"
        )
        around_s = overhead.PROCESS.mean_s
        return times if around_s is None else f"{times}, overhead;dur={around_s * 1000:.3f}"


class Recognition:
    """The present request's way from bytes to classes; each step ends a phase of its :class:`Timing`.

    Raises:
        BusyError: The request has waited longer than the worker's budget.
    """

    def __init__(self, service: Service, environ: dict[str, Any]) -> None:
        self._service = service
        self._environ = environ
        self._last_s = time.perf_counter()
        self._read_s = self._decode_s = self._inference_s = 0.0
        counted_s, self._queue_s = queue_s(environ.get("HTTP_X_REQUEST_START", ""))
        if 0 < service.settings.queue_budget_s < counted_s:
            raise BusyError(f"the request has waited {counted_s:.1f} s already")

    @property
    def spent_s(self) -> float:
        """How long its photographs have been decoded and classified, without waits, in seconds."""
        return self._decode_s + self._inference_s

    def end_reading(self) -> None:
        """Say that the request has been read."""
        self._read_s += self._lap_s()

    def decode(self, data: bytes) -> tuple[Pixels, ImageInfo]:
        """Return the network's input and what the file was; errors are those of :func:`preprocess`."""
        bundle = self._service.classifier.bundle
        decoded = preprocess(data, bundle.input_size, self._service.settings.max_pixels, bundle.crop)
        self._decode_s += self._lap_s()
        return decoded

    def infer(self, pixels: Pixels, top: int) -> tuple[Probabilities, list[Prediction]]:
        """Return the probability of every class, and the ``top`` most probable ones."""
        probabilities = self._service.classifier.probabilities(pixels)
        return probabilities, self.rank(probabilities, top)

    def end_waiting(self) -> None:
        """Say that the network is about to run for the request's batch; the wait for the others counts as queue."""
        self._queue_s += self._lap_s()

    def rank(self, probabilities: Probabilities, top: int) -> list[Prediction]:
        """Return the ``top`` most probable classes, and end the inference that found their probabilities."""
        best = self._service.classifier.best(probabilities, top)
        self._inference_s += self._lap_s()
        return best

    def finish(self) -> Timing:
        """Return the times, after they were counted and kept for the request's line in the log."""
        read, decode, inference = (
            round(spent_s * 1000, 3) for spent_s in (self._read_s, self._decode_s, self._inference_s)
        )
        timing = Timing(round(self._queue_s * 1000, 3), read, decode, inference, round(read + decode + inference, 3))
        overhead.PROCESS.classified(timing.total / 1000)
        phases_ms = timing._asdict()
        self._service.metrics.observe_phases(phases_ms)
        request_log.remember_phases(self._environ, phases_ms)
        return timing

    def _lap_s(self) -> float:
        now_s = time.perf_counter()
        waited_s = offload.waited_s()
        spent_s, self._last_s = now_s - self._last_s - waited_s, now_s
        self._queue_s += waited_s
        return spent_s
