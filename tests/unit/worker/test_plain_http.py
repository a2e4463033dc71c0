"""Plain requests mean to the worker what they mean to gunicorn, and what is not plain is left to gunicorn."""

from __future__ import annotations

import re
import signal
import socket
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
from gunicorn import http
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.http import wsgi
from hypothesis import strategies

from imagerec_worker import plain_http
from imagerec_worker.gunicorn_worker import is_watched

SERVER, PEER = ("127.0.0.1", 5001), ("127.0.0.2", 40000)
# Objects that gunicorn makes for each request.
_OBJECTS = {"wsgi.errors", "wsgi.input", "wsgi.early_hints", "gunicorn.socket"}


def connection(request: bytes) -> tuple[socket.socket, socket.socket]:
    """A pair of which the second end has the request waiting, with its end."""
    client, server = socket.socketpair()
    client.sendall(request)
    client.shutdown(socket.SHUT_WR)
    return client, server


def by_gunicorn(request: bytes) -> tuple[dict[str, Any], bytes]:
    client, server = connection(request)
    with client, server:
        parsed = next(http.get_parser(Config(), server, PEER))
        environ = wsgi.create(parsed, server, PEER, SERVER, Config())[1]
        return kept(environ), environ["wsgi.input"].read()


def by_worker(request: bytes) -> tuple[dict[str, Any], bytes] | None:
    client, server = connection(request)
    with client, server:
        environ = plain_http.Listener(Config(), SERVER).receive(server, PEER)
        if environ is not None:
            return kept(environ), environ["wsgi.input"].read()
        assert server.recv(len(request) + 1, socket.MSG_WAITALL) == request, "something was taken off"
        assert server.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16) == bytes(16), "gunicorn waits as it likes"
        return None


def kept(environ: dict[str, Any]) -> dict[str, Any]:
    assert environ.keys() >= _OBJECTS - {"wsgi.early_hints", "gunicorn.socket"}
    return {key: value for key, value in environ.items() if key not in _OBJECTS}


def request(line: str = "POST /predict HTTP/1.1", *fields: str, body: bytes = b"") -> bytes:
    return "\r\n".join((line, "Host: worker", *fields, "", "")).encode("latin-1") + body


