"""One deployment at a time: who comes second is told who came first, and a killed run leaves nothing."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from playbooks.lock.holder import ask
from tests.ansible.plays import briefly
from tests.conftest import REPOSITORY

Run = subprocess.Popen[str]


class Site:
    """The hosts of the local inventory in a folder of their own, of which nothing is deployed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.note = folder / "note"
        self.runs: list[Run] = []

    def start(self, seconds: float | str) -> Run:
        """Start a run that takes the lock and keeps it for so long."""
        extra = {"run_dir": str(self.folder / ".run"), "note": str(self.note), "seconds": seconds}
        command = ["ansible-playbook", "tests/ansible/lock.yml", "-e", json.dumps(extra)]
        run = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.runs.append(run)
        return run

    def notes(self) -> list[str]:
        """What the runs that had the lock have noted."""
        return self.note.read_text().split() if self.note.exists() else []

    def wait_for(self, *notes: str) -> None:
        """Wait until so much is noted."""
        deadline = time.monotonic() + 60
        while self.notes() != list(notes):
            assert time.monotonic() < deadline, self.notes()
            time.sleep(0.05)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    for run in made.runs:
        run.kill()
        run.wait()
        assert run.stdout is not None
        run.stdout.close()


@pytest.mark.slow
def test_of_runs_that_come_at_once_never_two_pass(site: Site) -> None:
    runs = [site.start(1) for _ in range(4)]
    said = [run.communicate()[0] for run in runs]
    passed = [run for run in runs if run.returncode == 0]
    assert passed, said
    assert site.notes() == ["in", "out"] * len(passed)


@pytest.mark.slow
def test_the_second_is_told_who_came_first_and_what_to_do(site: Site) -> None:
    first = site.start(60)
    site.wait_for("in")
    second = site.start(0)
    said = " ".join(second.communicate()[0].split())
    assert second.returncode != 0
    assert re.search(
        r"balancer is in the hands of another run: \S+ on \S+ has run lock.yml since 20\S+ [\d:+-]+ "
        rf"\(process {first.pid}\); wait until it has ended, or end it, then run this again",
        said,
    ), said
    assert site.notes() == ["in"]
    # Another deployment on the same machine is none of its business.
    other = Site(site.folder / "other")
    other.folder.mkdir()
    elsewhere = other.start(0)
    assert elsewhere.wait() == 0, elsewhere.communicate()
    elsewhere.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_killed_run_leaves_no_lock_once_its_last_task_has_ended(site: Site, number: signal.Signals) -> None:
    first = site.start(4)
    site.wait_for("in")
    os.kill(first.pid, number)
    first.wait()
    second = site.start(0)
    said, _ = second.communicate()
    assert second.returncode == 0, said
    # A task that was not ended with its run ends before the next run begins.
    assert site.notes() in (["in", "out", "in", "out"], ["in", "in", "out"])
    if number == signal.SIGKILL:
        assert site.notes() == ["in", "out", "in", "out"]


def test_a_run_that_fails_leaves_no_lock(site: Site) -> None:
    first = site.start("0; exit 3")
    first.communicate()
    assert first.returncode != 0
    assert site.start(0).wait() == 0
    assert site.notes() == ["in", "in", "out"]


@pytest.mark.parametrize("limit", ["balancer", "!worker1", "all"])
def test_a_run_for_some_of_the_hosts_is_refused(site: Site, limit: str) -> None:
    """It would leave a pool half old and half new, and leaves out all that begins on the controller."""
    extra = json.dumps({"run_dir": str(site.folder / ".run"), "note": str(site.note), "seconds": 0})
    refused = briefly("tests/ansible/lock.yml", "-e", extra, "--limit", limit)
    assert refused.returncode != 0
    assert refused.stderr.count(f"--limit {limit} leaves out hosts, or at least what is done on the controller;") == 1
    assert not site.note.exists()


