"""The real agent beside a real nginx, before small workers that drain, refuse, fall silent, fail, and come back."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.ansible.rendering import render
from tests.conftest import free_ports, json_lines
from tests.lossy import pass_on, swallow

NAMES = ("worker1", "worker2", "worker3")
PLACES = 2


class Worker:
    """A worker that answers as it is told.

    Attributes:
        ready: status of /readyz.
        predicts: status of /predict.
        answers: cleared, it answers nothing more.
    """

    def __init__(self, name: str, port: int) -> None:
        self.name, self.port = name, port
        self.reset()

    def reset(self) -> None:
        self.ready, self.predicts = 200, 200
        self.answers, self.holds = threading.Event(), threading.Event()
        self.answers.set()
        self.holds.set()
        self.asked = threading.Semaphore(0)

    def start(self) -> None:
        worker = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                probe = self.path == "/readyz"
                if not probe:
                    worker.asked.release()
                    worker.holds.wait(120)
                worker.answers.wait(120)
                status = worker.ready if probe else worker.predicts
                body = b'{"type": "/problems/draining"}\n' if status == 503 else b"{}\n"
                try:
                    self.send_response(status)
                    self.send_header("X-Worker", worker.name)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                except OSError:
                    pass

            do_POST = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, *_: object) -> None:
                """Say nothing: clients give up."""

        self._server = Server(("127.0.0.1", self.port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    @property
    def listener(self) -> socket.socket:
        return self._server.socket

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Pool:
    """nginx, the agent and the workers."""

    def __init__(self, folder: Path, port: int, workers: list[Worker]) -> None:
        self.folder, self.port, self.workers = folder, port, workers
        self.agent: subprocess.Popen[bytes] | None = None

    def start_agent(self) -> None:
        command = [sys.executable, "-m", "imagerec_pool", str(self.folder / "pool.json")]
        with (self.folder / "agent.log").open("ab") as log:
            self.agent = subprocess.Popen(command, stdout=log, stderr=log)

    def stop_agent(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.agent is not None
        self.agent.send_signal(number)
        return self.agent.wait(60)

    def get(self, path: str) -> requests.Response:
        return requests.get(f"http://127.0.0.1:{self.port}{path}", timeout=60)

    def predict(self) -> requests.Response:
        return requests.post(f"http://127.0.0.1:{self.port}/predict", data=b"image", timeout=100)

    def told(self) -> list[dict[str, Any]]:
        """What the agent says of each worker; it is asked again where nginx has not waited long enough for it."""
        found: list[dict[str, Any]] = []

        def answered() -> bool:
            found.extend(self.get("/workers").json().get("workers", []))
            return bool(found)

        self.until(answered)
        return found

    def states(self) -> dict[str, str]:
        return {each["name"]: each["state"] for each in self.told()}

    def until(self, probe: Callable[[], object]) -> None:
        deadline = time.monotonic() + 60
        while not probe():
            assert time.monotonic() < deadline, (self.folder / "agent.log").read_text()[-3000:]
            time.sleep(0.05)

    def says(self, **wanted: str) -> bool:
        """Whether the agent says so, and nginx has heard it."""
        told = self.told()
        states = {each["name"]: each["state"] for each in told}
        return wanted.items() <= states.items() and all(each["asked"] == (each["state"] == "up") for each in told)

    def until_state(self, **wanted: str) -> None:
        self.until(lambda: self.says(**wanted))


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    folder = tmp_path_factory.mktemp("pool")
    port, *ports = free_ports(1 + len(NAMES))
    workers = [Worker(name, each) for name, each in zip(NAMES, ports, strict=True)]
    members = [{"name": w.name, "address": "127.0.0.1", "port": w.port, "processes": 1} for w in workers]
    with ExitStack() as stack:
        # The path of pytest's folders may be longer than that of a socket.
        sockets = stack.enter_context(tempfile.TemporaryDirectory())
        Path(sockets).chmod(0o755)
        render(
            folder,
            state=str(folder),
            user="root" if os.geteuid() == 0 else "",
            balancer_address="127.0.0.1",
            balancer_port=port,
            balancer_page_dir=str(folder / "page"),
            balancer_workers=members,
            balancer_retry_after_s=3,
            # Whoever waits for a worker that is silent would wait longer than any test.
            balancer_read_timeout_s=600,
            balancer_pool_socket=f"{sockets}/pool.sock",
            pool_runtime_dir=sockets,
            pool_state_dir=str(folder),
            pool_access_log=str(folder / "access.log"),
            pool_nginx_pid=str(folder / "nginx.pid"),
            pool_failing_retry_s=1,
            balancer_max_conns=PLACES,
            variants=[{"name": "pool", "limit": 0}],
        )
        for worker in workers:
            worker.start()
            stack.callback(worker.stop)
        nginx = subprocess.Popen(["/usr/sbin/nginx", "-c", str(folder / "nginx-pool.conf"), "-g", "daemon off;"])
        stack.callback(nginx.wait)
        stack.callback(nginx.terminate)
        pool = Pool(folder, port, workers)
        pool.start_agent()
        stack.callback(lambda: pool.stop_agent())  # noqa: PLW0108  it is started anew by a test
        yield pool


@pytest.fixture
def pool(started: Pool) -> Iterator[Pool]:
    """All workers serve, and the agent knows it."""

    def answers() -> bool:
        try:
            return started.says(**dict.fromkeys(NAMES, "up"))
        except (requests.RequestException, ValueError):
            return False

    started.until(answers)
    yield started
    for worker in started.workers:
        worker.answers.set()
        worker.holds.set()
        worker.reset()


def test_health_and_the_pool_are_told(pool: Pool) -> None:
    answer = pool.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "serving", "workers": 3})
    told = pool.get("/workers")
    assert told.headers["Content-Type"] == "application/json"
    assert told.headers["Cache-Control"] == "no-store"
    assert told.json()["serving"] == 3
    first = told.json()["workers"][0]
    assert first.keys() == {"name", "state", "since", "why", "asked", "under_way"}
    assert (first["name"], first["state"]) == ("worker1", "up")


def test_prometheus_is_told_of_the_pool_and_of_the_requests_on_this_machine(pool: Pool) -> None:
    def counted() -> float:
        line = r'^imagerec_balancer_requests_total\{status="200",worker="(\w+)"\} (\S+)$'
        found = re.findall(line, text(), re.MULTILINE)
        assert {name for name, _ in found} <= {*NAMES}
        return sum(float(value) for _, value in found)

    def text() -> str:
        answer = pool.get("/pool_metrics")
        assert answer.headers["Content-Type"].startswith("text/plain")
        return answer.text

    before = counted()
    assert [pool.predict().status_code for _ in range(3)] == [200] * 3
    pool.until(lambda: counted() == before + 3)
    assert 'imagerec_pool_worker_state{state="up",worker="worker1"} 1.0\n' in text()


@pytest.mark.parametrize(
    ("method", "path", "status", "slug"),
    [
        ("POST", "/workers", 405, "method-not-allowed"),
        ("POST", "/healthz", 405, "method-not-allowed"),
        ("POST", "/live-figures", 405, "method-not-allowed"),
        ("GET", "/live-figures?since=soon", 400, "bad-parameter"),
        ("GET", "/live-figures?since=-1", 400, "bad-parameter"),
        ("POST", "/history", 405, "method-not-allowed"),
        ("GET", "/history?hours=2", 400, "bad-parameter"),
    ],
)
def test_a_wrong_request_is_a_problem_document(pool: Pool, method: str, path: str, status: int, slug: str) -> None:
    answer = requests.request(method, f"http://127.0.0.1:{pool.port}{path}", timeout=10)
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")
    assert (answer.json()["status"], answer.json()["type"]) == (status, f"/problems/{slug}")


def lines_of(pool: Pool, path: str) -> list[dict[str, Any]]:
    entries = json_lines(pool.folder / "access.log")
    return [entry for entry in entries if entry["path"] == path]


def test_the_figures_are_told_and_nobody_fills_the_log_by_asking(pool: Pool) -> None:
    earlier = [int(line["msec"]) for line in lines_of(pool, "/predict")]
    before = len(earlier)
    pool.until(lambda: time.time() >= max(earlier, default=0) + 1)  # no request of before in these seconds
    for worker in pool.workers:
        worker.predicts = 429
    assert pool.predict().status_code == 429
    for worker in pool.workers:
        worker.predicts = 200
    assert [pool.predict().status_code for _ in range(12)] == [200] * 12
    pool.until(lambda: len(lines_of(pool, "/predict")) == before + 13)
    first_s, *_, last_s = (int(line["msec"]) for line in lines_of(pool, "/predict")[before:])
    pool.until(lambda: pool.get("/live-figures").json()["time"] > last_s)
    answer = pool.get(f"/live-figures?since={first_s - 1}")
    assert answer.headers["Cache-Control"] == "no-store"
    told = answer.json()
    seconds = told["seconds"]
    assert seconds["first"] == first_s
    assert (sum(seconds["answered"]), sum(seconds["refused"]), sum(seconds["errors"])) == (12, 1, 0)
    assert seconds["serving"][0] == seconds["members"][0] == 3
    assert [worker["name"] for worker in told["workers"]] == [*NAMES]
    assert sum(worker["share"] for worker in told["workers"]) == pytest.approx(1, abs=0.01)
    assert pool.get("/history?hours=24").json() == {"on": False}
    assert lines_of(pool, "/live-figures") == lines_of(pool, "/history") == []


def test_an_upload_that_breaks_off_is_told_as_lost(pool: Pool) -> None:
    before = len(lines_of(pool, "/submit"))
    with socket.create_connection(("127.0.0.1", pool.port), timeout=60) as client:
        client.sendall(b"POST /submit HTTP/1.1\r\nHost: b\r\nExpect: 100-continue\r\nContent-Length: 1000\r\n\r\n")
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"half a photograph")
    pool.until(lambda: len(lines_of(pool, "/submit")) > before)
    (line,) = lines_of(pool, "/submit")[before:]
    pool.until(lambda: pool.get("/live-figures").json()["time"] >= int(line["msec"]))
    seconds = pool.get(f"/live-figures?since={int(line['msec']) - 1}").json()["seconds"]
    assert (line["status"], seconds["lost"][0]) == (400, 1)
    assert 'imagerec_balancer_requests_total{status="499",worker=""}' in pool.get("/pool_metrics").text


def test_a_drained_worker_gets_no_request_and_returns(pool: Pool) -> None:
    pool.workers[0].ready = 503
    pool.until_state(worker1="draining")
    assert {pool.predict().headers["X-Worker"] for _ in range(30)} == {"worker2", "worker3"}
    assert pool.get("/healthz").json()["workers"] == 2
    pool.workers[0].ready = 200
    pool.until_state(worker1="up")
    pool.until(lambda: pool.predict().headers["X-Worker"] == "worker1")


def test_connections_under_way_are_counted_without_the_probe(pool: Pool) -> None:
    for worker in pool.workers:
        worker.holds.clear()
    threads = [threading.Thread(target=pool.predict) for _ in range(3)]
    for thread in threads:
        thread.start()
    pool.until(lambda: sum(each["under_way"] for each in pool.told()) == 3)
    for worker in pool.workers:
        worker.holds.set()
    for thread in threads:
        thread.join()
    pool.until(lambda: [each["under_way"] for each in pool.told()] == [0] * len(NAMES))


def test_a_request_at_a_worker_that_falls_silent_is_answered_by_another(pool: Pool) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to end connections")
    victim = pool.workers[0]
    victim.answers.clear()
    outcomes: list[tuple[int, str]] = []

    def ask() -> None:
        answer = pool.predict()
        outcomes.append((answer.status_code, answer.headers.get("X-Worker", "")))

    threads: list[threading.Thread] = []
    deadline = time.monotonic() + 60
    while not victim.asked.acquire(blocking=False):
        assert time.monotonic() < deadline, f"none of {len(threads)} requests reached {victim.name}"
        threads.append(threading.Thread(target=ask))
        threads[-1].start()
        time.sleep(0.02)
    for thread in threads:
        thread.join(90)
    assert {status for status, _ in outcomes} == {200}
    assert "worker1" not in {name for _, name in outcomes}
    pool.until(lambda: pool.states()["worker1"] == "down")
    assert "ended_connections" in (pool.folder / "agent.log").read_text()
    victim.answers.set()
    pool.until_state(worker1="up")


def test_a_request_that_is_lost_on_the_way_is_answered_by_another(pool: Pool) -> None:
    """The worker answers every probe: they are short, and photographs are not."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to end connections")
    victim = pool.workers[0]
    swallow(victim.listener)
    outcomes: list[tuple[int, str]] = []

    def ask() -> None:
        answer = requests.post(f"http://127.0.0.1:{pool.port}/predict", data=bytes(8000), timeout=100)
        outcomes.append((answer.status_code, answer.headers.get("X-Worker", "")))

    threads: list[threading.Thread] = []
    deadline = time.monotonic() + 60
    try:
        while "is reached too slowly" not in (pool.folder / "agent.log").read_text():
            assert time.monotonic() < deadline, f"{len(threads)} requests, {pool.states()}"
            if sum(thread.is_alive() for thread in threads) < PLACES:
                threads.append(threading.Thread(target=ask))
                threads[-1].start()
            time.sleep(0.02)
    finally:
        pass_on(victim.listener)
    for thread in threads:
        thread.join(90)
    assert {status for status, _ in outcomes} == {200}
    assert len(outcomes) == len(threads)
    assert "worker1" not in {name for _, name in outcomes}
    pool.until_state(worker1="up")


