"""The worker class, and the plain one beside it, on the wire: however a request comes, it is answered whole."""

from __future__ import annotations

import errno
import io
import json
import logging
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gunicorn.config import Config
from gunicorn.glogging import Logger
from PIL import Image

from imagerec_worker.bundle import Bundle
from imagerec_worker.gunicorn_worker import ImageWorker, write_problem
from tests.conftest import json_lines
from tests.unit.worker.conftest import start_server, stop_server


def picture(side: int = 64) -> bytes:
    """A green PNG of noise, which takes about three bytes a pixel."""
    pixels = np.random.default_rng(3).integers(0, 60, (side, side, 3), np.uint8)
    pixels[..., 1] += 190
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def head(length: int | None, *fields: str) -> bytes:
    lines = ["POST /predict HTTP/1.1", "Host: worker", "Content-Type: image/png", *fields]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def assert_green(answer: bytes) -> None:
    header, body = answer.split(b"\r\n\r\n", 1)
    assert header.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nConnection: close" in header
    assert json.loads(body)["predictions"][0]["label"] == "green"


@pytest.mark.slow
@pytest.mark.parametrize("side", [16, 64, 500, 1300], ids=["1 kB", "10 kB", "600 kB", "5 MB"])
def test_a_body_of_any_size_is_read_whole(server: Any, side: int) -> None:
    body = picture(side)
    assert_green(server.exchange(head(len(body)) + body))


def test_a_body_in_pieces_is_read_whole(server: Any) -> None:
    body = picture()
    request = head(len(body)) + body
    pieces = [request[start : start + 2000] for start in range(0, len(request), 2000)]
    assert_green(server.exchange(*pieces, pause_s=0.01))


def test_a_header_in_pieces_is_read_whole(server: Any) -> None:
    body = picture()
    request = head(len(body))
    assert_green(server.exchange(request[:20], request[20:], body[:100], body[100:], pause_s=0.05))


