"""What would hold others up is answered by a child, which waits for the tests, while its parent serves on."""

from __future__ import annotations

import contextlib
import fcntl
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

from imagerec_worker import late_heads, offload, shared_metrics
from imagerec_worker.bundle import Bundle
from imagerec_worker.errors import BusyError
from imagerec_worker.offload import MOST_CHILDREN, NICENESS
from tests.conftest import REPOSITORY
from tests.unit.worker.bomb_files import EMPTY, behind, bomb, encode, flat, png, repeated
from tests.unit.worker.conftest import Server, form_body, start_server, stop_server
from tests.unit.worker.test_v2 import binary, elements

CONFIGURATION = REPOSITORY / "tests/ansible/golden/gunicorn.conf.py"
DEAR = png(5600, 5600, 8, 0)  # little more than it takes to be dear: a child may have a hundredth of a busy core
DEAREST = bomb("png-grey-16-bit-7071")  # nearly half a second of a core
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
    configuration = folder / "gunicorn.conf.py"
    # A busy machine is slow; 300 s are the limit of a child.
    patient = "import imagerec_worker.offload\nimagerec_worker.offload.TURN_S = 120\ntimeout = 300\n"
    configuration.write_text(CONFIGURATION.read_text() + patient)
    image_worker = "imagerec_worker.gunicorn_worker.ImageWorker"
    running = start_server(colours.path, image_worker, folder, "--config", str(configuration), **shared)
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
def held(server: Server, head: bytes = PLAIN) -> Iterator[tuple[socket.socket, int, Callable[[], None]]]:
    """Have the turn and send a dear upload; yield the connection, the child that waits, and what gives the turn up."""
    serving = at_rest(server)
    files = Path(f"/proc/{serving}/fd").iterdir()
    (turn_file,) = [each for each in files if str(each.readlink()).startswith("/memfd:turn ")]
    with (
        turn_file.open("rb+") as turn,
        socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection,
    ):
        fcntl.lockf(turn, fcntl.LOCK_EX)
        connection.sendall(head % len(DEAR) + DEAR)
        (child,) = wait_for(lambda: children_of(serving))
        wait_for(lambda: has_turn(child) is False)
        assert os.getpriority(os.PRIO_PROCESS, child) == min(19, os.nice(0) + NICENESS)
        yield connection, child, lambda: fcntl.lockf(turn, fcntl.LOCK_UN)


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
    with held(server, head) as (connection, child, let_go):
        assert Path(f"/proc/{child}/oom_score_adj").read_text() == "1000\n"
        assert server.ask("POST", "/predict", *form_body(("image", "a", CHEAP))).status == 200
        connection.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.settimeout(60)
        let_go()
        answer = answer_of(connection)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b'"image":{"format":"PNG","width":5600,"height":5600}' in answer.replace(b", ", b",").replace(b": ", b":")
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


def connections_of(process: int) -> int:
    """Return how many sockets a process has, its listener among them."""
    return sum("socket:" in str(each.readlink()) for each in Path(f"/proc/{process}/fd").iterdir())


@pytest.mark.parametrize(
    "said", [b"", PLAIN[:20], (PLAIN % len(CHEAP))[:-2], PLAIN[:-2] + b"X-Long: " + 5000 * b"x"],
    ids=["nothing", "a line in part", "all but its end", "a long head"],
)  # fmt: skip
def test_others_are_served_while_heads_are_late(server: Server, said: bytes) -> None:
    """They may have lost packets, or their other side may be gone without a word."""
    serving = at_rest(server)
    before = connections_of(serving)
    with contextlib.ExitStack() as stack:
        late = [
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=60))
            for _ in range(2 * MOST_CHILDREN)
        ]
        for connection in late:
            connection.sendall(said)
        wait_for(lambda: connections_of(serving) == before + len(late) and call_of(serving) == SELECT)
        assert server.ask("POST", "/predict", *form_body(("image", "a", CHEAP))).status == 200
        assert not children_of(serving)
        for connection in late:
            whole = said + b"\r\n\r\n" if b"X-Long" in said else PLAIN % len(CHEAP) + CHEAP
            for byte in whole[len(said) : len(said) + 3]:
                connection.sendall(bytes([byte]))
                time.sleep(0.01)
            connection.sendall(whole[len(said) + 3 :])
            assert answer_of(connection).startswith(b"HTTP/1.1 400 " if b"X-Long" in said else b"HTTP/1.1 200 ")
            connection.close()
    assert server.worker_pid() == serving


