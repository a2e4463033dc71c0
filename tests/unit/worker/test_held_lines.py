"""Lines that are held for a moment: whole, together, each once, and none lost where a process ends in order."""

from __future__ import annotations

import json
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imagerec_worker.bundle import Bundle
from tests.unit.worker.conftest import Server, start_server, stop_server

PUT = "import os, signal, sys\nfrom imagerec_worker.held_lines import put\n"


def written(code: str) -> list[str]:
    """Run a program and return each write to its standard error stream; there is a packet for each."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        with subprocess.Popen([sys.executable, "-c", PUT + code], stderr=theirs) as process:
            process.wait(timeout=60)
        theirs.close()
        packets = []
        while packet := ours.recv(1 << 20):
            packets.append(packet.decode())
        return packets


def test_lines_are_written_together_in_order_and_never_more_than_a_pipe_takes_whole() -> None:
    lines = [f"{number:0300}\n" for number in range(30)]
    packets = written("for number in range(30): put(f'{number:0300}\\n', at_once=False)")
    assert "".join(packets) == "".join(lines)
    assert all(packet.endswith("\n") and len(packet) <= select.PIPE_BUF for packet in packets)
    assert len(packets) < len(lines)


def test_a_line_longer_than_that_is_written_by_itself() -> None:
    packets = written("for length in (10, 9000, 10): put('x' * length + '\\n', at_once=False)")
    assert [len(packet) for packet in packets] == [11, 9001, 11]


def test_an_urgent_line_takes_along_what_was_held() -> None:
    killed = "os.kill(os.getpid(), signal.SIGKILL)"
    packets = written(f"put('first\\n', at_once=False); put('urgent\\n', at_once=True); {killed}")
    assert "".join(packets) == "first\nurgent\n"


def test_what_is_held_is_written_without_a_further_line() -> None:
    waiting = [sys.executable, "-c", PUT + "put('only\\n', at_once=False); sys.stdin.read()"]
    process = subprocess.Popen(waiting, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert select.select([process.stderr], [], [], 60)[0]
    assert process.stderr.readline() == "only\n"
    process.communicate(timeout=60)


def test_a_process_that_forks_writes_each_line_once() -> None:
    packets = written(
        "put('before\\n', at_once=False)\n"
        "child = os.fork()\n"
        "put('after\\n' if child else 'child\\n', at_once=False)\n"
        "if child: os.waitpid(child, 0)\n"
    )
    assert sorted("".join(packets).splitlines()) == ["after", "before", "child"]


def ended_by_master(server: Server) -> None:
    stop_server(server)


def ended_at_once(server: Server) -> None:
    server.process.send_signal(signal.SIGQUIT)
    server.process.wait(timeout=60)


def replaced_by_reload(server: Server) -> None:
    replaced(server, lambda: server.process.send_signal(signal.SIGHUP))


def replaced_for_silence(server: Server) -> None:
    """As gunicorn ends a process that gives no sign of life."""
    replaced(server, lambda: subprocess.run(["kill", "-ABRT", str(server.worker_pid())], check=True))


def replaced(server: Server, how: Callable[[], object]) -> None:
    pid = server.worker_pid()
    how()
    deadline = time.monotonic() + 60
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.slow
@pytest.mark.parametrize("end", [ended_by_master, ended_at_once, replaced_by_reload, replaced_for_silence])
def test_a_process_that_ends_in_order_has_written_each_request(
    colours: Bundle, tmp_path: Path, end: Callable[[Server], None]
) -> None:
    server = start_server(colours.path, "imagerec_worker.gunicorn_worker.ImageWorker", tmp_path)
    try:
        ids = [f"r{number}" for number in range(5)]
        for identity in ids:
            assert server.ask("GET", "/version", headers={"X-Request-Id": identity}).status == 200
        end(server)
        text = (tmp_path / "gunicorn.log").read_text()
    finally:
        if server.process.poll() is None:
            stop_server(server)
    lines: list[Any] = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    assert [line["id"] for line in lines] == ids


def test_a_log_that_takes_nothing_ends_no_request() -> None:
    """As where the disk is full."""
    code = PUT + "put('lost\\n', at_once=True); print('it goes on')"
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([sys.executable, "-c", code], stderr=full, stdout=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "it goes on\n")
