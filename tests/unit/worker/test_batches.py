"""Requests that share a run of the network: each gets the answer that it gets alone, but for the times."""

from __future__ import annotations

import contextlib
import errno
import io
import itertools
import json
import re
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from flask import Flask
from gunicorn.config import Config
from gunicorn.glogging import Logger

from imagerec_worker import batch_worker
from imagerec_worker.app import create_app
from imagerec_worker.batch_classifier import BatchClassifier
from imagerec_worker.batch_worker import BatchWorker
from imagerec_worker.batching import Batch
from imagerec_worker.bundle import Bundle, BundleError
from imagerec_worker.classifier import Classifier, Probabilities
from imagerec_worker.gunicorn_worker import ImageWorker
from imagerec_worker.late_heads import LateHeads
from imagerec_worker.preprocess import preprocess
from imagerec_worker.service import service_of
from imagerec_worker.settings import Settings
from tests.unit.worker.both_ways import ask, lasting
from tests.unit.worker.conftest import start_server, stop_server
from tests.unit.worker.test_gunicorn_worker import assert_green, head, picture
from tests.unit.worker.test_plain import CORPUS, REQUESTS, environ_of, jpeg

WORKER = "imagerec_worker.batch_worker.BatchWorker"
# Also what a process needs around its requests, which nobody counts who gathers them.
_PASSING = re.compile(
    rb'Date: [^\r]*|, overhead;dur=[\d.]+|(?<=;dur=)[\d.]+|(?<=ms":){.*?}|\b[0-9a-f]{32}\b|Content-Length: \d+'
)


def _same(answer: bytes) -> bytes:
    return _PASSING.sub(lambda found: b"" if found[0].startswith(b", ") else b"?", answer)


@pytest.fixture(scope="module")
def batching(colours: Bundle) -> Flask:
    """The application for batches of up to four."""
    return create_app(Settings(bundle=colours.path, worker_name="worker1", batch_max=4))


def requests_of_the_fuzzer() -> Iterator[dict[str, Any]]:
    """Yield the environment of every second file of the corpus, and of the requests that are written out."""
    for target in ("metadata", "preprocessing"):
        for file in sorted((CORPUS / target).iterdir())[::2]:
            yield environ_of(file.read_bytes())
    for file in sorted((CORPUS / "multipart").iterdir())[::2]:
        line, _, body = file.read_bytes().partition(b"\n")
        given = line.decode("latin-1") if line.startswith(b"multipart/") else "multipart/form-data; boundary=frontier"
        yield environ_of(body.replace(b"content", jpeg()), CONTENT_TYPE=given)
    for more, _ in REQUESTS.values():
        yield environ_of(jpeg(), **more)


def copied(environ: dict[str, Any]) -> dict[str, Any]:
    body = environ["wsgi.input"].getvalue()
    return {**environ, "wsgi.input": io.BytesIO(body)}


def test_a_batch_answers_as_each_is_answered_alone(app: Flask, colours: Bundle) -> None:
    together = create_app(Settings(bundle=colours.path, worker_name="worker1", batch_max=16))
    service = service_of(together)
    assert service is not None
    environs = list(requests_of_the_fuzzer())
    np.random.default_rng(5).shuffle(environs)  # type: ignore[arg-type]
    statuses = set()
    for start in range(0, len(environs), 13):
        members, batch = environs[start : start + 13], Batch(service)
        alone = [ask(app.wsgi_app, copied(environ)) for environ in members]
        for environ in members:
            batch.add(environ)
        batch.run()
        for environ, wanted in zip(members, alone, strict=True):
            assert lasting(ask(together.wsgi_app, environ)) == lasting(wanted)
            statuses.add(wanted[0][:3])
    assert {"200", "400", "405", "413", "415", "422"} <= statuses


def test_the_int8_network_says_the_same_of_a_photograph_alone_and_with_others(
    imagenet: Bundle, imagenet_sample: list[tuple[str, bytes]]
) -> None:
    pictures = [preprocess(data, 224, 10**8)[0] for _, data in imagenet_sample[:31]]
    classifier = BatchClassifier(imagenet, 16)
    alone = [classifier.probabilities(picture) for picture in pictures]
    for start, stop in ((0, 16), (16, 19), (19, 20), (20, 31)):
        np.testing.assert_array_equal(classifier.probabilities_of(pictures[start:stop]), alone[start:stop])


