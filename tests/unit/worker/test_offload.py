"""What would hold others up is answered by a child, which the tests stop, while its parent serves on."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from gunicorn.config import Config
from gunicorn.glogging import Logger

from imagerec_worker import offload, shared_metrics
from imagerec_worker.bundle import Bundle
from imagerec_worker.errors import BusyError
from imagerec_worker.offload import MOST_CHILDREN, NICENESS
from tests.conftest import REPOSITORY
from tests.unit.worker.bomb_files import bomb, encode, flat, png
from tests.unit.worker.conftest import Server, form_body, start_server, stop_server
from tests.unit.worker.test_v2 import binary, elements

CONFIGURATION = REPOSITORY / "tests/ansible/golden/gunicorn.conf.py"
DEAR = bomb("png-grey-16-bit-7071")  # nearly half a second of a core, in which its child is found and stopped
CHEAP = encode(flat(64), "PNG")
PLAIN = b"POST /predict HTTP/1.1\r\nHost: worker\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n"
# gunicorn reads these: ours leaves what is not plain to it.
ORDINARY = PLAIN.replace(b"Content-Type", b"Expect: 100-continue\r\nContent-Type")

# Numbers of system calls.
WAIT4, RECVFROM, SELECT = {"x86_64": ("61", "45", "270"), "aarch64": ("260", "207", "72")}[platform.machine()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server's log and the metrics of its processes are."""
    return tmp_path_factory.mktemp("offload")


@pytest.fixture(scope="module")
def server(colours: Bundle, folder: Path) -> Iterator[Server]:
    """gunicorn as the role configures it, with one process."""
    shared = {shared_metrics.VARIABLE: str(folder / "metrics")}
    image_worker = "imagerec_worker.gunicorn_worker.ImageWorker"
    running = start_server(colours.path, image_worker, folder, "--config", str(CONFIGURATION), **shared)
    yield running
    stop_server(running)


def wait_for(condition: Callable[[], Any]) -> Any:
    """Return what the condition returns as soon as it is true."""
    deadline_s = time.monotonic() + 60
    while not (found := condition()):
        assert time.monotonic() < deadline_s
        time.sleep(0.002)
    return found


def children_of(process: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def state_of(process: int) -> str:
    return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2][0]


def call_of(process: int) -> str:
    """Return the number of the system call that a process waits in."""
    return Path(f"/proc/{process}/syscall").read_text().split()[0]


def has_turn(process: int) -> bool | None:
    """Say whether a process has its turn, as the kernel lists locks; None where it has not asked for one."""
    for line in Path("/proc/locks").read_text().splitlines():
        _, *arrow, _, _, _, owner, _, _, _ = line.split()
        if int(owner) == process:
            return not arrow
    return None


def faults_of_children(process: int) -> str:
    """Return the page faults of all its children that have ended, which grow by each."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2].split()[8]


def at_rest(server: Server) -> int:
    """Return the worker's process once it has forgotten its children and waits for a connection."""
    serving = server.worker_pid()
    wait_for(lambda: not children_of(serving) and call_of(serving) == SELECT)
    return serving


@contextlib.contextmanager
def held(server: Server, head: bytes = PLAIN) -> Iterator[tuple[socket.socket, int]]:
    """Send a dear upload and stop the child that has it; yield the connection and the child."""
    serving = at_rest(server)
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(head % len(DEAR) + DEAR)
        (child,) = wait_for(lambda: children_of(serving))
        wait_for(lambda: has_turn(child))
        assert os.getpriority(os.PRIO_PROCESS, child) == min(19, os.nice(0) + NICENESS)
        os.kill(child, signal.SIGSTOP)
        wait_for(lambda: state_of(child) == "T")
        yield connection, child


def answer_of(connection: socket.socket) -> bytes:
    answer = b""
    while data := connection.recv(65536):
        answer += data
    return answer