def test_who_ends_in_the_middle_of_a_head_is_forgotten(server: Server) -> None:
    serving = at_rest(server)
    before = connections_of(serving)
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(PLAIN[:20])
        wait_for(lambda: connections_of(serving) > before and call_of(serving) == SELECT)
        connection.shutdown(socket.SHUT_WR)
        answer_of(connection)
    wait_for(lambda: connections_of(serving) == before)
    assert server.worker_pid() == serving


@pytest.mark.slow
def test_who_says_nothing_for_long_is_left_and_the_process_stays(colours: Bundle, tmp_path: Path) -> None:
    image_worker = "imagerec_worker.gunicorn_worker.ImageWorker"
    server = start_server(colours.path, image_worker, tmp_path, "--timeout", "2")
    try:
        serving = at_rest(server)
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
            assert answer_of(connection) == b""
        assert server.worker_pid() == serving
    finally:
        stop_server(server)


def test_of_too_many_late_heads_the_oldest_goes() -> None:
    waiting = late_heads.LateHeads(60)
    with contextlib.ExitStack() as stack:
        pairs = [socket.socketpair() for _ in range(late_heads.MOST + 1)]
        for ours, other in pairs:
            stack.enter_context(ours)
            stack.enter_context(other)
            assert waiting.keep(None, ours, None, 0)
        assert pairs[0][1].recv(1) == b""
        assert list(waiting) == [ours for ours, _ in pairs[1:]]


def test_who_is_served_waits_no_more_and_the_others_do() -> None:
    """A child closes its copies of those that wait; it would hold the connections of others open else."""
    waiting = late_heads.LateHeads(60)
    with contextlib.ExitStack() as stack:
        pairs = [socket.socketpair() for _ in range(3)]
        for ours, other in pairs:
            stack.enter_context(ours)
            stack.enter_context(other)
            assert waiting.keep(None, ours, None, 0)
            other.sendall(b"x")
        served = []
        for _, client, _ in waiting.spoken():
            served.append(client)
            assert set(waiting) == {ours for ours, _ in pairs} - set(served)
        assert len(served) == len(pairs)


def test_where_no_more_children_may_be_a_late_body_is_sent_elsewhere(server: Server) -> None:
    """nginx asks another worker after a 503."""
    serving = at_rest(server)
    with contextlib.ExitStack() as stack:
        late = []
        for number in range(MOST_CHILDREN + 1):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=60))
            connection.sendall(PLAIN % len(CHEAP) + CHEAP[:-1])
            late.append(connection)
            wait_for(lambda: len(children_of(serving)) >= min(number + 1, MOST_CHILDREN))  # noqa: B023  at once
        refused = answer_of(late.pop())
        assert server.ask("GET", "/readyz").status == 200
        for connection in late:
            connection.sendall(CHEAP[-1:])
            assert answer_of(connection).startswith(b"HTTP/1.1 200 ")
    assert refused.startswith(b"HTTP/1.1 503 ")
    assert b"/problems/unavailable" in refused
    assert server.worker_pid() == serving


def test_the_body_of_a_late_head_is_waited_for_by_a_child(server: Server) -> None:
    serving = at_rest(server)
    before = connections_of(serving)
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        wait_for(lambda: connections_of(serving) > before and call_of(serving) == SELECT)
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
        with held(server) as (connection, child, let_go):
            let_go()
            assert answer_of(connection).startswith(b"HTTP/1.1 200 ")
        wait_for(lambda: not children_of(server.worker_pid()))
        wait_for(lambda: not list((folder / "metrics").glob(f"*_{child}.db")))
    assert counted(server, 200) == before + 2
    assert f"Process {child}, which had one request" not in (folder / "gunicorn.log").read_text()  # it ended in order