@pytest.mark.parametrize("kind", [{}, {"softmax": False}, {"background": True}, {"input_quantisation": (1 / 255, 0)}])
def test_every_kind_of_network_runs_on_several_pictures(
    kind: dict[str, Any], write_colours: Callable[..., Bundle], network: Callable[..., bytes], tmp_path: Path
) -> None:
    described = {"activation": "softmax" if kind.get("softmax", True) else "logits"}
    bundle = write_colours(tmp_path / "b", model=network(**kind), background="background" in kind, **described)
    pictures = list(np.random.default_rng(1).integers(0, 256, (11, 16, 16, 3), np.uint8))
    classifier = BatchClassifier(bundle, 11)
    alone = [classifier.probabilities(each) for each in pictures]
    for number in (11, 3, 1, 11):
        np.testing.assert_array_equal(classifier.probabilities_of(pictures[:number]), alone[:number])


def test_a_network_for_one_picture_only_is_refused(
    write_colours: Callable[..., Bundle], network: Callable[..., bytes], tmp_path: Path
) -> None:
    bundle = write_colours(tmp_path / "b", model=network(averaged=(0, 1, 2)))
    Classifier(bundle)
    with pytest.raises(BundleError, match="mixes the 2 pictures"):
        BatchClassifier(bundle, 2)


def test_a_network_that_mixes_the_pictures_of_a_batch_is_refused(colours: Bundle) -> None:
    class Mixing(BatchClassifier):
        def probabilities_of(self, pictures: Any) -> list[Probabilities]:
            return super().probabilities_of(pictures)[::-1]

    with pytest.raises(BundleError, match="mixes the 4 pictures of a batch"):
        Mixing(colours, 4)


