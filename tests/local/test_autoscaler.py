"""The pool follows the load: a real deployment, a worker that sleeps, wakes, serves, and sleeps again."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from PIL import Image

from tests.conftest import Deployment
from tests.local.test_deployment import pool_of

pytestmark = pytest.mark.slow

SETTINGS = "-e autoscaler=true -e autoscaler_down_after_s=2 -e worker_idle_exit_s=5"


def until(probe: Callable[[], object]) -> None:
    deadline = time.monotonic() + 150
    while not probe():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def commands(deployment: Deployment, worker: str) -> set[str]:
    """What the processes of a worker are: the one that waits for a connection, or gunicorn's."""
    found = set()
    for pid in deployment.processes():
        with contextlib.suppress(OSError):  # it has ended meanwhile
            text = Path(f"/proc/{pid}/cmdline").read_bytes().decode()
            if f"/.run/{worker}/" in text:
                found.add("waits" if "on_demand" in text else "serves")
    return found


def listens(url: str) -> bool:
    """Whether a connection is taken; a worker that ended refuses it until supervisor has started what waits."""
    where = urlsplit(url)
    with socket.socket() as probe:
        return probe.connect_ex((where.hostname, where.port)) == 0


@pytest.fixture(scope="module")
def scaled(deployment: Deployment) -> Iterator[Deployment]:
    """The deployment with its autoscaler; without again at the end."""
    deployment.make("up", f"ARGS={SETTINGS}")
    yield deployment
    deployment.make("up")
    until(lambda: set(pool_of(deployment).values()) == {"up"})
    assert requests.get(f"{deployment.url}/autoscaler", timeout=60).json() == {"on": False}
    assert commands(deployment, "worker2") == {"serves"}
    assert not list((deployment.folder / ".run/balancer").glob("*autoscaler*"))


def test_a_worker_sleeps_serves_under_load_and_sleeps_again_and_nothing_is_lost(scaled: Deployment) -> None:
    until(lambda: pool_of(scaled) == {"worker1": "up", "worker2": "standby"})
    until(lambda: commands(scaled, "worker2") == {"waits"})
    buffer = io.BytesIO()
    Image.effect_noise((640, 480), 40).convert("RGB").save(buffer, "JPEG")
    answers: list[tuple[int, str]] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            answer = requests.post(
                f"{scaled.url}/predict", data=buffer.getvalue(), headers={"Content-Type": "image/jpeg"}, timeout=30
            )
            answers.append((answer.status_code, answer.json().get("worker", "")))

    users = [threading.Thread(target=ask) for _ in range(8)]
    for user in users:
        user.start()
    try:
        until(lambda: "worker2" in {worker for _, worker in answers[-20:]})
        assert commands(scaled, "worker2") == {"serves"}
        over.set()
        for user in users:
            user.join()
        until(lambda: pool_of(scaled) == {"worker1": "up", "worker2": "standby"})
    finally:
        over.set()
    assert {status for status, _ in answers} == {200}
    assert {worker for _, worker in answers[:5]} == {"worker1"}
    until(lambda: requests.get(f"{scaled.url}/autoscaler", timeout=60).json().get("active") == 1)
    told = requests.get(f"{scaled.url}/autoscaler", timeout=60).json()
    assert (told["on"], told["minimum"], told["maximum"], told["target"]) == (True, 1, 2, 1)
    assert [(each["from"], each["to"]) for each in told["decisions"]] == [(2, 1), (1, 2), (2, 1)]
    assert told["decisions"][1]["metrics"]["arrivals_hz"] > 0
    model = requests.get(f"{scaled.url}/version", timeout=60).json()["model"]
    kept = json.loads((scaled.folder / ".run/balancer/state-autoscaler/standby.json").read_text())
    # As the role calls it, which refuses an objective by it.
    assert kept["model"] == f"{model['name']}-{model['digest'][:16]}"


def test_one_that_an_operator_took_out_is_never_taken_back(scaled: Deployment) -> None:
    until(lambda: pool_of(scaled) == {"worker1": "up", "worker2": "standby"})
    scaled.make("drain", "HOST=worker2")
    try:
        until(lambda: pool_of(scaled).get("worker2") == "standby")
        drained = scaled.folder / ".run/worker2/etc/drain"
        assert drained.exists()
        until(lambda: listens(scaled.workers["worker2"]))  # it may be between its end and its next sleep
        requests.get(f"{scaled.workers['worker2']}/version", timeout=30)  # it is awake, and still nobody's
        assert requests.get(f"{scaled.workers['worker2']}/readyz", timeout=30).status_code == 503
    finally:
        scaled.make("undrain", "HOST=worker2")
    assert not drained.exists()