def counted(server: Server, status: int) -> float:
    """Return how many classifications were answered so, as a scrape says."""
    text = server.ask("GET", "/metrics").body.decode()
    line = f'imagerec_answers_total{{route="/predict",status="{status}"}} '
    return sum(float(each.removeprefix(line)) for each in text.splitlines() if each.startswith(line))


@pytest.mark.parametrize("head", [PLAIN, ORDINARY], ids=["plain", "ordinary"])
def test_others_are_served_while_a_dear_upload_is_decoded(server: Server, head: bytes) -> None:
    before = counted(server, 200)
    with held(server, head) as (connection, child):
        assert Path(f"/proc/{child}/oom_score_adj").read_text() == "1000\n"
        assert server.ask("POST", "/predict", *form_body(("image", "a", CHEAP))).status == 200
        connection.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.settimeout(60)
        os.kill(child, signal.SIGCONT)
        answer = answer_of(connection)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b'"image":{"format":"PNG","width":7071,"height":7071}' in answer.replace(b", ", b",").replace(b": ", b":")
    assert counted(server, 200) == before + 2


@pytest.mark.parametrize("late_bytes", [len(CHEAP) - 1, 5 * 1024 * 1024], ids=["a late body", "a large body"])
def test_others_are_served_while_a_body_comes_over_a_slow_link(server: Server, late_bytes: int) -> None:
    """Zeros behind a PNG do not count."""
    body = CHEAP + bytes(late_bytes + 1 - len(CHEAP))
    serving = at_rest(server)
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(PLAIN % len(body) + body[:-late_bytes])
        wait_for(lambda: children_of(serving))
        assert server.ask("POST", "/predict", *form_body(("image", "a", CHEAP))).status == 200
        connection.sendall(body[-late_bytes:])
        assert answer_of(connection).startswith(b"HTTP/1.1 200 ")


def test_a_head_that_is_late_is_waited_for_and_then_its_body_by_a_child(server: Server) -> None:
    serving = at_rest(server)
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        wait_for(lambda: call_of(serving) == RECVFROM)
        connection.sendall(PLAIN % len(CHEAP))
        (child,) = wait_for(lambda: children_of(serving))
        assert os.getpriority(os.PRIO_PROCESS, child) == os.getpriority(os.PRIO_PROCESS, serving)
        connection.sendall(CHEAP)
        assert answer_of(connection).startswith(b"HTTP/1.1 200 ")


def test_who_ends_early_needs_no_child(server: Server) -> None:
    serving = at_rest(server)
    before = faults_of_children(serving)
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        os.kill(serving, signal.SIGSTOP)  # it finds the end beside the body: a pause between them would be a late body
        connection.sendall(PLAIN % len(CHEAP) + CHEAP[:-1])
        connection.shutdown(socket.SHUT_WR)
        os.kill(serving, signal.SIGCONT)
        assert answer_of(connection).startswith(b"HTTP/1.1 4")
    at_rest(server)
    assert faults_of_children(serving) == before


def test_a_worker_whose_requests_are_watched_waits_for_what_is_late(colours: Bundle, tmp_path: Path) -> None:
    server = start_server(
        colours.path,
        "imagerec_worker.gunicorn_worker.ImageWorker",
        tmp_path,
        "--access-logfile",
        str(tmp_path / "access"),
    )
    try:
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
            for piece in (PLAIN % len(CHEAP), CHEAP):
                wait_for(lambda: call_of(server.worker_pid()) == RECVFROM)
                time.sleep(0.1)  # longer than others wait
                connection.sendall(piece)
            assert answer_of(connection).startswith(b"HTTP/1.1 200 ")
    finally:
        stop_server(server)


def test_what_a_child_counted_is_kept_and_its_files_are_not(server: Server, folder: Path) -> None:
    before = counted(server, 200)
    for _ in range(2):
        with held(server) as (connection, child):
            os.kill(child, signal.SIGCONT)
            assert answer_of(connection).startswith(b"HTTP/1.1 200 ")
        wait_for(lambda: not children_of(server.worker_pid()))
        wait_for(lambda: not list((folder / "metrics").glob(f"*_{child}.db")))
    assert counted(server, 200) == before + 2