class Played:
    """Workers that have not forked, before a real listener.

    Attributes:
        runs: Pictures of each run of the network that a batch made.
    """

    def __init__(
        self, worker_class: type[ImageWorker], app: Flask, family: int = socket.AF_INET, path: str = ""
    ) -> None:
        self.listener = socket.socket(family)
        self.listener.bind(path or ("127.0.0.1", 0))
        self.listener.listen(64)
        self.listener.setblocking(False)
        worker = self.worker = worker_class.__new__(worker_class)
        worker.cfg, worker.nr, worker.max_requests, worker.alive = Config(), 0, 99, True
        worker.log = Logger(worker.cfg)
        worker._answers_plain, worker._listeners, worker._late = True, {}, LateHeads(60)
        worker.app = type("App", (), {"wsgi": lambda _: app})()
        worker.notify = lambda: None
        worker.load_wsgi()
        self.runs: list[int] = []

    def clients(self, requests: Sequence[bytes]) -> list[socket.socket]:
        """Connect a client for each request, which is sent whole."""
        found = []
        for request in requests:
            client = socket.socket(self.listener.family)
            client.settimeout(60)
            client.connect(self.listener.getsockname())
            client.sendall(request)
            client.shutdown(socket.SHUT_WR)
            found.append(client)
        return found

    def serve(self, requests: Sequence[bytes]) -> list[bytes]:
        """Return what the requests get that wait when the worker becomes free."""
        clients = self.clients(requests)
        self.work()
        return [received(client) for client in clients]

    def work(self) -> None:
        """Serve until nobody waits."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self.worker.accept(self.listener)

    def watch(self, monkeypatch: pytest.MonkeyPatch, classifier: BatchClassifier) -> None:
        """Note how many pictures each run has."""
        found = classifier.probabilities_of
        monkeypatch.setattr(classifier, "probabilities_of", lambda each: (self.runs.append(len(each)), found(each))[1])

    def close(self) -> None:
        self.listener.close()


def received(client: socket.socket) -> bytes:
    with client:
        return b"".join(iter(lambda: client.recv(65536), b""))


def classifier_of(app: Flask) -> BatchClassifier:
    service = service_of(app)
    assert service is not None
    assert isinstance(service.classifier, BatchClassifier)
    return service.classifier


@pytest.fixture
def played(batching: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[Played]:
    """A worker of batches of up to four."""
    player = Played(BatchWorker, batching)
    player.watch(monkeypatch, classifier_of(batching))
    yield player
    player.close()


def predict(body: bytes, *fields: str, query: str = "") -> bytes:
    return head(len(body), *fields).replace(b"/predict", f"/predict{query}".encode()) + body


GREEN = picture()
CHUNKED = head(None, "Transfer-Encoding: chunked") + f"{len(GREEN):x}\r\n".encode() + GREEN + b"\r\n0\r\n\r\n"
WIRE = [
    predict(GREEN),
    predict(b"text"),
    predict(GREEN[:3000], query="?top=2"),
    predict(GREEN, query="?top=2"),
    predict(GREEN, query="?topp=2"),
    predict(GREEN),
    b"GET /healthz HTTP/1.1\r\nHost: worker\r\n\r\n",
    predict(GREEN, "X-Request-Id: mine"),
    CHUNKED,
    b"",
    predict(GREEN) + predict(GREEN),
    b"picture please\r\n\r\n",
    head(len(GREEN)) + GREEN[:-1],
    predict(jpeg()),
    predict(GREEN).replace(b"/predict", b"/submit"),
    b"POST /nothing HTTP/1.1\r\nHost: worker\r\nContent-Length: 0\r\n\r\n",
    predict(GREEN),
    predict(GREEN),
]


def test_on_the_wire_each_gets_what_it_gets_from_the_worker_class_without_batches(app: Flask, played: Played) -> None:
    plain = Played(ImageWorker, app)
    try:
        alone = plain.serve(WIRE)
    finally:
        plain.close()
    together = played.serve(WIRE)
    assert [_same(each) for each in together] == [_same(each) for each in alone]
    assert {each[9:12] for each in alone} >= {b"200", b"400", b"404", b"415", b"422", b""}
    # Of four, two are broken; then a parameter is wrong, and what is no plain request ends the batch.
    assert played.runs == [2, 1, 1, 1, 1, 2]


def test_a_head_that_is_late_ends_its_batch_and_is_answered_later(played: Played) -> None:
    with socket.create_connection(played.listener.getsockname(), timeout=60) as late:
        late.sendall(predict(GREEN)[:20])
        for answer in played.serve([predict(GREEN)] * 2):
            assert_green(answer)
        late.sendall(predict(GREEN)[20:])
        assert_green(played.serve([predict(GREEN)])[0])
        assert_green(late.recv(65536))


def test_those_that_wait_share_a_run_up_to_the_most(played: Played) -> None:
    for answer in played.serve([predict(GREEN)] * 11):
        assert_green(answer)
    assert played.runs == [4, 4, 3]


def test_a_run_waits_for_who_comes_within_the_window(colours: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    app = create_app(Settings(bundle=colours.path, batch_max=2, batch_window_ms=60_000))
    player = Played(BatchWorker, app)
    player.watch(monkeypatch, classifier_of(app))
    waiting = threading.Event()
    wait = batch_worker.select.select
    monkeypatch.setattr(batch_worker.select, "select", lambda *those: (waiting.set(), wait(*those))[1])
    (first,) = player.clients([predict(GREEN)])
    serving = threading.Thread(target=player.worker.accept, args=(player.listener,))
    serving.start()
    assert waiting.wait(60)
    (second,) = player.clients([predict(GREEN)])
    serving.join()
    for client in (first, second):
        assert_green(received(client))
    assert player.runs == [2]
    player.close()


def test_a_run_waits_for_its_window_and_no_longer(colours: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that stands still."""
    player = Played(BatchWorker, create_app(Settings(bundle=colours.path, batch_max=2, batch_window_ms=2)))
    waits: list[float] = []
    nobody: tuple[list[Any], ...] = ([], [], [])
    select = SimpleNamespace(select=lambda *those: (waits.append(those[3]), nobody)[1])
    monkeypatch.setattr(batch_worker, "select", select)
    monkeypatch.setattr(batch_worker, "time", SimpleNamespace(monotonic=lambda: 50.0))
    (answer,) = player.serve([predict(GREEN)])
    player.close()
    assert_green(answer)
    assert waits == [pytest.approx(0.002)]