def test_a_child_that_is_killed_takes_its_own_request_with_it_and_nothing_else(server: Server, folder: Path) -> None:
    serving = server.worker_pid()
    with held(server) as (connection, child, _):
        os.kill(child, signal.SIGKILL)
        with contextlib.suppress(ConnectionResetError):
            assert answer_of(connection) == b""
    with held(server) as (connection, _, let_go):
        let_go()
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
    with held(server) as (connection, child, let_go):
        serving = server.worker_pid()
        os.kill(serving, signal.SIGKILL)
        wait_for(lambda: set(children_of(server.process.pid)) - {serving})
        let_go()
        assert answer_of(connection).startswith(b"HTTP/1.1 200 ")
    wait_for(lambda: has_ended(child) and has_ended(serving))
    assert list((folder / "metrics").glob(f"*_{child}.db"))
    assert counted(server, 200) == before + 1
    assert not list((folder / "metrics").glob(f"*_{child}.db"))


def test_a_process_that_leaves_lets_its_child_finish(server: Server) -> None:
    with held(server) as (connection, _, let_go):
        serving = server.worker_pid()
        os.kill(serving, signal.SIGTERM)
        wait_for(lambda: call_of(serving) == WAIT4)
        let_go()
        assert answer_of(connection).startswith(b"HTTP/1.1 200 ")
    wait_for(lambda: not Path(f"/proc/{serving}").exists() and children_of(server.process.pid))
    assert server.ask("GET", "/readyz").status == 200


def test_children_take_turns_and_are_no_more_than_allowed(server: Server) -> None:
    """The test has the turn; all children wait, and one more upload is not theirs."""
    before = counted(server, 200)
    upload = PLAIN % len(DEAR) + DEAR
    with contextlib.ExitStack() as stack:
        first, _, let_go = stack.enter_context(held(server))
        connections = [first]
        for number in range(1, MOST_CHILDREN):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=60))
            connection.sendall(upload)
            connections.append(connection)
            wait_for(lambda: len(children_of(server.worker_pid())) > number)  # noqa: B023  at once
        waiting = children_of(server.worker_pid())
        wait_for(lambda: all(has_turn(each) is False for each in waiting))
        begun_s = time.monotonic()
        assert server.exchange(upload).startswith(b"HTTP/1.1 200 ")  # by the process itself, which waits for no child
        assert all(has_turn(each) is False for each in waiting)
        waited_ms = 1000 * (time.monotonic() - begun_s)
        let_go()
        answers = [answer_of(connection) for connection in connections]
    assert all(each.startswith(b"HTTP/1.1 200 ") for each in answers)
    assert counted(server, 200) == before + MOST_CHILDREN + 1
    # All say how long they have waited, and the last one has waited for the others too.
    timing = [json.loads(each.partition(b"\r\n\r\n")[2])["timing_ms"] for each in answers]
    assert min(each["queue"] for each in timing) >= waited_ms
    assert max(each["queue"] for each in timing) >= waited_ms + min(each["decode"] for each in timing)


INFER = (
    b"POST /v2/models/colours/infer HTTP/1.1\r\nHost: worker\r\nContent-Length: %d\r\n"
    b"Inference-Header-Content-Length: %s\r\n\r\n"
)


def inference(*files: bytes) -> bytes:
    """A request of the protocol V2 for so many photographs."""
    body, headers = binary("image", elements(*files), shape=[len(files)])
    return INFER % (len(body), headers["Inference-Header-Content-Length"].encode()) + body


@pytest.mark.slow
def test_where_no_more_children_may_be_others_do_not_wait_for_many_pictures(server: Server) -> None:
    """Nine dear ones are four seconds; after half of one the client hears why."""
    with contextlib.ExitStack() as stack:
        first, _, let_go = stack.enter_context(held(server))
        connections = [first]
        for number in range(1, MOST_CHILDREN):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=60))
            connection.sendall(PLAIN % len(DEAR) + DEAR)
            wait_for(lambda: len(children_of(server.worker_pid())) > number)  # noqa: B023  at once
            connections.append(connection)
        refused = server.exchange(inference(*[DEAREST] * 9))
        let_go()
        answers = [answer_of(connection) for connection in connections]
    assert refused.startswith(b"HTTP/1.1 429 ")
    assert b"\r\nRetry-After: 1\r\n" in refused
    assert b"others wait, and " in refused
    assert b"send fewer at once, or try again" in refused
    assert all(each.startswith(b"HTTP/1.1 200 ") for each in answers)


