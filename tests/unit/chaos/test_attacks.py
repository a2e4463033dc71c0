"""The hostile clients: what they send, how they count answers, and what they report of a server that is known."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chaos.attacks import corpus, images, mutations, swarm
from chaos.attacks.bombs import POLYGLOTS
from chaos.attacks.exchange import Case, answers, exchange
from chaos.attacks.expected import Report, violations
from chaos.faults import hostile

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
REFUSED = b"HTTP/1.1 400 Bad Request\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nbad\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("stream", "statuses"),
    [
        (b"", []),
        (OK, ["200"]),
        (OK + REFUSED, ["200", "400"]),
        (REFUSED + OK + OK, ["400", "200", "200"]),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, ["200"]),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n" + OK, ["304", "200"]),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end" + OK, ["200"]),
        (b"HTTP/1.1 200 OK\r\nContent-Le", []),
        (OK + b"HTTP/1.1 200", ["200"]),
        (b"<html>", ["HTTP/0.9"]),
    ],
    ids=["none", "one", "two", "three", "interim", "no content", "to the end", "unfinished", "half", "version 0.9"],
)
def test_answers_are_counted(stream: bytes, statuses: list[str]) -> None:
    assert answers(stream) == statuses


@pytest.mark.parametrize("name", ["smuggling", "multipart", "bombs", "polyglots"])
def test_a_corpus_is_made_twice_the_same(name: str) -> None:
    first, second = corpus.make(name), corpus.make(name)
    assert first == second
    assert len({case.name for case in first}) == len(first)
    assert len({case.raw for case in first}) == len(first)


def test_every_kind_of_attack_is_in_its_corpus() -> None:
    names = {name: " ".join(case.name for case in corpus.make(name)) for name in ("smuggling", "multipart", "bombs")}
    names["polyglots"] = " ".join(POLYGLOTS)
    wanted = {
        "smuggling": "cl-te te-cl cl-same-twice cl-then-0 chunk-size-negative chunk-size-extension te-folded "
        "te-blank-before-colon te-xchunked nul-in-header line-feeds-alone http-0.9 no-host absolute-address "
        "headers-of-10-kilobytes header-of-100-kilobytes path-of-100-kilobytes pipelining-of-50",
        "multipart": "1001-parts no-boundary boundary-of-10-kilobytes nested no-last-boundary "
        "field-name-of-100-kilobytes 10000-parts file-name-climbs file-name-with-nul field-of-600-kilobytes",
        "bombs": "png-13000-square-in-one-bit png-ztxt-of-100-megabytes png-itxt-of-100-megabytes body-gzipped "
        "gif-5000-frames webp-canvas-of-16384-square jpeg-claims-65535-square jpeg-progressive-500-scans",
        "polyglots": "gif-and-script jpeg-and-zip png-and-html pdf-and-jpeg svg eps heic mvg",
    }
    for name, words in wanted.items():
        assert not [word for word in words.split() if word not in names[name].split()]


def test_smuggled_requests_say_whose_they_are() -> None:
    marked = [case for case in corpus.make("smuggling") if b"/smuggled-" in case.raw]
    assert len(marked) > 60
    assert all(case.requests == 1 for case in marked)


def test_mutations_come_from_the_seed_and_differ_from_their_originals() -> None:
    first = list(mutations.mutated(2000, seed=1))
    assert first == list(mutations.mutated(2000, seed=1))
    assert len({name for name, *_ in first}) == 2000
    assert all(original != damaged for _, _, original, damaged in first)
    assert {kind for _, kind, *_ in first} == set(images.FORMATS)
    assert [damaged for *_, damaged in first] != [damaged for *_, damaged in mutations.mutated(2000, seed=2)]
    assert max(len(damaged) for *_, damaged in first) < 200_000


@contextlib.contextmanager
def serving(serve: Callable[[socket.socket], None]) -> Iterator[tuple[str, int]]:
    """A server that treats each connection in a thread of its own."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:

        def accept() -> None:
            while True:
                try:
                    connection = listener.accept()[0]
                except OSError:
                    return
                threading.Thread(target=treat, args=(connection,), daemon=True).start()

        def treat(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):  # the client has gone
                serve(connection)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname()
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def test_a_second_answer_is_smuggled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chaos.attacks.exchange.GRACE_S", 60)
    case = Case("cl-te", 1, b"POST / HTTP/1.1\r\n\r\n")

    def twice(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(OK)
        time.sleep(0.2)
        connection.sendall(REFUSED)

    with serving(twice) as address:
        outcome = exchange(address, case)
    assert outcome.statuses == ["200", "400"]
    assert outcome.smuggled
    with serving(lambda connection: connection.sendall(OK)) as address:
        assert not exchange(address, case).smuggled


def test_a_case_that_nobody_answers_is_given_up() -> None:
    given_up = threading.Event()

    def silent(_: socket.socket) -> None:
        given_up.wait(60)

    with serving(silent) as address:
        outcome = exchange(address, Case("silence", 1, b"GET"), timeout_s=0.3)
        given_up.set()
        assert (outcome.statuses, outcome.closed) == ([], False)
        assert outcome.held_s >= 0.3
    with serving(lambda _: None) as address:
        assert exchange(address, Case("closed", 1, b"")).closed


def attacked(attack: swarm.Swarm, happened: Callable[[Report], bool]) -> Report:
    """Attack for a second, and again where that was too short for something to happen."""
    for _ in range(60):
        if happened(report := attack.run(1.0)):
            return report
    raise AssertionError(report)


def test_a_swarm_sees_how_long_its_connections_live() -> None:
    came: list[socket.socket] = []

    def together(connection: socket.socket) -> None:
        came.append(connection)
        while len(came) < 5:
            time.sleep(0.01)
        time.sleep(0.5)

    begun_s = time.monotonic()
    with serving(together) as address:
        attack = swarm.Swarm(address, swarm.HABITS["idle"], 5)
        report = attacked(attack, lambda found: found["closed"] >= 5 and found["open_at_once"] == 5)
    assert 0 < report["held_s"] < time.monotonic() - begun_s + 0.1  # it is told in tenths


def test_a_swarm_that_is_answered_counts_answers_and_drips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swarm, "DRIP_S", 0.1)
    seen: list[bytes] = []

    def patient(connection: socket.socket) -> None:
        received = b""
        while received.count(b"X-") < 2 and (part := connection.recv(1000)):
            received += part
        if received.count(b"X-") >= 2:  # else the attack was over
            seen.append(received)
            connection.sendall(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")

    with serving(patient) as address:
        attack = swarm.Swarm(address, swarm.HABITS["slow_headers"], 5)
        attacked(attack, lambda found: found["answers"].get("408", 0) >= 5)
    assert seen[0].startswith(b"GET / HTTP/1.1\r\nHost: balancer\r\nX-1: a\r\nX-2: a\r\n")


def test_a_slow_reader_leaves_the_server_with_its_answers() -> None:
    blocked: list[bool] = []

    def answer(connection: socket.socket) -> None:
        connection.settimeout(0.2)
        try:
            connection.sendall(bytes(16_000_000))
        except TimeoutError:
            blocked.append(True)

    with serving(answer) as address:
        attacked(swarm.Swarm(address, swarm.HABITS["slow_reader"], 2), lambda _: bool(blocked))


def test_what_was_not_expected_is_named() -> None:
    report = {"attack": "idle", "answers": {"400": 3, "501": 1}, "smuggled": [], "held_s": 19.0}
    assert violations(report) == []
    report |= {"answers": {"502": 2}, "smuggled": ["cl-te"], "held_s": 31.0}
    assert violations(report) == ["2 answers of 502", "smuggled: cl-te", "a connection was held for 31.0 s"]
    assert violations(report | {"attack": "slow_body", "answers": {}, "smuggled": []}) == []


def test_the_program_needs_nothing_of_ours(tmp_path: Path) -> None:
    (tmp_path / "attacks.zip").write_bytes(hostile.program())
    with serving(lambda connection: connection.sendall(OK)) as (host, port):
        done = subprocess.run(
            [sys.executable, "-m", "chaos.attacks", "polyglots", host, str(port), "--count", "3"],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": "attacks.zip"},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["attack"], report["sent"], report["answers"]) == ("polyglots", 3, {"200": 3})