FORM = "Content-Type: multipart/form-data; boundary=x"
PLAIN = {
    "a form": request("POST /predict HTTP/1.1", FORM, "Content-Length: 4", body=b"body"),
    "what nginx sends": request(
        "POST /predict?top=3 HTTP/1.1",
        "X-Forwarded-For: 10.0.0.1",
        "X-Forwarded-Proto: https",
        "X-Request-Id: 0af7651916cd43dd8448eb211c80319c",
        "X-Request-Start: t=1700000000.123",
        "Content-Length: 4",
        'sec-ch-ua: "Chromium";v="120", "Not:A-Brand";v="8"',
        "user-agent: curl/8.0 (x) ",
        FORM,
        body=b"body",
    ),
    "no body": request("GET /v2/models/imagenet HTTP/1.1"),
    "only its head": request("HEAD /healthz HTTP/1.1", "Connection: keep-alive"),
    "a second request behind it": request(
        "POST /predict HTTP/1.1", "Content-Length: 1", body=b"xGET / HTTP/1.1\r\n\r\n"
    ),
    "no host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "a body cut short": request("POST /predict HTTP/1.1", "Content-Length: 9", body=b"body"),
    "the largest body, cut short": request("POST /predict HTTP/1.1", "Content-Length: 4194304", body=b"body"),
    "an odd query": request('POST /predict?a=%ff&b=[]{}|\\^`"<>?? HTTP/1.1', "Content-Length: 0"),
}
ENDLESS = request("POST /predict HTTP/1.1", "Cookie: " + "x" * 65536)[:65536]
UNUSUAL = {
    "a field twice": request("POST /predict HTTP/1.1", "Accept: a", "accept: b", "Content-Length: 0"),
    "two lengths": request("POST /predict HTTP/1.1", "Content-Length: 1", "Content-Length: 1", body=b"x"),
    "a signed length": request("POST /predict HTTP/1.1", "Content-Length: +1", body=b"x"),
    "a length and chunks": request("POST /predict HTTP/1.1", "Content-Length: 1", "Transfer-Encoding: chunked"),
    "chunks": request("POST /predict HTTP/1.1", "Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    "another coding": request("POST /predict HTTP/1.1", "Transfer-Encoding: gzip"),
    "a client that waits": request("POST /predict HTTP/1.1", "Expect: 100-continue", "Content-Length: 1", body=b"x"),
    "another protocol": request("GET /healthz HTTP/1.1", "Upgrade: h2c"),
    "an underscore": request("POST /predict HTTP/1.1", "Content_Length: 1", body=b"x"),
    "a folded field": request("POST /predict HTTP/1.1", "Accept: a", " b", "Content-Length: 0"),
    "a tab": request("POST /predict HTTP/1.1", "Accept:\ta", "Content-Length: 0"),
    "a space before the colon": request("POST /predict HTTP/1.1", "Content-Length : 1", body=b"x"),
    "an empty field": request("POST /predict HTTP/1.1", "Accept: ", "Content-Length: 0"),
    "a letter beyond ASCII": request("POST /predict HTTP/1.1", "User-Agent: caf\xe9"),
    "a zero byte": request("POST /predict HTTP/1.1", "User-Agent: a\0b"),
    "a bare carriage return": request("POST /predict HTTP/1.1", "Accept: a\rb"),
    "an empty line before it": b"\r\n" + request(),
    "an old version": request("POST /predict HTTP/1.0"),
    "another method": request("DELETE /predict HTTP/1.1"),
    "an absolute address": request("POST http://worker/predict HTTP/1.1"),
    "an encoded path": request("POST /%70redict HTTP/1.1"),
    "a fragment": request("POST /predict?a#b HTTP/1.1"),
    "two spaces": request("POST  /predict HTTP/1.1"),
    "a long head": request("POST /predict HTTP/1.1", "Cookie: " + "x" * 4096),
    "a large body": request("POST /predict HTTP/1.1", "Content-Length: 4194305"),
    "a head that never ends": ENDLESS,
    "nothing": b"",
}
# To gunicorn too: it reads on.
LATE = {
    "bare line feeds": b"POST /predict HTTP/1.1\nHost: worker\n\n",
    "a head without its end": b"POST /predict HTTP/1.1\r\nHost: worker\r\n",
    "a long head without its end": request("POST /predict HTTP/1.1", "Cookie: " + "x" * 4096)[:-4],
    "a head that may end at its next byte": ENDLESS[:-1],
}


@pytest.mark.parametrize("plain", PLAIN.values(), ids=PLAIN.keys())
def test_a_plain_request_means_what_it_means_to_gunicorn(plain: bytes) -> None:
    assert by_worker(plain) == by_gunicorn(plain)


@pytest.mark.parametrize("unusual", UNUSUAL.values(), ids=UNUSUAL.keys())
def test_an_unusual_request_is_left_to_gunicorn(unusual: bytes) -> None:
    assert by_worker(unusual) is None


@pytest.mark.parametrize("late", LATE.values(), ids=LATE.keys())
def test_a_head_without_its_end_is_left_where_it_is(late: bytes) -> None:
    with pytest.raises(plain_http.LateError) as raised:
        by_worker(late)
    assert raised.value.said == len(late)


@pytest.mark.parametrize(
    ("address", "peer", "told"),
    [
        (("::1", 5001, 0, 0), ("::2", 40000, 0, 0), ("::1", "5001", "::2", "40000")),
        ("/run/worker.sock", "", ("localhost", "80", "", None)),
    ],
    ids=["IPv6", "a unix socket"],
)
def test_both_ends_are_told_whatever_their_addresses_are(address: Any, peer: Any, told: tuple[str, ...]) -> None:
    client, server = connection(PLAIN["no host"])
    with client, server:
        environ = plain_http.Listener(Config(), address).receive(server, peer)
    assert environ is not None
    names = ("SERVER_NAME", "SERVER_PORT", "REMOTE_ADDR", "REMOTE_PORT")
    assert tuple(environ.get(name) for name in names) == told


def test_a_body_that_a_signal_cuts_in_two_is_read_whole_and_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_http, "_PATIENCE_US", 0)  # the signal comes first, however slow the machine is
    client, server = socket.socketpair()

    def send_the_rest(*_: object) -> None:
        client.sendall(b"dyGET / HTTP/1.1")

    before = signal.signal(signal.SIGALRM, send_the_rest)
    try:
        with client, server:
            client.sendall(request("POST /predict HTTP/1.1", "Content-Length: 4", body=b"bo"))
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            environ = plain_http.Listener(Config(), SERVER).receive(server, PEER)
            assert environ is not None
            assert environ["wsgi.input"].read() == b"body"
            assert server.recv(100) == b"GET / HTTP/1.1"
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_late_body_is_waited_for_without_limit_once_another_process_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    client, server = socket.socketpair()
    monkeypatch.setattr(plain_http.offload, "hand_over", lambda: client.sendall(b"dyGET / HTTP/1.1"))
    with client, server:
        client.sendall(request("POST /predict HTTP/1.1", "Content-Length: 4", body=b"bo"))
        environ = plain_http.Listener(Config(), SERVER).receive(server, PEER)
        assert environ is not None
        assert environ["wsgi.input"].read() == b"body"
        assert server.recv(100) == b"GET / HTTP/1.1"
        assert server.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16) == bytes(16)


