"""How long a request has waited at a worker's listener: its own kernel tells, whatever the balancer's clock says."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.worker.conftest import start_server, stop_server
from tests.unit.worker.test_gunicorn_worker import head, picture

BUDGET_S = 3
# Seconds that the balancer's clock is behind the worker's.
CLOCKS = {"an hour behind": 3600, "a minute behind": 60, "in step": 0, "a minute ahead": -60, "an hour ahead": -3600}


@pytest.fixture(scope="module")
def budgeted(colours: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A real gunicorn of one process with a budget for the queue."""
    folder: Path = tmp_path_factory.mktemp("budgeted")
    worker_class = "imagerec_worker.gunicorn_worker.ImageWorker"
    server = start_server(colours.path, worker_class, folder, IMAGEREC_QUEUE_BUDGET_S=str(BUDGET_S))
    yield server
    stop_server(server)


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
def test_a_request_that_has_not_waited_is_served(budgeted: Any, behind_s: float) -> None:
    status, document = answer_of(send(budgeted, behind_s))
    assert (status, document.get("detail")) == (200, None)
    assert 0 <= document["timing_ms"]["queue"] < BUDGET_S * 1000


def test_a_request_that_has_waited_too_long_is_refused_whatever_the_balancer_s_clock_says(budgeted: Any) -> None:
    """The only process reads a request that does not come, while the next ones wait in the listener's queue."""
    with socket.create_connection(("127.0.0.1", budgeted.port), timeout=60) as blocker:
        blocker.sendall(b"POST /predict HTTP/1.1\r\n")
        waiting = {clock: send(budgeted, behind_s) for clock, behind_s in CLOCKS.items()}
        time.sleep(BUDGET_S + 0.2)
    for clock, connection in waiting.items():
        status, document = answer_of(connection)
        assert (status, document["type"]) == (429, "/problems/busy"), clock
        assert float(document["detail"].split("waited ")[1].split(" s")[0]) >= BUDGET_S, clock


def test_a_short_wait_is_told_by_the_kernel_when_the_clocks_disagree(budgeted: Any) -> None:
    with socket.create_connection(("127.0.0.1", budgeted.port), timeout=60) as blocker:
        blocker.sendall(b"POST /predict HTTP/1.1\r\n")
        waiting = send(budgeted, behind_s=3600)
        time.sleep(1)
    status, document = answer_of(waiting)
    assert status == 200
    assert 900 <= document["timing_ms"]["queue"] < BUDGET_S * 1000
