"""Where the time of a classification went, by clocks that the test turns: what is told, counted and kept."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from flask import Flask

from imagerec_worker import overhead, recognition, waiting
from imagerec_worker.bundle import Bundle
from imagerec_worker.metrics import Metrics
from imagerec_worker.preprocess import ImageInfo
from imagerec_worker.recognition import Recognition, Timing
from imagerec_worker.service import service_of
from tests.unit.worker.test_overhead import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of a recognition."""
    found = Clock()
    monkeypatch.setattr(recognition, "time", SimpleNamespace(perf_counter=found))
    return found


def test_each_phase_has_the_time_until_its_end(app: Flask, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn that was waited for while the photograph was decoded counts as queue, and so does the wait for a batch."""
    waited_s, classified_s = list[float](), list[float]()
    monkeypatch.setattr(recognition.offload, "waited_s", lambda: waited_s.pop() if waited_s else 0.0)
    monkeypatch.setattr(overhead.PROCESS, "classified", classified_s.append)

    def decode(*_: object) -> tuple[np.ndarray[Any, Any], ImageInfo]:
        waited_s.append(0.25)
        clock.now_s += 0.2540004
        return np.zeros((16, 16, 3), np.uint8), ImageInfo("PNG", 16, 16)

    monkeypatch.setattr(recognition, "preprocess", decode)
    service = service_of(app)
    assert service is not None
    present = Recognition(service, {})
    clock.now_s += 0.001
    present.end_reading()
    present.decode(b"")
    clock.now_s += 0.5
    present.end_waiting()
    clock.now_s += 0.002
    present.rank(np.array([0.5, 0.3, 0.2], np.float32), 1)
    assert present.spent_s == pytest.approx(0.0060004)
    assert present.finish() == Timing(750.0, 1.0, 4.0, 2.0, 7.0)
    assert classified_s == [0.007]


def test_the_header_tells_milliseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overhead.PROCESS, "mean_s", 0.0015)
    times = "queue;dur=0.0, read;dur=0.5, decode;dur=1.0, inference;dur=2.0, total;dur=3.5"
    assert Timing(0.0, 0.5, 1.0, 2.0, 3.5).header() == f"{times}, overhead;dur=1.500"


def test_metrics_are_in_seconds(colours: Bundle) -> None:
    metrics = Metrics(colours, "w")
    metrics.observe_phases({"decode": 250.0})
    assert 'imagerec_phase_seconds_sum{phase="decode"} 0.25\n' in metrics.render().decode()


# By the kernel, by the balancer whose clock says 1000 now; what a budget counts and what is told.
WAITS: dict[str, tuple[float | None, str, tuple[float, float]]] = {
    "the balancer tells it finer": (0.02, "t=999.95", (0.02, 0.05)),
    "both agree on a long wait": (1.45, "t=998.5", (1.45, 1.5)),
    "the balancer's clock is behind": (1.3, "t=998.5", (1.3, 1.3)),
    "the balancer's clock is ahead": (0.02, "t=1000.05", (0.02, 0.02)),
    "the balancer tells nothing": (1.3, "", (1.3, 1.3)),
    "nobody tells anything": (None, "", (0.0, 0.0)),
    "the kernel knows nothing": (None, "t=880", (120.0, 120.0)),
    "longer than any balancer waits": (None, "t=879.5", (0.0, 0.0)),
    "no number": (None, "t=nan", (0.0, 0.0)),
}


@pytest.mark.parametrize("name", WAITS)
def test_a_wait_is_the_kernel_s_where_it_knows(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    counted_s, start, expected = WAITS[name]
    monkeypatch.setattr(waiting, "time", SimpleNamespace(time=lambda: 1000.0))
    waiting._waited_s.set(counted_s)
    assert waiting.queue_s(start) == (pytest.approx(expected[0]), pytest.approx(expected[1]))
