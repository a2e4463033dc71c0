"""Which peers are known, and what a user reads when one cannot be had."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from bench import __main__ as bench
from bench import processes
from bench.peers.known import PEERS, PLAIN_FLASK, PROCESSES, Peer, UnknownPeerError, chosen
from bench.systems import NotServingError, serving
from deployed.checkout import REPOSITORY

PHOTO = Path(bench.__file__).parents[1] / "loadtest/photo.jpg"


def test_peers_are_named_with_commas_in_any_order_and_each_once() -> None:
    assert [peer.name for peer in chosen("litserve, mosec,,litserve")] == ["litserve", "mosec"]
    assert chosen("") == []


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ("mosec,fastpai", "there is no peer fastpai; did you mean fastapi?"),
        ("MOSEC", "there is no peer MOSEC; did you mean mosec?"),
        ("zzz", "there is no peer zzz. PEERS takes gunicorn, mosec, fastapi, litserve, keras, with"),
    ],
    ids=["slip", "capital", "far from all"],
)
def test_an_unknown_peer_is_refused_with_the_nearest_known_name(names: str, says: str) -> None:
    with pytest.raises(UnknownPeerError) as refused:
        chosen(names)
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--peers", "litserv"], "did you mean litserve?"),
        (["--model", "imagnet"], "there is no model imagnet (did you mean imagenet?)"),
        (["--model", "./nowhere"], "nowhere"),
        (["--redraw", "./nowhere"], "nowhere holds no recorded run of make bench"),
    ],
    ids=["peer", "model", "bundle", "record"],
)
def test_bad_input_gets_one_line_and_starts_nothing(
    options: list[str], says: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    before = processes.tree(os.getpid())
    assert bench.main([*options, *(["--record", str(tmp_path / "out")] if "--redraw" not in options else [])]) == 1
    said = capsys.readouterr().err
    assert says in said
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert processes.tree(os.getpid()) == before
    assert not (tmp_path / "out").exists()


def test_every_peer_from_the_index_has_hashed_requirements_with_the_workers_versions() -> None:
    requirements = Path(bench.__file__).parents[3] / "requirements/peers"
    worker = Path(bench.__file__).parents[3] / "services/worker/requirements.txt"
    pins = {
        line.split(" ")[0] for line in worker.read_text().splitlines() if "==" in line and not line.startswith("pip==")
    }
    named = [peer for peer in PEERS.values() if peer.target.startswith(".venv-peers/")]
    assert {f"{peer.name}.txt" for peer in named} == {path.name for path in requirements.glob("*.txt")}
    for peer in named:
        text = (requirements / f"{peer.name}.txt").read_text()
        assert pins <= {line.split(" ")[0] for line in text.splitlines()}, peer.name
        assert text.count("==") <= text.count("--hash=sha256:")


def failing(program: str) -> Peer:
    return Peer("odd", "Odd", PLAIN_FLASK.forms, "", 1, lambda python, *_: [[str(python), "-c", program]], "odd")


def test_a_peer_that_does_not_start_is_told_with_its_last_words(tmp_path: Path) -> None:
    odd = failing("print('starting', flush=True); raise SystemExit('cannot load the network')")
    with (
        pytest.raises(NotServingError, match=r"^Odd at 127\.0\.0\.1:\d+ does not serve: cannot load the network$"),
        serving(odd, odd.forms[0], tmp_path, tmp_path, PHOTO),
    ):
        pass


def test_a_port_that_somebody_took_is_refused_and_nothing_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr("bench.systems.free_ports", lambda _: [port])
        odd = failing(f"open({str(tmp_path / 'started')!r}, 'w')")
        with (
            pytest.raises(NotServingError, match=rf"^127\.0\.0\.1:{port} is taken; end the program that listens there"),
            serving(odd, odd.forms[0], tmp_path, tmp_path, PHOTO),
        ):
            pass
    assert not (tmp_path / "started").exists()


def test_plain_flask_has_the_nginx_that_ours_has(tmp_path: Path) -> None:
    defaults = yaml.safe_load((REPOSITORY / "roles/balancer/defaults/main.yml").read_text())
    for peer, gunicorns in ((PLAIN_FLASK, PROCESSES), (PEERS["gunicorn"], 1)):
        commands = peer.commands(Path("python"), list(range(5000, 5000 + peer.ports)), tmp_path)
        workers = [int(words[words.index("--workers") + 1]) for words in commands[:-1]]
        assert workers == [PROCESSES // gunicorns] * gunicorns
        conf = (tmp_path / "nginx.conf").read_text()
        assert "worker_processes auto;" in conf
        assert f"client_body_buffer_size {defaults['balancer_body_buffer_bytes']};" in conf
        assert conf.count("server 127.0.0.1:") == gunicorns


@pytest.fixture
def child_of_a_thread() -> Iterator[subprocess.Popen[bytes]]:
    """A process that another thread than the first has started, as LitServe's are; it uses 0.1 s of a core."""
    program = "import sys, time\nwhile time.process_time() < 0.1: pass\nprint(flush=True); sys.stdin.read()"
    started: list[subprocess.Popen[bytes]] = []
    ended = threading.Event()

    def start() -> None:
        words = [sys.executable, "-c", program]
        started.append(subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        ended.wait()

    thread = threading.Thread(target=start)
    thread.start()
    while not started:
        pass
    (process,) = started
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.communicate()
    ended.set()
    thread.join()


def test_processes_of_every_thread_count(child_of_a_thread: subprocess.Popen[bytes]) -> None:
    pid = child_of_a_thread.pid
    assert pid in processes.tree(os.getpid())
    assert processes.cpu_s([pid]) >= 0.09  # ticks of 10 ms
    (size_mb,) = processes.memory_mb([pid])
    assert 1 < size_mb < 100
