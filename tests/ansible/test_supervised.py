"""A supervised program in a folder with an awkward name, with its supervisord alive and killed."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
import yaml

from tests.conftest import AWKWARD, REPOSITORY, free_ports


@dataclass
class Program:
    """A small web server, kept alive by supervisor in a folder."""

    folder: Path
    port: int

    def play(self, step: str, code: str = "", **more: object) -> subprocess.CompletedProcess[str]:
        extra = {"folder": str(self.folder), "small_port": str(self.port), "step": step, "code": code, **more}
        return subprocess.run(
            ["ansible-playbook", "-i", "localhost,", "tests/ansible/supervise.yml", "-e", json.dumps(extra)],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
        )

    def processes(self) -> dict[int, bytes]:
        """Every process that was started from the folder."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(self.folder).encode() in line and b"ansible" not in line:
                found[int(entry.name)] = line
        return found

    @property
    def socket_folder(self) -> Path:
        """Where supervisor's socket is, since the folder's own path is too long."""
        digest = hashlib.sha256(f"{self.folder}/supervisor".encode()).hexdigest()
        return Path(f"/tmp/imagerec-supervisor-{digest[:16]}")

    def kill_supervisor(self) -> None:
        (pid,) = (pid for pid, line in self.processes().items() if b"supervisord" in line)
        os.kill(pid, signal.SIGKILL)
        while pid in self.processes():
            time.sleep(0.05)

    def answers(self) -> bool:
        try:
            return requests.get(f"http://127.0.0.1:{self.port}/", timeout=5).status_code == 200
        except requests.ConnectionError:
            return False


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    folder = tmp_path / AWKWARD
    folder.mkdir()
    (folder / "logrotate.conf").write_text(f'"{folder}/own.log" {{\n    size 1k\n    rotate 1\n}}\n')
    small = Program(folder, *free_ports(1))
    yield small
    for pid in small.processes():
        os.kill(pid, signal.SIGKILL)


def test_what_supervisor_started_is_ended_also_without_it(program: Program) -> None:
    done = program.play("main")
    assert done.returncode == 0, done.stdout[-3000:]
    assert program.answers()
    assert program.socket_folder.is_dir()
    (served_by,) = (pid for pid, line in program.processes().items() if b"http.server" in line)

    program.kill_supervisor()
    assert served_by in program.processes()
    # Its port is not a stranger's, and the next run takes its place.
    assert program.play("preflight").returncode == 0
    done = program.play("main")
    assert done.returncode == 0, done.stdout[-3000:]
    assert program.answers()
    assert served_by not in program.processes()

    program.kill_supervisor()
    done = program.play("absent")
    assert done.returncode == 0, done.stdout[-3000:]
    assert program.processes() == {}
    assert not program.answers()
    assert not program.socket_folder.exists()


def test_supervisor_has_the_logs_rotated(program: Program) -> None:
    log = program.folder / "own.log"
    log.write_text("x" * 2000)
    assert program.play("main").returncode == 0
    while not log.with_suffix(".log.1").exists():  # the runner of the tests has a limit
        time.sleep(0.1)
    assert not log.exists()
    assert "changed=0" in program.play("main").stdout
    assert program.play("absent").returncode == 0
    assert program.processes() == {}
    assert list((program.folder / "supervisor").glob("conf.d/*")) == []


def test_a_program_whose_code_has_changed_is_started_anew(program: Program) -> None:
    """Its reload signal would leave the first process with the code that it has read."""

    def master() -> int:
        (pid,) = (pid for pid, line in program.processes().items() if b"http.server" in line)
        return pid

    assert program.play("main", code="a").returncode == 0
    before = master()
    again = program.play("main", code="a")
    assert "changed=0" in again.stdout
    assert master() == before
    done = program.play("main", code="b")
    assert done.returncode == 0, done.stdout[-3000:]
    assert "Start the program anew" in done.stdout
    assert master() != before
    assert program.answers()
    assert program.play("absent").returncode == 0


def test_it_is_foretold_whether_processes_will_be_replaced(program: Program) -> None:
    """A deployment takes a worker out of the pool first only where this says so."""

    def foretold(code: str = "a", **more: object) -> bool:
        said = program.play("foretell", code, **more)
        assert said.returncode == 0, said.stdout[-3000:]
        (word,) = re.findall(r"replaces: (True|False)", said.stdout)
        return bool(word == "True")

    assert not foretold(), "nothing runs yet"
    assert program.play("main", code="a").returncode == 0
    assert not foretold()
    assert foretold("b")
    assert foretold(content="of another kind")
    # supervisor starts a program anew whose own configuration has changed.
    assert foretold(small_port=program.port + 1)
    assert program.play("absent").returncode == 0


def test_a_program_that_listens_nowhere_is_started_anew(program: Program) -> None:
    assert program.play("main", code="a").returncode == 0
    done = program.play("main", code="b", listens=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "Start the program anew" in done.stdout
    assert program.play("absent").returncode == 0


def test_a_port_that_the_service_has_itself_is_free_for_it() -> None:
    """nginx opens a new port itself on a reload, before systemd's socket has it."""
    code = yaml.safe_load((REPOSITORY / "roles/service/vars/main.yml").read_text())["__service_port_try"]

    def try_it(port: int, own: int) -> int:
        return subprocess.run(
            [sys.executable, "-c", code, "127.0.0.1", str(port), str(own)], capture_output=True, check=False
        ).returncode

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert try_it(port, os.getpid()) == 0
        assert try_it(port, os.getppid()) != 0
        assert try_it(port, 0) != 0
    assert try_it(port, 0) == 0


def test_a_name_is_refused_where_systemd_opens_the_socket(program: Program) -> None:
    done = program.play("preflight", service_provider="systemd", address="localhost")
    assert done.returncode != 0
    said = " ".join(done.stdout.split())
    assert f"localhost:{program.port} of port is a name, and systemd listens on addresses alone" in said, said


def test_a_place_of_the_socket_that_somebody_else_has_taken_is_refused(program: Program) -> None:
    program.socket_folder.symlink_to(program.folder)
    try:
        done = program.play("main")
    finally:
        program.socket_folder.unlink()
    assert done.returncode != 0
    said = " ".join(done.stdout.split())
    assert f"{program.socket_folder} belongs to another user or is no folder; remove it" in said, said
    assert "or is no folder; remove it, then run this again" in said, said
