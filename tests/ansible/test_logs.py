"""Logs do not fill the disk, whoever asks: a real nginx with what the role writes, and a real logrotate."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.ansible.plays import play
from tests.conftest import AWKWARD, free_ports

ASKED = 1500
PATIENCE_S = 240
BURST, RATE_HZ = 200, 20  # of nginx.conf.j2
KEPT_RATE_HZ = 50


class Worker(BaseHTTPRequestHandler):
    """Answers at once."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@dataclass
class Balancer:
    """A running balancer and its folder."""

    folder: Path
    url: str
    definition: dict[str, Any]

    def ask(self, path: str, count: int, name: str) -> None:
        """Ask; a line is written after its answer, and before the next request of its connection is read."""
        with requests.Session() as session:
            for number in range(count):
                session.get(f"{self.url}{path}", headers={"X-Request-Id": f"{name}-{number}"}, timeout=20)
            session.get(self.url, timeout=20)

    def rotate(self, *options: str) -> None:
        command = ["/usr/sbin/logrotate", "--state", str(self.folder / "logrotate.state"), *options]
        done = subprocess.run([*command, self.definition["log_rotation"]], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")

    def written(self, name: str) -> set[str]:
        """Every id of a name in the log and in what was rotated; all lines are whole."""
        lines = []
        for path in (self.folder / "log").glob("access.log*"):
            lines += (gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()).splitlines()
        return {line["id"] for line in map(json.loads, lines) if line["id"].startswith(f"{name}-")}


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def configure(folder: Path, **variables: Any) -> dict[str, Any]:
    """Apply the balancer's role to a folder; return what the service role would get."""
    (folder / "index.html").write_text("<title>page</title>")
    with tarfile.open(folder / "page.tar", "w") as archive:
        archive.add(folder / "index.html", "index.html")
    extra = {"folder": str(folder), "balancer_user": "root" if os.geteuid() == 0 else "", "balancer_tls": "off"}
    done = play("balance", extra | variables)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    definition: dict[str, Any] = json.loads((folder / "definition.json").read_text())
    return definition


@contextmanager
def running(folder: Path, rate_hz: int) -> Iterator[Balancer]:
    """Run a balancer before a worker; an address may send it so many requests a second."""
    (port,) = free_ports(1)
    with ThreadingHTTPServer(("127.0.0.1", 0), Worker) as worker:
        thread = threading.Thread(target=worker.serve_forever)
        thread.start()
        entry = {"name": "worker1", "address": "127.0.0.1", "port": worker.server_port, "processes": 2}
        definition = configure(folder, balancer_port=port, balancer_workers=[entry], balancer_address_rate_hz=rate_hz)
        assert [each["port"] for each in definition["ports"]] == [port]
        with subprocess.Popen(definition["command"]) as nginx:
            url = f"http://127.0.0.1:{port}"
            for _ in range(600):
                try:
                    requests.get(url, timeout=60)
                    break
                except requests.ConnectionError:
                    time.sleep(0.1)
            try:
                yield Balancer(folder, url, definition)
            finally:
                nginx.terminate()
                worker.shutdown()
                thread.join()


@pytest.fixture(scope="module")
def balancer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Balancer]:
    folder = tmp_path_factory.mktemp("logs") / AWKWARD
    folder.mkdir()
    with running(folder, KEPT_RATE_HZ) as started:
        yield started


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/", "/healthz", "/nowhere", "/status"])
def test_what_nginx_answers_by_itself_is_written_down_within_limits(balancer: Balancer, path: str) -> None:
    name = f"own{path.replace('/', '-')}"
    started = time.monotonic()
    balancer.ask(path, ASKED, name)
    most = BURST + 1 + RATE_HZ * (time.monotonic() - started)
    assert len(balancer.written(name)) <= most + 1


def test_nothing_is_lost_while_the_logs_are_rotated(balancer: Balancer) -> None:
    log = balancer.folder / "log/access.log"
    rotated = threading.Event()
    statuses: list[int] = []

    def ask() -> None:
        with requests.Session() as session:
            while len(statuses) < 40 or not rotated.is_set():
                name = f"kept-{len(statuses)}"
                answer = session.get(f"{balancer.url}/version", headers={"X-Request-Id": name}, timeout=20)
                statuses.append(answer.status_code)
                time.sleep(1.1 / KEPT_RATE_HZ)  # so none is refused
            session.get(balancer.url, timeout=20)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for _ in range(3):
            balancer.rotate("--force")
            until(lambda: log.exists() and log.stat().st_size > 0, "nginx writes into no new file")
    finally:
        rotated.set()
        asking.join()
    assert set(statuses) == {200}
    assert balancer.written("kept") == {f"kept-{number}" for number in range(len(statuses))}
    assert (balancer.folder / "log/access.log.1").exists()
    assert (balancer.folder / "log/access.log.2.gz").exists()


@pytest.mark.slow
def test_what_a_worker_answers_is_always_written_down_and_refusals_seldom(tmp_path: Path) -> None:
    """The rate is one that every host asks more than."""
    with running(tmp_path, rate_hz=5) as balancer:
        refusals_are_seldom_written(balancer)


def refusals_are_seldom_written(balancer: Balancer) -> None:
    answers: dict[str, int] = {}
    deadline = time.monotonic() + PATIENCE_S
    with requests.Session() as session:
        while list(answers.values()).count(429) < ASKED:
            assert time.monotonic() < deadline, f"{len(answers)} answers in {PATIENCE_S} s"
            name = f"api-{len(answers)}"
            answer = session.get(f"{balancer.url}/version", headers={"X-Request-Id": name}, timeout=20)
            answers[name] = answer.status_code
        session.get(balancer.url, timeout=20)
    written = balancer.written("api")
    answered = {name for name, status in answers.items() if status == 200}
    assert len(answered) > 5
    assert answered <= written
    assert 0 < len(written - answered) < ASKED / 20  # a hundredth on average


def test_a_log_is_rotated_by_its_size(balancer: Balancer) -> None:
    """The rule's own size, in a sparse file; the day has begun with the first run."""
    rule = Path(balancer.definition["log_rotation"]).read_text()
    most = int(re.search(r"maxsize (\d+)M", rule)[1]) << 20  # type: ignore[index]
    log = balancer.folder / "log/error.log"
    balancer.rotate()
    before = log.stat().st_ino
    balancer.rotate()
    assert log.stat().st_ino == before
    os.truncate(log, most + 1)
    balancer.rotate()
    # nginx opens the new file when it has had the signal
    until(lambda: log.exists() and log.stat().st_ino != before, "the log is not rotated")


def test_a_line_is_gone_after_fifteen_days_also_where_nobody_asks_any_more(balancer: Balancer) -> None:
    """A day passes when the state of logrotate says of each log that it was rotated long ago."""
    log, state = balancer.folder / "log/access.log", balancer.folder / "logrotate.state"
    balancer.ask("/", 1, "old")
    assert balancer.written("old")
    balancer.rotate()
    for _ in range(15):
        state.write_text(re.sub(r"\d+-\d+-\d+-\d+:\d+:\d+", "2020-1-1-0:0:0", state.read_text()))
        balancer.rotate()
        until(log.exists, "nginx does not open the new log")
    assert not balancer.written("old")
