"""Levels of an experiment that hold a real autoscaler, and what is refused where there is none."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ansible.plays import play
from tests.conftest import REPOSITORY


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """With an application whose interpreter runs the checkout's code; its name is short, since a socket lies in it."""
    with tempfile.TemporaryDirectory(prefix="imagerec-awake-") as made:
        program = Path(made) / "app/current/venv/bin/python"
        program.parent.mkdir(parents=True)
        source = shlex.quote(str(REPOSITORY / "services/autoscaler/src"))
        program.write_text(f'#!/bin/sh\nPYTHONPATH={source} exec {shlex.quote(sys.executable)} "$@"\n')
        program.chmod(0o755)
        yield Path(made)


def inventory(folder: Path) -> str:
    """Write the inventory of a balancer whose autoscaler runs in the folder; return its path."""
    own = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "autoscaler_minimum": "2",
        "autoscaler_maximum": 3,
        "folder": str(folder),
        "run_dir": str(folder),
    }
    groups = {"balancers": {"hosts": {"balancer": own}}, "workers": {}, "clients": {}}
    (folder / "hosts.json").write_text(json.dumps(groups))
    return str(folder / "hosts.json")


def told(path: Path) -> tuple[int, int]:
    """What an autoscaler keeps to, minimum and maximum."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(str(path))
        connection.sendall(b"GET /autoscaler HTTP/1.0\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    said = json.loads(answer.partition(b"\r\n\r\n")[2])
    return said["minimum"], said["maximum"]


def has_process(number: int) -> bool:
    """Whether a process runs; one that nobody has asked how it ended does not."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.mark.slow
def test_a_run_that_ends_without_a_word_holds_no_autoscaler(folder: Path) -> None:
    done = play(
        "awake", {"steps": [{"awake": "deployed"}, {"awake": "all"}], "keep": True}, inventory=inventory(folder)
    )
    try:
        assert done.returncode == 0, done.stdout
        assert told(folder / "run/autoscaler.sock") == (3, 3)
        deadline = time.monotonic() + 120
        while told(folder / "run/autoscaler.sock") != (2, 3):
            assert time.monotonic() < deadline
            time.sleep(0.5)
    finally:
        supervisord = int((folder / "supervisor/supervisord.pid").read_text())
        os.kill(supervisord, signal.SIGTERM)
        deadline = time.monotonic() + 60
        while has_process(supervisord):
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.mark.slow
def test_an_autoscaler_is_held_at_its_least_at_all_and_decides_again(folder: Path) -> None:
    """Also after a level under whose load answers took longer than the objective, and after one that failed halfway."""
    steps = [
        {"awake": "deployed"},
        {"awake": "least"},
        {"awake": "all", "measured_s": 0.3},
        {"awake": "all", "pool_size": 2},
        {"awake": "all", "pool_size": 2},
        {"awake": "auto", "utilisation": 2},
        {"awake": "auto"},
        {"awake": "deployed", "measured_s": 0},
        {"awake": "least", "wanted": False},
    ]
    done = play("awake", {"steps": steps}, inventory=inventory(folder))
    assert done.returncode == 0, done.stdout
    said = [json.loads((folder / f"said-{number}.json").read_text()) for number in range(len(steps))]
    assert [(each["minimum"], each["maximum"]) for each in said] == [
        (2, 3),
        (2, 2),
        (3, 3),
        (2, 2),
        (2, 2),
        (2, 2),
        (2, 3),
        (2, 3),
        (2, 3),
    ]
    began = [each["began"] for each in said]
    assert began[3] == began[4], "levels that want the same leave it running"
    assert began[5] == began[4], "one that cannot work changes nothing"
    assert began[6] == began[7], "a deployment has nothing to do afterwards"
    assert began[8] == began[7], "without an autoscaler there is nothing to hold"
    assert len(set(began)) == 5