def test_a_chunked_body_is_read_whole(server: Any) -> None:
    body = picture()
    chunks = [body[start : start + 3000] for start in range(0, len(body), 3000)]
    encoded = b"".join(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n" for chunk in chunks) + b"0\r\n\r\n"
    assert_green(server.exchange(head(None, "Transfer-Encoding: chunked") + encoded))


def test_a_client_that_waits_for_permission_gets_it(server: Any) -> None:
    body = picture()
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(head(len(body), "Expect: 100-continue"))
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        answer = b""
        while data := connection.recv(65536):
            answer += data
    assert_green(answer)


def test_a_body_cut_short_is_a_bad_request(server: Any) -> None:
    body = picture()
    answer = server.exchange(head(len(body)) + body[:-1])
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"about:blank" in answer


def test_what_follows_the_body_does_not_cut_the_answer(server: Any) -> None:
    """A second request on the connection is not answered, but must not reset the first one's answer."""
    body = picture()
    request = head(len(body)) + body
    assert_green(server.exchange(request + request))


def test_requests_without_a_body_are_answered(server: Any) -> None:
    answer = server.exchange(b"GET /healthz HTTP/1.1\r\nHost: worker\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b'{"status":"live"}\n')


def test_head_has_no_body(server: Any) -> None:
    answer = server.exchange(b"HEAD /healthz HTTP/1.1\r\nHost: worker\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\n")


def test_a_request_that_is_no_http_is_refused(server: Any) -> None:
    assert server.exchange(b"picture please\r\n\r\n").startswith(b"HTTP/1.1 400 ")


def test_a_client_that_leaves_harms_nobody(server: Any) -> None:
    pid = server.worker_pid()
    body = picture()
    for sent in (0, 10, len(head(len(body))) + 100):
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
            connection.sendall((head(len(body)) + body)[:sent])
    assert_green(server.exchange(head(len(body)) + body))
    assert server.worker_pid() == pid


def handled(application: Any, request: bytes) -> tuple[bytes, list[str]]:
    """What a request gets on the wire from an application in a worker that has not forked, and what is logged."""
    worker = ImageWorker.__new__(ImageWorker)
    worker.cfg, worker.nr, worker.max_requests, worker.alive, worker.wsgi = Config(), 0, 9, True, application
    worker.log = Logger(worker.cfg)
    worker._answers_plain, worker._listeners = True, {}
    said: list[str] = []
    hears = logging.Handler()
    hears.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    worker.log.error_log.addHandler(hears)
    client, server = socket.socketpair()
    try:
        with client, server, socket.create_server(("127.0.0.1", 0)) as listener:
            client.sendall(request)
            client.shutdown(socket.SHUT_WR)
            worker.handle(listener, server, ("127.0.0.1", 40000))
            return client.recv(65536, socket.MSG_WAITALL), said
    finally:
        worker.log.error_log.removeHandler(hears)


def test_what_an_application_cannot_answer_is_named_in_the_log() -> None:
    def ended(*_: object) -> None:
        raise SystemExit(1)  # as gunicorn does where a request takes too long

    def away(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    request = b"GET /version?x=1 HTTP/1.1\r\nHost: worker\r\nX-Request-Id: mine\r\n\r\n"
    answer, said = handled(ended, request)
    assert answer.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert b"\r\nX-Request-Id: mine\r\n" in answer
    assert said == ["Error handling GET /version?x=1"]
    assert handled(away, request) == (b"", ["Socket error processing GET /version?x=1"])
    not_plain = request.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
    assert handled(ended, not_plain)[1] == ["Error handling request GET /version?x=1"]
    assert handled(ended, b"no request\r\n\r\n")[1] == []


@pytest.mark.parametrize(
    "error", [ConnectionResetError(), OSError(errno.ENOTCONN, "not connected")], ids=["reset", "gone"]
)
def test_a_client_that_has_left_is_no_error_of_the_worker(error: OSError) -> None:
    def leave(*_: object) -> None:
        raise error

    assert handled(leave, b"GET /version HTTP/1.1\r\nHost: worker\r\n\r\n") == (b"", [])


def test_a_process_is_replaced_after_so_many_requests() -> None:
    worker = ImageWorker.__new__(ImageWorker)
    worker.nr, worker.max_requests, worker.alive, worker.log = 0, 2, True, Logger(Config())
    worker.wsgi = lambda _, start: (start("200 OK", []), [b"ok"])[1]
    alive = []
    for _ in range(3):
        assert worker._answer({}).endswith(b"\r\n\r\nok")
        alive.append(worker.alive)
    assert alive == [True, False, False]


PROBLEMS = {400: "bad-request", 403: "forbidden", 414: "uri-too-long", 417: "expectation-failed", 500: "internal"}
PROBLEMS |= {431: "headers-too-large", 501: "not-implemented", 503: "unavailable"}


@pytest.mark.parametrize(
    ("message", "detail"),
    [("x" * 300, "x" * 200), ("", "the worker failed; its log says why")],
    ids=["a long message", "none"],
)
@pytest.mark.parametrize("status", PROBLEMS)
def test_what_gunicorn_says_by_itself_is_a_problem_document(status: int, message: str, detail: str) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        write_problem(theirs, status, "A Reason", message, {"REQUEST_METHOD": "GET"})
        head, body = ours.recv(65536).split(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d A Reason\r\n" % status)
    document = json.loads(body)
    found = (document["type"], document["title"], document["status"], document["detail"])
    assert found == (f"/problems/{PROBLEMS[status]}", "A Reason", status, detail)


def test_what_gunicorn_refuses_by_itself_is_counted_and_has_one_line(colours: Bundle, tmp_path: Path) -> None:
    refused = {
        b"private please\r\n\r\n": (400, "bad-request"),
        b"GET / HTTP/1.1\r\nHost: worker\r\nTransfer-Encoding: private\r\n\r\n": (501, "not-implemented"),
        b"GET / HTTP/1.1\r\nHost: worker\r\nPrivate: " + b"x" * 70_000 + b"\r\n\r\n": (431, "headers-too-large"),
        b"GET /" + b"private" * 1500 + b" HTTP/1.1\r\nHost: worker\r\n\r\n": (414, "uri-too-long"),
    }
    server = start_server(colours.path, "imagerec_worker.gunicorn_worker.ImageWorker", tmp_path)
    try:
        answers = [server.exchange(request).decode() for request in refused]
        counts = server.ask("GET", "/metrics").body.decode()
    finally:
        stop_server(server)
    for status, _ in refused.values():
        assert f'imagerec_answers_total{{route="unknown",status="{status}"}} 1.0' in counts
    assert "Invalid request" not in (tmp_path / "gunicorn.log").read_text()
    lines = json_lines(tmp_path / "gunicorn.log")
    lines = [line for line in lines if line["status"] >= 400]
    assert [(line["status"], line["problem"]) for line in lines] == list(refused.values())
    for answer, line in zip(answers, lines, strict=True):
        fields, body = answer.split("\r\n\r\n", 1)
        assert f"\r\nX-Request-Id: {line['id']}" in fields
        assert line["response_bytes"] == len(body)
        assert (line["level"], line["method"], line["route"], line["worker"]) == (
            *("error" if line["status"] >= 500 else "warning", "other", "unknown", "worker1"),
        )
        assert "private" not in str(line).lower()