def test_a_child_that_is_killed_takes_its_own_request_with_it_and_nothing_else(server: Server, folder: Path) -> None:
    serving = server.worker_pid()
    with held(server) as (connection, child):
        os.kill(child, signal.SIGKILL)
        with contextlib.suppress(ConnectionResetError):
            assert answer_of(connection) == b""
    with held(server) as (connection, next_child):
        os.kill(next_child, signal.SIGCONT)
        assert answer_of(connection).startswith(b"HTTP/1.1 200 ")
    assert server.worker_pid() == serving
    said = f"Process {child}, which had one request, was ended by signal 9"
    wait_for(lambda: said in (folder / "gunicorn.log").read_text())


def has_ended(process: int) -> bool:
    try:
        return state_of(process) in "ZX"
    except OSError:
        return True


def test_the_child_of_a_killed_process_leaves_its_counts_and_nothing_else(server: Server, folder: Path) -> None:
    """Nobody is told when it ends."""
    before = counted(server, 200)
    with held(server) as (connection, child):
        serving = server.worker_pid()
        os.kill(serving, signal.SIGKILL)
        wait_for(lambda: set(children_of(server.process.pid)) - {serving})
        os.kill(child, signal.SIGCONT)
        assert answer_of(connection).startswith(b"HTTP/1.1 200 ")
    wait_for(lambda: has_ended(child) and has_ended(serving))
    assert list((folder / "metrics").glob(f"*_{child}.db"))
    assert counted(server, 200) == before + 1
    assert not list((folder / "metrics").glob(f"*_{child}.db"))


def test_a_process_that_leaves_lets_its_child_finish(server: Server) -> None:
    with held(server) as (connection, child):
        serving = server.worker_pid()
        os.kill(serving, signal.SIGTERM)
        wait_for(lambda: call_of(serving) == WAIT4)
        os.kill(child, signal.SIGCONT)
        assert answer_of(connection).startswith(b"HTTP/1.1 200 ")
    wait_for(lambda: not Path(f"/proc/{serving}").exists() and children_of(server.process.pid))
    assert server.ask("GET", "/readyz").status == 200


def test_children_take_turns_and_are_no_more_than_allowed(server: Server) -> None:
    """The first child is stopped while it has its turn; the other children wait, and one more upload is not theirs."""
    before = counted(server, 200)
    upload = PLAIN % len(DEAR) + DEAR
    with contextlib.ExitStack() as stack:
        first, child = stack.enter_context(held(server))
        others = []
        for number in range(1, MOST_CHILDREN):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=60))
            connection.sendall(upload)
            others.append(connection)
            wait_for(lambda: len(children_of(server.worker_pid())) > number)  # noqa: B023  at once
        waiting = [each for each in children_of(server.worker_pid()) if each != child]
        wait_for(lambda: all(has_turn(each) is False for each in waiting))
        begun_s = time.monotonic()
        assert server.exchange(upload).startswith(b"HTTP/1.1 200 ")  # by the process itself, which waits for no child
        wait_for(lambda: all(has_turn(each) is False for each in waiting))  # who has had its turn never waits again
        waited_ms = 1000 * (time.monotonic() - begun_s)
        os.kill(child, signal.SIGCONT)
        answers = [answer_of(connection) for connection in (first, *others)]
    assert all(each.startswith(b"HTTP/1.1 200 ") for each in answers)
    assert counted(server, 200) == before + MOST_CHILDREN + 1
    # Who stood behind the child that was stopped says so.
    timing = [json.loads(each.partition(b"\r\n\r\n")[2])["timing_ms"] for each in answers[1:]]
    assert min(each["queue"] for each in timing) >= waited_ms


INFER = (
    b"POST /v2/models/colours/infer HTTP/1.1\r\nHost: worker\r\nContent-Length: %d\r\n"
    b"Inference-Header-Content-Length: %s\r\n\r\n"
)


