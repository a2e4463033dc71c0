"""A worker that sleeps: it ends when nobody asks it, is started by a connection, and no request is lost by either."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from gunicorn.workers.sync import SyncWorker

from imagerec_worker import gunicorn_hooks, idleness
from imagerec_worker.bundle import Bundle
from imagerec_worker.gunicorn_worker import ImageWorker
from imagerec_worker.idleness import Idleness
from imagerec_worker.late_heads import LateHeads
from imagerec_worker.on_demand import ASLEEP, opened

CONFIGURATION = """
from imagerec_worker.gunicorn_hooks import child_exit, on_exit, on_starting
from imagerec_worker.idleness import begin

begin(0.4)
bind = "127.0.0.1:{port}"
workers = 2
control_socket_disable = True
worker_class = "imagerec_worker.gunicorn_worker.ImageWorker"
"""


@contextlib.contextmanager
def sleeper(folder: Path, port: int, bundle: Bundle) -> Iterator[subprocess.Popen[str]]:
    """As the deployment starts it where nobody else holds the listener."""
    (folder / "gunicorn.conf.py").write_text(CONFIGURATION.format(port=port))
    gunicorn = [
        sys.executable,
        "-m",
        "gunicorn",
        "--config",
        str(folder / "gunicorn.conf.py"),
        "imagerec_worker.wsgi:app",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "imagerec_worker.on_demand", "127.0.0.1", str(port), "64", *gunicorn],
        env=os.environ | {"IMAGEREC_BUNDLE": str(bundle.path)},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=60)


def listens(port: int) -> bool:
    return f":{port:04X} 00000000:0000 0A" in Path("/proc/net/tcp").read_text()


def test_it_starts_by_a_connection_and_ends_when_nobody_asks(colours: Bundle, tmp_path: Path, unused_port: int) -> None:
    with sleeper(tmp_path, unused_port, colours) as process:
        deadline = time.monotonic() + 60
        while not listens(unused_port):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert "on_demand" in Path(f"/proc/{process.pid}/cmdline").read_text()
        with urllib.request.urlopen(f"http://127.0.0.1:{unused_port}/readyz", timeout=60) as answer:
            assert answer.status == 200
        assert "on_demand" not in Path(f"/proc/{process.pid}/cmdline").read_text()
        output = process.communicate(timeout=60)[0]
    assert process.returncode == ASLEEP
    assert "Nobody has asked for 0.4 s: asleep until the next connection." in output


def test_who_has_the_listener_already_starts_it_at_once(tmp_path: Path) -> None:
    """systemd gives the listener, and the number of the process that it is for."""
    words = f"{sys.executable} -m imagerec_worker.on_demand nowhere.invalid 1 1 /bin/echo it runs"
    done = subprocess.run(
        ["/bin/sh", "-c", f"LISTEN_PID=$$ LISTEN_FDS=1 exec {words}"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stdout) == (0, "it runs\n")


def test_an_address_that_cannot_be_had_is_said(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "imagerec_worker.on_demand", "192.0.2.1", "5000", "1", "/bin/true"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: 192.0.2.1:5000 cannot be listened at: ")


@pytest.mark.parametrize("asked", [True, False])
def test_who_asks_at_the_last_moment_is_heard(monkeypatch: pytest.MonkeyPatch, asked: bool) -> None:
    """The owner is told once; a connection that comes meanwhile says that it did not end for want of any."""
    told: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, _number: told.append(pid))
    idleness = Idleness(0.0)
    idleness.end_if_long(17)
    idleness.end_if_long(17)
    assert told == [17]
    assert idleness.ended
    if asked:
        idleness.asked()
        assert not idleness.ended


def test_nobody_is_told_to_end_before_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, _number: told.append(pid))
    patient = Idleness(3600.0)
    patient.end_if_long(17)
    assert (told, patient.ended) == ([], False)


def test_only_who_ends_since_nobody_asked_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number is that of the units, by which systemd and supervisor know that it is no failure."""
    monkeypatch.setattr(os, "kill", lambda *_: None)
    monkeypatch.setattr(idleness._Shared, "idleness", None)
    server = SimpleNamespace(log=logging.getLogger("gunicorn"))
    gunicorn_hooks.on_exit(server)
    idleness.begin(0.0)
    gunicorn_hooks.on_exit(server)
    found = idleness.shared()
    assert found is not None
    found.end_if_long(17)
    with pytest.raises(SystemExit) as ended:
        gunicorn_hooks.on_exit(server)
    assert ended.value.code == 77


def test_a_process_looks_often_enough_whether_anybody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a worker falls asleep a quarter of the time late at most."""
    worker, waits = ImageWorker.__new__(ImageWorker), list[float]()
    worker.sockets, worker.PIPE, worker._late, worker.ppid = [], [0], LateHeads(60), 17
    monkeypatch.setattr(SyncWorker, "wait", lambda _, timeout: waits.append(timeout))
    for worker._idleness in (None, Idleness(3600.0), Idleness(20.0)):
        worker.wait(15.0)
    assert waits == [15.0, 15.0, 5.0]


def test_a_listener_of_every_address_takes_ipv4_too(unused_port: int) -> None:
    with opened("::", unused_port, 1) as listener:
        assert listener.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 0
        socket.create_connection(("127.0.0.1", unused_port), timeout=60).close()