@pytest.mark.slow
def test_a_busy_worker_whose_answers_keep_coming_stays(pool: Pool) -> None:
    """Its probe waits in its queue for ever here, but it answers requests.

    The agent is given more patience, so that a moment in which this test is not run is no silence.
    """
    usual = json.loads((pool.folder / "pool.json").read_text())["silent_s"]
    begin_anew(pool, silent_s=BUSY_SILENT_S)
    try:
        answers_keep_coming(pool)
    finally:
        begin_anew(pool, silent_s=usual)


BUSY_SILENT_S = 8.0


def begin_anew(pool: Pool, **settings: float) -> None:
    """Let the agent take other settings."""
    assert pool.agent is not None
    path, log = pool.folder / "pool.json", pool.folder / "agent.log"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    before = log.read_text().count('"pool": ')
    pool.agent.send_signal(signal.SIGHUP)
    pool.until(lambda: log.read_text().count('"pool": ') > before)


def answers_keep_coming(pool: Pool) -> None:
    victim = pool.workers[0]
    pool.workers[1].ready = pool.workers[2].ready = 503
    pool.until_state(worker1="up", worker2="draining", worker3="draining")
    probes = threading.Event()
    ready = victim.answers

    class Never(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            if threading.current_thread() in busy:
                return True
            return probes.wait(timeout)

    busy: set[threading.Thread] = set()
    victim.holds = _Mark(busy)
    victim.answers = Never()
    since = time.monotonic()
    while time.monotonic() < since + 1.5 * BUSY_SILENT_S:
        assert pool.predict().status_code == 200
        time.sleep(0.1)
    assert pool.states()["worker1"] == "up"
    probes.set()
    victim.answers = ready


class _Mark(threading.Event):
    """Marks the threads that serve requests and not probes."""

    def __init__(self, threads: set[threading.Thread]) -> None:
        super().__init__()
        self._threads = threads

    def wait(self, timeout: float | None = None) -> bool:  # noqa: ARG002  as an Event has it
        self._threads.add(threading.current_thread())
        return True


def test_a_worker_that_refuses_is_down_and_found_again(pool: Pool) -> None:
    pool.workers[1].stop()
    pool.until_state(worker2="down")
    assert {pool.predict().status_code for _ in range(20)} == {200}
    pool.workers[1].start()
    pool.until_state(worker2="up")


def test_nobody_serves_is_unavailable_and_never_busy(pool: Pool) -> None:
    for worker in pool.workers:
        worker.stop()
    seen: set[tuple[int, str]] = set()

    def healthy() -> requests.Response:
        answer = pool.predict()
        seen.add((answer.status_code, answer.json()["type"]))
        return pool.get("/healthz")

    pool.until(lambda: healthy().status_code == 503)
    health = pool.get("/healthz")
    assert (health.json()["type"], health.headers["Retry-After"]) == ("/problems/unavailable", "3")
    assert health.headers["Content-Type"] == "application/problem+json"

    def refusals() -> set[tuple[int, str, str | None]]:
        answers = [pool.predict() for _ in range(20)]
        return {(each.status_code, each.json()["type"], each.headers.get("Retry-After")) for each in answers}

    # After a reload nginx's processes of before take connections beside the new ones, for a tenth of a second or more.
    pool.until(lambda: refusals() == {(503, "/problems/unavailable", "3")})
    assert seen <= {(502, "/problems/no-answer"), (503, "/problems/unavailable")}
    assert pool.get("/status").status_code == 200
    # The list is open: a worker that returns is found by the first request that reaches it.
    assert " down" not in (pool.folder / "servers.conf").read_text().partition("\n")[2]
    for worker in pool.workers:
        worker.start()
    pool.until_state(worker1="up", worker2="up", worker3="up")
    assert pool.predict().status_code == 200


def test_all_places_taken_is_busy_and_healthy(pool: Pool) -> None:
    for worker in pool.workers:
        worker.holds.clear()
    threads: list[threading.Thread] = []
    missing = dict.fromkeys(pool.workers, PLACES)
    outcomes: list[requests.Response] = []
    # An nginx that was reloaded just before does not know of what the old one has sent, so more may be at one worker.
    try:
        while any(missing.values()) or not outcomes:
            assert len(threads) < 60
            threads.append(threading.Thread(target=lambda: outcomes.append(pool.predict())))
            threads[-1].start()
            for worker, count in missing.items():
                if count and worker.asked.acquire(timeout=0.2):
                    missing[worker] = count - 1
            if not any(missing.values()):
                threads[-1].join(5)  # one that finds no place is answered at once
        health = pool.get("/healthz")
    finally:
        for worker in pool.workers:
            worker.holds.set()
        for thread in threads:
            thread.join()
    answer = outcomes[0]
    assert (answer.status_code, answer.json()["type"]) == (429, "/problems/busy")
    assert answer.headers["Retry-After"] == "3"
    assert health.status_code == 200


def test_a_worker_that_answers_500_loses_nothing_is_left_out_and_tried_again(pool: Pool) -> None:
    pool.workers[2].predicts = 500
    statuses = []

    def failing() -> bool:
        statuses.append(pool.predict().status_code)
        return pool.states()["worker3"] == "failing"

    pool.until(failing)
    assert set(statuses) == {200}  # another worker was asked each time
    pool.workers[2].predicts = 200
    pool.until(lambda: pool.states()["worker3"] == "up")


def test_a_request_that_every_worker_answers_by_500_empties_nothing(pool: Pool) -> None:
    for worker in pool.workers:
        worker.predicts = 500
    assert {pool.predict().status_code for _ in range(40)} == {500}
    time.sleep(0.5)
    assert pool.says(**dict.fromkeys(NAMES, "up"))


def test_the_deployment_s_list_is_followed(pool: Pool) -> None:
    """A pool that shrinks or grows is known at once; the members are never the agent's to write."""
    path = pool.folder / "servers.conf"
    whole = path.read_text()
    path.write_text("".join(line for line in whole.splitlines(keepends=True) if "worker3" not in line))
    pool.until(lambda: pool.states().keys() == {"worker1", "worker2"})
    path.write_text(whole)
    pool.until_state(worker1="up", worker2="up", worker3="up")
    assert path.read_text() == whole


def test_hup_begins_anew_in_the_same_process(pool: Pool) -> None:
    assert pool.agent is not None
    pool.workers[0].ready = 503
    pool.until_state(worker1="draining")
    before = (pool.folder / "agent.log").read_text().count('"pool": ')
    pool.agent.send_signal(signal.SIGHUP)
    pool.until(lambda: (pool.folder / "agent.log").read_text().count('"pool": ') > before)
    pool.until_state(worker1="draining")
    assert pool.agent.poll() is None


class SlowLink:
    """A port before another one. What is sent arrives a moment later, so most of the time a request is on its way."""

    DELAY_S = 0.01

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        with self._listener, contextlib.suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                self._threads.append(threading.Thread(target=self._join, args=[client]))
                self._threads[-1].start()

    def _join(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._to)) as server:
            back = threading.Thread(target=self._carry, args=[server, client])
            back.start()
            self._carry(client, server)
            back.join()

    def _carry(self, sender: socket.socket, receiver: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while part := sender.recv(65536):
                time.sleep(self.DELAY_S)
                receiver.sendall(part)
            time.sleep(self.DELAY_S)
        with contextlib.suppress(OSError):
            receiver.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()


def test_a_reload_loses_no_request_on_connections_that_clients_keep(pool: Pool) -> None:
    """The agent's own reloads do the same; what its command has left is told in tests/unit."""
    link = SlowLink(pool.port)
    ended = threading.Event()
    answered: list[int] = []
    lost: list[str] = []

    def ask_on() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", link.port, timeout=60)
        while not ended.is_set():
            try:
                connection.request("POST", "/predict", b"image")
                answer = connection.getresponse()
                answer.read()
                answered.append(answer.status)
            except (OSError, http.client.HTTPException) as error:
                lost.append(repr(error))
                connection.close()
        connection.close()

    clients = [threading.Thread(target=ask_on) for _ in range(PLACES * len(NAMES))]
    for client in clients:
        client.start()
    try:
        for _ in range(5):
            before = len(answered)
            subprocess.run(["/bin/sh", str(pool.folder / "reload")], check=True)
            pool.until(lambda enough=before + 20: len(answered) > enough)
    finally:
        ended.set()
        for client in clients:
            client.join()
        link.close()
    assert lost == []
    assert set(answered) <= {200, 429}
    assert not (pool.folder / "reloading").exists()


def test_without_the_agent_a_worker_is_asked(pool: Pool) -> None:
    assert pool.stop_agent(signal.SIGKILL) == -signal.SIGKILL
    try:
        assert pool.get("/healthz").json() == {}  # a worker's own answer
        away = pool.get("/workers")
        assert (away.status_code, away.json()["type"]) == (503, "/problems/unavailable")
        assert pool.get("/live-figures").status_code == pool.get("/history").status_code == 503
        assert pool.predict().status_code == 200
        for worker in pool.workers:
            worker.stop()
        health = pool.get("/healthz")
        assert (health.status_code, health.json()["type"]) == (503, "/problems/unavailable")
        for worker in pool.workers:
            worker.start()
    finally:
        pool.start_agent()
    pool.until(lambda: pool.states().keys() == {*NAMES})


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read"),
        ("{", "cannot be read"),
        ('{"sevrers": "x"}', "sevrers is unknown; access_log is missing"),
        ('{"prometheus": "127.0.0.1:9090"}', "prometheus is '127.0.0.1:9090'"),
    ],
    ids=["absent", "no JSON", "misspelt", "no address"],
)
def test_settings_that_cannot_work_are_refused_in_one_line(tmp_path: Path, content: str | None, reason: str) -> None:
    if content is not None:
        (tmp_path / "pool.json").write_text(content)
    command = [sys.executable, "-m", "imagerec_pool", str(tmp_path / "pool.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert reason in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_stale_socket_is_no_obstacle(tmp_path: Path) -> None:
    # The path of pytest's folders may be longer than that of a socket.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pool.sock"
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(path))
        assert b" 503 " in first_answer(path, tmp_path).splitlines()[0]


def first_answer(path: Path, tmp_path: Path) -> bytes:
    """Start an agent at a socket and return what it answers first."""
    names = ("servers", "serves", "access_log", "nginx_pid")
    settings: dict[str, Any] = {name: str(tmp_path / name) for name in names} | {"socket": str(path)}
    (tmp_path / "pool.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "imagerec_pool", str(tmp_path / "pool.json")]
    with subprocess.Popen(command) as agent:
        answer = b""
        try:
            for _ in range(600):
                try:
                    with socket.socket(socket.AF_UNIX) as connection:
                        connection.settimeout(20)
                        connection.connect(str(path))
                        connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
                        answer = connection.recv(65536)
                        break
                except OSError:
                    time.sleep(0.1)
        finally:
            agent.terminate()
    return answer
