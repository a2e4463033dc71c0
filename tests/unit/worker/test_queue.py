"""How long a request has waited at a worker's listener: its own kernel tells, whatever the balancer's clock says."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.worker.conftest import start_server, stop_server
from tests.unit.worker.test_gunicorn_worker import head, picture

# What has waited for longer is refused: soon, or after more than a busy machine needs.
HASTY_S, PATIENT_S = 1, 50
# Seconds that the balancer's clock is behind the worker's.
CLOCKS = {"an hour behind": 3600, "a minute behind": 60, "in step": 0, "a minute ahead": -60, "an hour ahead": -3600}


@contextlib.contextmanager
def budgeted(bundle: Path, folder: Path, budget_s: int) -> Iterator[Any]:
    """A real gunicorn of one process with a budget for the queue."""
    worker_class = "imagerec_worker.gunicorn_worker.ImageWorker"
    server = start_server(bundle, worker_class, folder, IMAGEREC_QUEUE_BUDGET_S=str(budget_s))
    yield server
    stop_server(server)


@pytest.fixture(scope="module")
def patient(colours: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One that refuses nothing here."""
    with budgeted(colours.path, tmp_path_factory.mktemp("patient"), PATIENT_S) as server:
        yield server


@contextlib.contextmanager
def stopped(server: Any) -> Iterator[None]:
    """Let the only process of a server take nothing, while requests wait in the listener's queue."""
    serving = server.worker_pid()
    os.kill(serving, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(serving, signal.SIGCONT)


def send(server: Any, behind_s: float) -> socket.socket:
    """Send a whole photograph as a balancer of this clock would, and wait for nothing."""
    body = picture()
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=60)
    connection.sendall(head(len(body), f"X-Request-Start: t={time.time() - behind_s:.3f}") + body)
    return connection


def answer_of(connection: socket.socket) -> tuple[int, dict[str, Any]]:
    """Read the answer; return its status and document."""
    received = b""
    with connection:
        while data := connection.recv(65536):
            received += data
    header, body = received.split(b"\r\n\r\n", 1)
    return int(header.split()[1]), json.loads(body)


@pytest.mark.parametrize("behind_s", CLOCKS.values(), ids=CLOCKS.keys())
def test_a_request_that_has_not_waited_is_served(patient: Any, behind_s: float) -> None:
    status, document = answer_of(send(patient, behind_s))
    assert (status, document.get("detail")) == (200, None)
    assert 0 <= document["timing_ms"]["queue"] < PATIENT_S * 1000


@pytest.mark.slow
def test_a_request_that_has_waited_too_long_is_refused_whatever_the_balancer_s_clock_says(
    colours: Any, tmp_path: Path
) -> None:
    with budgeted(colours.path, tmp_path, HASTY_S) as hasty:
        with stopped(hasty):
            waiting = {clock: send(hasty, behind_s) for clock, behind_s in CLOCKS.items()}
            time.sleep(HASTY_S + 0.2)
        for clock, connection in waiting.items():
            status, document = answer_of(connection)
            assert (status, document["type"]) == (429, "/problems/busy"), clock
            assert float(document["detail"].split("waited ")[1].split(" s")[0]) >= HASTY_S, clock


def test_a_short_wait_is_told_by_the_kernel_when_the_clocks_disagree(patient: Any) -> None:
    with stopped(patient):
        waiting = send(patient, behind_s=3600)
        time.sleep(1)
    status, document = answer_of(waiting)
    assert status == 200
    assert 900 <= document["timing_ms"]["queue"] < PATIENT_S * 1000
