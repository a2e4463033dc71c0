"""A supervised program in a folder with an awkward name, with its supervisord alive and killed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.ansible.plays import play
from tests.conftest import AWKWARD, REPOSITORY, free_ports


@dataclass
class Program:
    """A small web server, kept alive by supervisor in a folder."""

    folder: Path
    port: int

    def play(self, *steps: str | dict[str, Any]) -> subprocess.CompletedProcess[str]:
        """Do these steps in one run, each a word, or a dict where it differs from the usual."""
        wanted = [step if isinstance(step, dict) else {"do": step} for step in steps]
        return play("supervise", {"folder": str(self.folder), "port": self.port, "steps": wanted})

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

    def master(self) -> int:
        """The process that serves."""
        (pid,) = (pid for pid, line in self.processes().items() if b"http.server" in line)
        return pid

    def answers(self) -> bool:
        try:
            return requests.get(f"http://127.0.0.1:{self.port}/", timeout=60).status_code == 200
        except requests.ConnectionError:
            return False


def made(folder: Path) -> Iterator[Program]:
    (folder / AWKWARD).mkdir()
    folder /= AWKWARD
    (folder / "logrotate.conf").write_text(f'"{folder}/own.log" {{\n    size 1k\n    rotate 1\n}}\n')
    small = Program(folder, *free_ports(1))
    try:
        yield small
    finally:
        while left := small.processes():  # supervisord may start another one before it is killed itself
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    """A program that does not run."""
    yield from made(tmp_path)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Program, str]]:
    """A program that runs, with the code "a"; and what Ansible said, which was asked before what it would do."""
    for small in made(tmp_path_factory.mktemp("supervised")):
        done = small.play("foretell", main("a"))
        assert done.returncode == 0, done.stdout[-3000:]
        yield small, done.stdout


@pytest.fixture
def runs(started: tuple[Program, str]) -> Program:
    """The program that all tests share; each but the last leaves one that runs."""
    assert started[0].answers()
    return started[0]


def main(code: str, **more: object) -> dict[str, Any]:
    """The step that has the program run with this code."""
    return {"do": "main", "code": code, **more}


def foretold(said: str) -> list[bool]:
    """Whether processes will be replaced, as each step `foretell` said."""
    return [word == "True" for word in re.findall(r"replaces: (True|False)", said)]


@pytest.mark.slow
def test_before_anything_runs_nothing_will_be_replaced(started: tuple[Program, str]) -> None:
    assert foretold(started[1]) == [False]


def test_a_second_run_changes_nothing_and_supervisor_has_the_logs_rotated(runs: Program) -> None:
    log = runs.folder / "own.log"
    log.write_text("x" * 2000)
    before = runs.master()
    while not log.with_suffix(".log.1").exists():  # the runner of the tests has a limit
        time.sleep(0.1)
    assert not log.exists()
    again = runs.play(main("a"))
    assert "changed=0" in again.stdout
    assert runs.master() == before


@pytest.mark.slow
def test_it_is_foretold_whether_processes_will_be_replaced(runs: Program) -> None:
    """A deployment takes a worker out of the pool first only where this says so."""
    changes: list[dict[str, object]] = [
        {"code": "a"},
        {"code": "b"},
        {"code": "a", "content": "of another kind"},
        # supervisor starts a program anew whose own configuration has changed.
        {"code": "a", "port": runs.port + 1},
        # How long its end may take is no reason.
        {"code": "a", "stop_timeout_s": 60},
    ]
    said = runs.play(*({"do": "foretell"} | change for change in changes))
    assert said.returncode == 0, said.stdout[-3000:]
    assert foretold(said.stdout) == [False, True, True, True, False]


@pytest.mark.slow
@pytest.mark.parametrize("change", [{"code": "b"}, {"code": "c", "listens": False}], ids=["listens", "listens nowhere"])
def test_a_program_whose_code_has_changed_is_started_anew(runs: Program, change: dict[str, Any]) -> None:
    """Its reload signal would leave the first process with the code that it has read."""
    before = runs.master()
    done = runs.play({"do": "main"} | change)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "Start the program anew" in done.stdout
    assert runs.master() != before
    assert runs.answers()


@pytest.mark.slow
def test_a_reload_by_a_command_leaves_the_process_and_a_failure_is_told(runs: Program) -> None:
    def reload(settings: str, command: str) -> dict[str, Any]:
        return main("r", settings=settings, reload_command=["/bin/sh", "-c", command, str(runs.folder / "told")])

    done = runs.play(main("r"))
    assert done.returncode == 0, done.stdout[-3000:]
    before = runs.master()
    done = runs.play(reload("1", 'echo told > "$0"'), reload("2", "echo it cannot >&2; exit 1"))
    assert (runs.folder / "told").read_text() == "told\n"
    assert runs.master() == before
    assert done.returncode != 0
    assert "small is not reloaded: it cannot" in done.stdout


@pytest.mark.slow
def test_what_supervisor_started_is_ended_also_without_it(runs: Program) -> None:
    assert runs.socket_folder.is_dir()
    served_by = runs.master()
    files = [runs.folder / "supervisor" / name for name in ("supervisord.conf", "conf.d/small.conf")]
    texts = [file.read_text() for file in files]

    runs.kill_supervisor()
    assert served_by in runs.processes()
    files[0].write_text("")
    files[1].chmod(0o600)
    # Its port is not a stranger's, and the next run takes its place.
    done = runs.play("preflight", main("c"))
    assert done.returncode == 0, done.stdout[-3000:]
    assert runs.answers()
    assert served_by not in runs.processes()
    # What somebody has done to supervisor's files is mended.
    assert [file.read_text() for file in files] == texts
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o644}

    # Nor does it serve on where its command is another one now.
    served_by = runs.master()
    runs.kill_supervisor()
    other = [
        sys.executable,
        "-m",
        "http.server",
        f"{runs.port}",
        "--bind",
        "127.0.0.1",
        "--directory",
        f"{runs.folder}",
    ]
    done = runs.play(main("c", command=other))
    assert done.returncode == 0, done.stdout[-3000:]
    assert served_by not in runs.processes()
    assert runs.answers()

    for is_killed in (False, True):
        if is_killed:
            done = runs.play(main("c"))
            assert done.returncode == 0, done.stdout[-3000:]
            runs.kill_supervisor()
        done = runs.play("absent")
        assert done.returncode == 0, done.stdout[-3000:]
        assert runs.processes() == {}
        assert not runs.answers()
        assert not runs.socket_folder.exists()
        assert list((runs.folder / "supervisor").glob("conf.d/*")) == []


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
    done = program.play({"do": "preflight", "provider": "systemd", "address": "localhost"})
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