def inference(*files: bytes) -> bytes:
    """A request of the protocol V2 for so many photographs."""
    body, headers = binary("image", elements(*files), shape=[len(files)])
    return INFER % (len(body), headers["Inference-Header-Content-Length"].encode()) + body


def test_where_no_more_children_may_be_others_do_not_wait_for_many_pictures(server: Server) -> None:
    """Nine dear ones are four seconds; after half of one the client hears why."""
    with contextlib.ExitStack() as stack:
        held_ones = [stack.enter_context(held(server))]
        for number in range(1, MOST_CHILDREN):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=60))
            connection.sendall(PLAIN % len(DEAR) + DEAR)
            wait_for(lambda: len(children_of(server.worker_pid())) > number)  # noqa: B023  at once
            held_ones.append((connection, 0))
        refused = server.exchange(inference(*[DEAR] * 9))
        os.kill(held_ones[0][1], signal.SIGCONT)
        answers = [answer_of(connection) for connection, _ in held_ones]
    assert refused.startswith(b"HTTP/1.1 429 ")
    assert b"\r\nRetry-After: 1\r\n" in refused
    assert b"others wait, and " in refused
    assert b"send fewer at once, or try again" in refused
    assert all(each.startswith(b"HTTP/1.1 200 ") for each in answers)


def test_pictures_that_are_dear_together_are_handed_over(server: Server) -> None:
    """None is dear by its header, and none is late."""
    serving = at_rest(server)
    before = faults_of_children(serving)
    assert server.exchange(inference(*[CHEAP] * 2)).startswith(b"HTTP/1.1 200 ")
    assert faults_of_children(serving) == before
    answer = server.exchange(inference(*[png(5000, 3700, 8, 0)] * 8))
    # its child has a low priority: on a busy machine it takes more than may be spent
    assert answer.startswith(b"HTTP/1.1 200 ") or b" pictures took more than 8 s" in answer
    wait_for(lambda: faults_of_children(serving) != before)


def test_who_waits_long_for_a_turn_is_told_when_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offload, "TURN_S", 1)
    waits = offload.Offload(300, [], Logger(Config()))
    waits._is_child = True
    code = "import fcntl, sys; fcntl.lockf(int(sys.argv[1]), fcntl.LOCK_EX); print(flush=True); sys.stdin.read()"
    pipe = subprocess.PIPE
    niceness = os.nice(0)
    with subprocess.Popen(
        [sys.executable, "-c", code, str(waits._turn)], pass_fds=[waits._turn], stdin=pipe, stdout=pipe
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        other.stdout.readline()
        signal.alarm(300)
        try:
            monkeypatch.setattr(os, "nice", lambda _: niceness)  # it would stay
            with pytest.raises(BusyError, match="try again in 1 s"):
                waits.take_turn()
            assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
            assert 0 < signal.alarm(0) < 300  # the time that a child may take goes on
            other.stdin.close()
            other.wait()
            waits.take_turn()
        finally:
            signal.alarm(0)
            os.close(waits._turn)
    assert 0 < waits.waited_s < 300


WAITS = """
import fcntl, socket
from gunicorn.config import Config
from gunicorn.glogging import Logger
from imagerec_worker import offload
waits = offload.Offload(1, [], Logger(Config()))
fcntl.lockf(waits._turn, fcntl.LOCK_EX)
waits.begin(socket.socket())
try:
    waits.take_turn()
except offload.HandedOver:
    waits.reap(wait=True)
"""


def test_who_waits_for_a_turn_is_ended_when_its_request_has_taken_too_long() -> None:
    """Its parent has the turn, and gives it a second."""
    ended = subprocess.run([sys.executable, "-c", WAITS], capture_output=True, text=True, check=True)
    assert f"was ended by signal {signal.SIGALRM:d}" in ended.stderr


def test_without_a_process_of_ours_a_dear_upload_is_decoded_where_it_came(client: FlaskClient) -> None:
    before = children_of(os.getpid())
    assert client.post("/predict", data=DEAR, content_type="image/png").status_code == 200
    assert children_of(os.getpid()) == before
