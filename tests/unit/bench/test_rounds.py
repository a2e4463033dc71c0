"""The order of a round, a system that ends, answers that are wrong, a limit that ends."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bench import processes
from bench.inprocess import Limit, Ran
from bench.rounds import CLOSED, IN_PROCESS, LOADS, OPEN, Rounds, order
from bench.sender import CORES, Sent
from bench.systems import Served, Spent
from bench.trials import Load
from loadtest.errors import LoadtestError
from loadtest.generate.images import PHOTO
from loadtest.generate.samples import Sample
from tests.conftest import free_ports
from tests.unit.worker.conftest import write_colour_bundle


def test_every_system_comes_at_every_place_and_the_same_round_has_the_same_order() -> None:
    keys = ["a", "b", "c"]
    orders = [order(keys, number, load) for number in range(1, 201) for load in LOADS]
    assert orders == [order(keys, number, load) for number in range(1, 201) for load in LOADS]
    for place in range(3):
        counts = Counter(one[place] for one in orders)
        assert min(counts[key] for key in keys) > 270  # of 1000; 333 expected, deviation 15
    assert order(keys * 9, 1, CLOSED[0]) != order(keys * 9, 1, CLOSED[1])
    assert order(keys * 9, 1, OPEN[0]) != order(keys * 9, 2, OPEN[0])


class Known(Served):
    """A system that answers the same four times; it has ended where its one process has."""

    def run(
        self,
        photographs: Sequence[Path],  # noqa: ARG002
        load: Load,
        rate_hz: float,  # noqa: ARG002
        seconds: float,  # noqa: ARG002
        seed: int,
    ) -> tuple[Sent, Spent]:
        """Answer right, wrong, with another class first, and not at all."""
        if self.key == "ends" and (load, seed) == (CLOSED[1], 2):
            os.kill(self.roots[0], signal.SIGKILL)
            os.waitid(os.P_PID, self.roots[0], os.WEXITED | os.WNOWAIT)
        answers = [(200, "n1 n2"), (200, "n2 n1"), (200, None), (503, None)]
        samples = [
            Sample(
                number, 0.1 * number, 0.1 * number, 0.1 * number + 0.02, status, None, None, PHOTO.stem, answer=answer
            )
            for number, (status, answer) in enumerate(answers)
        ]
        return Sent(samples, 2.0, 0.2, 1.5), Spent(0.8, None)


class Still(Limit):
    """A limit that is known."""

    def __init__(self) -> None: ...

    def run(self, decoder: str, seconds: float) -> Ran:  # noqa: ARG002
        """Make 100 images a second."""
        return Ran(int(100 * seconds), seconds, seconds, 0.25)


@pytest.fixture
def idle() -> Iterator[subprocess.Popen[bytes]]:
    """A process that does nothing."""
    with subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process


def system(key: str, pid: int, decoder: str = "served") -> Known:
    return Known(key, f"the {key}", 1, "/", False, decoder, (pid,), Path(), "")


def test_a_system_that_ends_is_left_out_and_the_others_go_on(
    idle: subprocess.Popen[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    systems = [system("stays", os.getpid()), system("ends", idle.pid)]
    rounds = Rounds(Still(), systems, {"served": {PHOTO: "n1"}}, 1.0)
    found = [trial for number in (1, 2, 3) for trial in rounds.measure(number)]
    assert rounds.lost == {"ends": "round 2, closed-16"}
    assert Counter(trial.system for trial in found)["stays"] == 3 * len(LOADS)
    assert [(trial.number, trial.load) for trial in found if trial.system == "ends"] == [
        *((1, load.name) for load in LOADS),
        (2, "closed-4"),
    ]
    assert "the ends ended in round 2, closed-16; it is left out" in capsys.readouterr().err


def test_a_round_records_places_wrong_answers_and_what_others_used() -> None:
    rounds = Rounds(Still(), [system("a", os.getpid()), system("b", os.getpid(), "")], {"served": {PHOTO: "n1"}}, 1.0)
    found = rounds.measure(1)
    for load in CLOSED:
        keys = order([*IN_PROCESS, "a", "b"], 1, load)
        here = {trial.system.removeprefix("limit "): trial.position for trial in found if trial.load == load.name}
        assert here == {key: place for place, key in enumerate(keys, 1)}
    one = next(trial for trial in found if trial.system == "a")
    assert (one.images, one.wrong, one.failed) == (1, 2, 1)
    assert one.others_cores == pytest.approx(1.5 - (0.8 + 0.2) / 2.0)
    other = next(trial for trial in found if trial.system == "b")
    assert (other.images, other.wrong, other.failed) == (3, 0, 1)  # a network of its own
    assert {trial.others_cores for trial in found if trial.system.startswith("limit")} == {0.25}


def test_a_limit_counts_the_time_that_it_took_and_tells_where_it_ended(tmp_path: Path) -> None:
    bundle = write_colour_bundle(tmp_path / "colours")
    (tmp_path / "images").mkdir()
    (tmp_path / "images/photo.jpg").write_bytes(PHOTO.read_bytes())
    limit = Limit(bundle.path, tmp_path / "images")
    ran = limit.run("served", 0.001)
    assert ran.images >= len(limit._processes)
    assert ran.wall_s > 0.001  # the last image ends later
    assert ran.cpu_s > 0
    for process in limit._processes:
        process.kill()
        process.wait()
    with pytest.raises(LoadtestError, match="a process of the in-process limit ended"):
        limit.run("served", 0.001)
    limit.close()


def test_who_answers_nothing_or_something_else_is_refused() -> None:
    (port,) = free_ports(1)
    served = Served("a", "the a", port, "/", False, "served", (), Path(), "")
    with pytest.raises(LoadtestError, match=f"^the a gives no answer at http://127.0.0.1:{port}/ "):
        served.check({PHOTO: "n1"})


class Answers(BaseHTTPRequestHandler):
    """Answers every photograph with the server's words."""

    def do_POST(self) -> None:
        """Read the body and answer."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
        assert isinstance(self.server, Says)
        self.wfile.write(self.server.words)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Says(ThreadingHTTPServer):
    """A server that knows one answer."""

    words = b""


@pytest.fixture
def says() -> Iterator[Says]:
    """The server, on a free port."""
    with Says(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_an_answer_that_names_no_class_is_refused(says: Says) -> None:
    says.words = b'{"predictions": []}'
    served = Served("a", "the a", says.server_port, "/", False, "served", (), Path(), "")
    with pytest.raises(LoadtestError, match=r'^the a names no class: {"predictions": \[\]}$'):
        served.check({PHOTO: "n1"})


@pytest.mark.parametrize(("wnid", "right"), [("n1", True), ("n2", False)], ids=["right", "wrong"])
def test_what_the_generator_sent_is_compared_with_the_network(says: Says, wnid: str, right: bool) -> None:
    says.words = b'{"predictions": [{"wnid": "n1"}, {"wnid": "n2"}]}'
    served = Served("a", "the a", says.server_port, "/", False, "served", (os.getpid(),), Path(), "")
    trial = Rounds(Still(), [served], {"served": {PHOTO: wnid}}, 0.1)._served(served, CLOSED[0], 1, 1)
    assert len(trial.requests) > 0
    assert trial.failed == 0
    assert (trial.images, trial.wrong) == ((len(trial.requests), 0) if right else (0, len(trial.requests)))
    assert trial.others_cores <= CORES
    assert trial.nginx_cpu_s is None


def test_the_time_of_nginx_is_counted_apart_and_among_all(says: Says, tmp_path: Path) -> None:
    """A program of that name works as long as its input is open, and has worked before."""
    says.words = b'{"predictions": [{"wnid": "n1"}]}'
    shutil.copy("/bin/bash", tmp_path / "nginx")
    words = [
        tmp_path / "nginx",
        "-c",
        "for ((i = 0; i < 200000; i++)); do :; done; echo; until read -t 0; do :; done",
    ]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as nginx:
        assert nginx.stdout is not None
        nginx.stdout.readline()
        before_s = processes.cpu_s([nginx.pid])
        served = Served("a", "the a", says.server_port, "/", False, "served", (nginx.pid, os.getpid()), Path(), "")
        _, spent = served.run([PHOTO], CLOSED[0], 0.0, 0.1, 1)
        whole_s = processes.cpu_s([nginx.pid])
    assert spent.nginx_s is not None
    assert 0 < spent.nginx_s <= whole_s - before_s
    assert spent.all_s > spent.nginx_s
