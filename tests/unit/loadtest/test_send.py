"""A load that another program asks for, against a service of known service time."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest

from loadtest.generate.images import PHOTO
from loadtest.generate.samples import Trial, trial_of


def start(*options: str) -> subprocess.Popen[bytes]:
    """Start the program; its input and its output are pipes."""
    words = [sys.executable, "-m", "loadtest.generate.send", str(PHOTO), *options]
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def result(process: subprocess.Popen[bytes]) -> tuple[float, Trial]:
    """Wait for its end; the time of day at which its clock began, and what it recorded."""
    assert process.stdout is not None
    origin = float(json.loads(process.stdout.readline())["origin"])
    recorded = process.stdout.read()
    assert process.wait(timeout=60) == 0
    return origin, trial_of(recorded, Path("printed"))


@pytest.mark.slow
def test_phases_follow_each_other(serve: Callable[..., str]) -> None:
    began = time.time()
    phases = ("--phase", "0.5", "20", "--phase", "0.5", "60", "--constant", "--path", "/predict?top=1")
    with start("--target", serve(), *phases) as process:
        origin, trial = result(process)
    assert began < origin < time.time()
    assert trial.damage is None
    due = sorted(sample.scheduled_s for sample in trial.samples)
    assert due == pytest.approx([number / 20 for number in range(10)] + [0.5 + number / 60 for number in range(30)])
    assert {(sample.status, sample.image) for sample in trial.samples} == {(200, "photo")}


def test_users_ask_one_after_another(serve: Callable[..., str]) -> None:
    with start("--target", serve("--service-ms", "5"), "--users", "2", "--requests", "12") as process:
        _, trial = result(process)
    assert sorted(sample.seq for sample in trial.samples) == list(range(12))
    assert trial.footer is not None
    assert trial.footer["peak_in_flight"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("at_least", [0, 30])
def test_the_load_ends_with_its_input_once_enough_was_sent(serve: Callable[..., str], at_least: int) -> None:
    options = ("--phase", "600", "100", "--constant", "--at-least", str(at_least))
    with start("--target", serve("--workers", "30", "--service-ms", "300"), *options) as process:
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
        _, trial = result(process)
    assert trial.damage is None
    # what was under way had its answer, though the first took longer than the load went on
    assert all(sample.status == 200 for sample in trial.samples)
    assert at_least <= len(trial.samples) < 600


class Keeping(http.server.BaseHTTPRequestHandler):
    """Keeps the type and the body of what it is sent."""

    kept: ClassVar[list[tuple[str, bytes]]] = []

    def do_POST(self) -> None:
        self.kept.append((self.headers["Content-Type"], self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_a_photograph_is_the_body_or_the_file_of_a_form() -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Keeping) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        target = ("--target", f"http://127.0.0.1:{server.server_port}", "--users", "1", "--requests", "1")
        for options in (target, (*target, "--form")):
            with start(*options) as process:
                result(process)
        server.shutdown()
        thread.join()
    raw, form = Keeping.kept
    assert raw == ("image/jpeg", PHOTO.read_bytes())
    assert form[0].startswith("multipart/form-data; boundary=")
    assert b'name="image"; filename="photo"' in form[1]
    assert PHOTO.read_bytes() in form[1]


class Refusing(http.server.BaseHTTPRequestHandler):
    """Tells everybody to come back in a second."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps({"type": "/problems/busy"}).encode()
        self.send_response(429)
        for name, value in (("Retry-After", "1"), ("X-Request-Id", "my-id"), ("Content-Length", str(len(body)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_a_refusal_keeps_its_id_and_when_to_come_back() -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with start("--target", f"http://127.0.0.1:{server.server_port}", "--users", "1", "--requests", "1") as process:
            _, trial = result(process)
        server.shutdown()
        thread.join()
    (refused,) = trial.samples
    assert (refused.status, refused.request_id, refused.retry_after, refused.error) == (429, "my-id", "1", "busy")