def test_what_a_login_shell_prints_is_no_answer_of_the_holder(tmp_path: Path) -> None:
    folder = REPOSITORY / "playbooks/lock"
    size = (folder / "holder.py").stat().st_size
    holder = f"import sys; exec(sys.stdin.buffer.read({size}))"
    shell = 'echo "Welcome to this machine"; echo; exec "$0" "$@"'
    command = ["sh", "-c", shell, sys.executable, "-c", holder, f"{tmp_path}"[-60:], "{}"]
    with subprocess.Popen(["sleep", "60"]) as run:
        kept = subprocess.Popen(
            [sys.executable, str(folder / "keeper.py"), str(run.pid), *command], stdout=subprocess.PIPE
        )
        assert kept.stdout is not None
        assert json.loads(kept.stdout.readline() or b"{}") == {"held_by": {}}
        run.kill()
    assert kept.wait() == 0
    kept.stdout.close()


@pytest.mark.parametrize("own", [True, False], ids=["its own holder", "another run"])
def test_a_channel_that_breaks_ends_a_run_only_where_another_has_the_lock(tmp_path: Path, own: bool) -> None:
    """The host may learn 30 s later that a channel has ended; until then the run's old holder has the lock."""
    folder, name = REPOSITORY / "playbooks/lock", f"{tmp_path}"[-60:]
    asked, broken = tmp_path / "asked", tmp_path / "broken"
    read = f"import sys; exec(sys.stdin.buffer.read({(folder / 'holder.py').stat().st_size}))"
    # The first channel has the lock and breaks; each later one asks for it.
    channel = (
        f"""test -e {broken} && {{ echo >> {asked}; exec "$0" "$@"; }}; touch {broken}; echo '{{"held_by": {{}}}}'"""
    )
    with subprocess.Popen(["sleep", "60"]) as run:
        who = json.dumps({"controller": socket.gethostname(), "pid": run.pid if own else run.pid + 1})
        holding = [sys.executable, str(folder / "holder.py"), name, who]
        keeping = [sys.executable, str(folder / "keeper.py"), str(run.pid), "sh", "-c", channel]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(holding, **pipes) as before:
            assert before.stdout.readline()
            kept = subprocess.Popen([*keeping, sys.executable, "-c", read, name, who])
            if own:
                while not asked.exists() or asked.stat().st_size < 2:
                    assert run.poll() is None
                    time.sleep(0.05)
            else:
                assert run.wait() == -signal.SIGTERM
        if own:
            while ask(f"\0imagerec-deployment-{name}") is None:
                assert run.poll() is None
                time.sleep(0.05)
            run.kill()
        assert kept.wait() == 0


# Stands for ssh: what it is given to run, it runs here, unless that is to be refused.
SSH = """#!/bin/sh
for last; do :; done
case "$last" in {refused}) echo "no way in" >&2; exit 255;; esac
exec sh -c "$last"
"""


@pytest.mark.parametrize(
    ("refused", "more", "reason"),
    [
        pytest.param("exec*stdin.buffer*", "", "far can be reached, but not locked", id="reached-but-not-locked"),
        pytest.param("*", "", "", id="out-of-reach"),
        pytest.param("-", "ansible_password=secret", "reached with a password cannot be locked", id="password"),
    ],
)
def test_only_a_host_that_is_out_of_reach_is_left_unlocked(
    tmp_path: Path, refused: str, more: str, reason: str
) -> None:
    ssh = tmp_path / "ssh"
    ssh.write_text(SSH.format(refused=refused))
    ssh.chmod(0o755)
    (tmp_path / "hosts").write_text(
        f"[balancers]\nfar ansible_connection=ssh ansible_host=127.0.0.1 ansible_port=1 ansible_ssh_executable={ssh} "
        f"run_dir={tmp_path} ansible_python_interpreter={sys.executable} {more}\n[workers]\n[clients]\n"
    )
    extra = json.dumps({"note": str(tmp_path / "note"), "seconds": 0})
    done = briefly("-i", tmp_path / "hosts", "tests/ansible/lock.yml", "-e", extra)
    assert done.returncode != 0
    assert reason in done.stderr, done.stderr
    assert not (tmp_path / "note").exists()
    if not reason:
        assert "not locked" not in done.stderr
