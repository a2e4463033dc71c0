"""What a process needs around a classification, by a clock that the test turns and by a real server."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagerec_worker.bundle import Bundle
from imagerec_worker.overhead import Overhead
from tests.unit.worker.conftest import start_server, stop_server
from tests.unit.worker.test_gunicorn_worker import head, picture


class Clock:
    """A clock that stands until it is turned."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now_s


def serve(overhead: Overhead, clock: Clock, before_s: float, classified_s: float | None, after_s: float) -> None:
    """Play one request: what comes before its classification, that itself if there is one, and what comes after."""
    overhead.begin()
    clock.now_s += before_s
    if classified_s is not None:
        clock.now_s += classified_s
        overhead.classified(classified_s)
    clock.now_s += after_s
    overhead.end()


def test_what_is_around_a_classification_counts_also_between_two_requests() -> None:
    clock = Clock()
    overhead = Overhead(clock)
    serve(overhead, clock, 0.001, 0.010, 0.002)
    assert overhead.mean_s == pytest.approx(0.003)
    clock.now_s += 0.004  # a request waited already: what the loop needs is the process's too
    serve(overhead, clock, 0.001, 0.020, 0.002)
    assert overhead.mean_s == pytest.approx((0.003 + 0.007) / 2)


def test_a_process_that_waits_is_not_busy() -> None:
    clock = Clock()
    overhead = Overhead(clock)
    serve(overhead, clock, 0.001, 0.010, 0.002)
    overhead.wait()
    clock.now_s += 60
    serve(overhead, clock, 0.001, 0.010, 0.002)
    assert overhead.mean_s == pytest.approx(0.003)


def test_what_classifies_nothing_does_not_count() -> None:
    clock = Clock()
    overhead = Overhead(clock)
    serve(overhead, clock, 0.5, None, 0.5)
    assert overhead.mean_s is None


def test_the_mean_follows_the_last_hundred() -> None:
    clock = Clock()
    overhead = Overhead(clock)
    for around_s in [0.001] * 1000 + [0.005] * 500:
        serve(overhead, clock, around_s, 0.010, 0.0)
    assert overhead.mean_s == pytest.approx(0.005, rel=0.01)


def test_answers_tell_it_from_the_second_on(colours: Bundle, tmp_path: Path) -> None:
    server = start_server(colours.path, "imagerec_worker.gunicorn_worker.ImageWorker", tmp_path)
    try:
        body = picture()
        first, second = (server.exchange(head(len(body)) + body) for _ in range(2))
    finally:
        stop_server(server)
    assert b"total;dur=" in first
    assert b"overhead;dur=" not in first
    assert float(second.split(b", overhead;dur=")[1].split(b"\r\n")[0]) > 0