LINES = strategies.one_of(
    strategies.sampled_from(["Host: worker", "Content-Length: 4", "Content-Length: 04", "Accept: */*", FORM]),
    strategies.from_regex(r"[A-Za-z0-9_ -]{1,8}:[ \t]?[\x00-\x09\x0b\x0c\x0e-\xff]{0,8}", fullmatch=True),
)


@hypothesis.given(
    strategies.from_regex(r"(GET|POST|HEAD|PUT) [/a-z.?#%*:=\x80-]{1,9} HTTP/1\.[01]", fullmatch=True),
    strategies.lists(LINES, max_size=5),
)
@hypothesis.settings(max_examples=60)
def test_whatever_is_taken_for_plain_means_the_same_to_gunicorn(line: str, fields: list[str]) -> None:
    made = "\r\n".join((line, *fields, "", "")).encode("latin-1") + b"body"
    if (found := by_worker(made)) is not None:
        assert found == by_gunicorn(made)


ANSWERS = {
    "a document": (
        PLAIN["a form"],
        "200 OK",
        [("Content-Type", "text/plain"), ("Content-Length", "4")],
        [b"do", b"ne"],
    ),
    "a problem": (PLAIN["no host"], "404 NOT FOUND", [("Content-Length", "1"), ("Allow", "GET, HEAD")], [b"x"]),
    "a head": (PLAIN["only its head"], "200 OK", [("Content-Length", "4")], []),
    "nothing": (PLAIN["a form"], "500 INTERNAL SERVER ERROR", [("Content-Length", "0")], [b""]),
}


@pytest.mark.parametrize(("asked", "status", "headers", "parts"), ANSWERS.values(), ids=ANSWERS.keys())
def test_an_answer_is_the_same_on_the_wire(
    asked: bytes, status: str, headers: list[tuple[str, str]], parts: list[bytes]
) -> None:
    client, server = connection(asked)
    with client, server:
        response = wsgi.create(next(http.get_parser(Config(), server, PEER)), server, PEER, SERVER, Config())[0]
        response.force_close()
        response.start_response(status, headers)
        for part in parts:
            response.write(part)
        response.close()
        server.shutdown(socket.SHUT_WR)
        wanted = client.recv(65536, socket.MSG_WAITALL)
    answer = plain_http.Answer()
    answer.start(status, headers)
    date = re.compile(rb"Date: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\r\n")
    assert date.sub(b"", answer.whole(parts)) == date.sub(b"", wanted)


def test_who_watches_requests_through_gunicorn_sees_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def is_watched_with(**settings: Any) -> bool:
        config = Config()
        for name, value in settings.items():
            config.set(name, value)
        return is_watched(config, config.logger_class(config))

    assert not is_watched_with()
    assert not is_watched_with(errorlog="-", timeout=5, forwarded_allow_ips="")
    assert is_watched_with(accesslog="-")
    assert is_watched_with(logger_class=type("Other", (Logger,), {}))
    assert is_watched_with(pre_request=lambda _worker, _request: None)
    assert is_watched_with(certfile="pair.pem")
    to_a_file = Config()
    to_a_file.set("errorlog", "errors.log")
    assert is_watched(to_a_file, Logger(Config()))
    monkeypatch.setenv("SCRIPT_NAME", "/below")
    assert is_watched_with()


def test_what_an_application_returns_is_closed_also_where_it_fails() -> None:
    class Parts:
        def __iter__(self) -> Iterator[bytes]:
            yield b"half"
            raise ValueError("no more")

        def close(self) -> None:
            closed.append(True)

    closed: list[bool] = []
    with pytest.raises(ValueError, match="no more"):
        plain_http.Answer().whole(Parts())
    assert closed == [True]