def test_pictures_that_are_dear_together_are_handed_over(server: Server) -> None:
    """None is dear by its header, and none is late."""
    serving = at_rest(server)
    before = faults_of_children(serving)
    answer = server.exchange(inference(*[png(5000, 3700, 8, 0)] * 8))
    # its child has a low priority: on a busy machine it takes more than may be spent
    assert answer.startswith(b"HTTP/1.1 200 ") or b"others left " in answer
    wait_for(lambda: faults_of_children(serving) != before)


def test_what_turns_out_to_be_dear_while_it_is_decoded_is_handed_over(server: Server) -> None:
    """Its header says little, and it comes at once."""
    data = behind(repeated(EMPTY["dynamic"], 4_000_000), CHEAP)
    serving = at_rest(server)
    before = faults_of_children(serving)
    assert server.exchange(PLAIN % len(data) + data).startswith(b"HTTP/1.1 200 ")
    wait_for(lambda: faults_of_children(serving) != before)


HURRIED = """
import time
from imagerec_worker import offload, v2_views
taken = offload.take_turn
def take_turn():
    taken()
    v2_views.SPEND_S = 0.001  # in the child alone
offload.take_turn = take_turn
time.process_time = lambda: 0.0
"""


def test_whom_others_leave_too_little_of_the_processor_is_told_to_come_back(colours: Bundle, tmp_path: Path) -> None:
    """As if the child of a busy machine had had no time of the processor at all."""
    configuration = tmp_path / "gunicorn.conf.py"
    configuration.write_text(CONFIGURATION.read_text() + HURRIED)
    image_worker = "imagerec_worker.gunicorn_worker.ImageWorker"
    server = start_server(colours.path, image_worker, tmp_path, "--config", str(configuration))
    try:
        refused = server.exchange(inference(*[png(5000, 3700, 8, 0)] * 8))
    finally:
        stop_server(server)
    assert refused.startswith(b"HTTP/1.1 429 ")
    assert b"\r\nRetry-After: 1\r\n" in refused
    assert b" little of the processor; try again in 1 s" in refused


def test_many_pictures_are_answered_where_batches_leave_no_children(colours: Bundle, tmp_path: Path) -> None:
    batch_worker = "imagerec_worker.batch_worker.BatchWorker"
    options = ("--config", str(CONFIGURATION))
    server = start_server(colours.path, batch_worker, tmp_path, *options, IMAGEREC_BATCH_MAX="4")
    try:
        assert server.exchange(inference(*[DEAREST] * 2, CHEAP)).startswith(b"HTTP/1.1 200 ")
    finally:
        stop_server(server)


@pytest.mark.slow
@pytest.mark.parametrize("limit_s", [0, 300])
def test_who_waits_long_for_a_turn_is_told_when_to_come_back(monkeypatch: pytest.MonkeyPatch, limit_s: int) -> None:
    monkeypatch.setattr(offload, "TURN_S", 1)
    waits = offload.Offload(limit_s, list, Logger(Config()))
    waits._is_child = True
    has = "import fcntl, select, sys; fcntl.lockf(int(sys.argv[1]), fcntl.LOCK_EX); print(flush=True)"
    code = f"{has}; select.select([sys.stdin], [], [], 60)"
    pipe = subprocess.PIPE
    niced: list[int] = []
    with subprocess.Popen(
        [sys.executable, "-c", code, str(waits._turn)], pass_fds=[waits._turn], stdin=pipe, stdout=pipe
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        other.stdout.readline()
        signal.alarm(limit_s)
        try:
            monkeypatch.setattr(os, "nice", niced.append)  # it would stay
            with pytest.raises(BusyError, match="try again in 1 s"):
                waits.take_turn()
            assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
            left_s = signal.alarm(0)  # the time that a child may take goes on
            assert 200 < left_s < 300 if limit_s else left_s == 0
            other.stdin.close()
            other.wait()
            waits.take_turn()
            waited_s = waits.waited_s
        finally:
            signal.alarm(0)
            os.close(waits._turn)
    assert 0 < waited_s < 300
    waits.take_turn()  # it has it
    assert (waits.waited_s, niced) == (waited_s, [NICENESS] * 2)


WAITS = """
import fcntl, socket
from gunicorn.config import Config
from gunicorn.glogging import Logger
from imagerec_worker import offload
waits = offload.Offload(1, list, Logger(Config()))
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