def test_who_has_waited_too_long_is_refused_alone(colours: Bundle, tmp_path: Path) -> None:
    app = create_app(Settings(bundle=colours.path, batch_max=4, queue_budget_s=5))
    player = Played(BatchWorker, app, socket.AF_UNIX, str(tmp_path / "s"))
    began = f"X-Request-Start: t={time.time() - 60:.3f}"
    answers = player.serve([predict(GREEN), predict(GREEN, began), predict(GREEN)])
    player.close()
    assert [answer[9:12] for answer in answers] == [b"200", b"429", b"200"]


@pytest.mark.parametrize("error", [RuntimeError("no memory"), SystemExit(1)], ids=["an error", "gunicorn's abort"])
def test_where_the_run_fails_each_is_answered(
    played: Played, batching: Flask, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(_: object) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(classifier_of(batching), "probabilities_of", fail)
        answers = played.serve([predict(GREEN), predict(b"text"), predict(GREEN)])
    assert [answer[9:12] for answer in answers] == [b"500", b"415", b"500"]
    assert_green(played.serve([predict(GREEN)])[0])


def test_whom_a_run_forgets_is_told_that_it_failed(
    played: Played, batching: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = classifier_of(batching)
    found = classifier.probabilities_of
    monkeypatch.setattr(classifier, "probabilities_of", lambda pictures: found(pictures)[:-1])
    assert [answer[9:12] for answer in played.serve([predict(GREEN)] * 3)] == [b"200", b"200", b"500"]


def test_who_was_accepted_is_served_though_the_next_one_cannot_be(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.EMFILE, "too many open files")

    (client,) = played.clients([predict(GREEN)])
    monkeypatch.setattr(batch_worker, "_next", full)
    with pytest.raises(OSError, match="too many"):
        played.worker.accept(played.listener)
    assert_green(received(client))


def test_a_client_that_leaves_harms_nobody_of_its_batch(played: Played) -> None:
    clients = played.clients([predict(GREEN)] * 3)
    clients[1].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    clients[1].close()  # by a reset
    played.work()
    for client in (clients[0], clients[2]):
        assert_green(received(client))


def test_a_body_is_let_go_before_the_next_one_is_read(batching: Flask) -> None:
    service = service_of(batching)
    assert service is not None
    environ = environ_of(jpeg())
    held = weakref.ref(environ["wsgi.input"])
    batch = Batch(service)
    assert batch.add(environ) is True
    assert held() is None
    assert batch.add(environ_of(path="/version", method="GET")) is False


def test_what_each_waited_for_its_batch_is_told_as_queue(played: Played) -> None:
    times = [json.loads(answer.split(b"\r\n\r\n")[1])["timing_ms"] for answer in played.serve([predict(GREEN)] * 4)]
    for first, second in itertools.pairwise(times):
        assert first["queue"] >= second["decode"]  # the second was decoded meanwhile
    for each in times:
        assert each["total"] == pytest.approx(each["read"] + each["decode"] + each["inference"], abs=0.01)


def test_version_says_what_is_set_where_batches_are_on(app: Flask, batching: Flask) -> None:
    assert batching.test_client().get("/version").get_json()["batch"] == {"max": 4, "window_ms": 0.0}
    assert "batch" not in app.test_client().get("/version").get_json()


def test_a_worker_without_batches_gathers_nobody(app: Flask) -> None:
    service = service_of(app)
    assert service is not None
    assert type(service.classifier) is Classifier  # and the network is there once
    player = Played(BatchWorker, app)
    clients = player.clients([predict(GREEN)] * 2)
    player.worker.accept(player.listener)
    assert_green(received(clients[0]))
    player.worker.accept(player.listener)
    assert_green(received(clients[1]))
    player.close()


def test_nobody_is_gathered_whose_requests_are_watched(played: Played) -> None:
    assert played.worker._service is not None
    played.worker._answers_plain = False
    played.worker.load_wsgi()
    assert played.worker._service is None


def test_gunicorn_serves_many_at_once(colours: Bundle, tmp_path: Path) -> None:
    server = start_server(colours.path, WORKER, tmp_path, IMAGEREC_BATCH_MAX="4", IMAGEREC_BATCH_WINDOW_MS="5")
    try:
        pid = server.worker_pid()
        with ThreadPoolExecutor(8) as pool:
            for answer in pool.map(lambda _: server.exchange(predict(GREEN)), range(64)):
                assert_green(answer)
        assert server.worker_pid() == pid
    finally:
        stop_server(server)
