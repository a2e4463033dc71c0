"""What is read from /proc about real processes."""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import processes

_MB = 1_000_000


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
    assert processes.alive(pid)
    assert processes.program([os.getpid()], Path(sys.executable).resolve().name) == os.getpid()
    assert processes.program([pid], "nginx") is None


def running(program: str, *words: str) -> subprocess.Popen[bytes]:
    """A Python that says when it has done what it was started for, and ends with its input."""
    lines = ("import mmap, os, subprocess, sys, time", program, "print(flush=True)", "sys.stdin.read()")
    command = [sys.executable, "-c", "\n".join(lines), *words]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_a_child_that_ended_stays_counted() -> None:
    burn = "import time\nwhile time.process_time() < 0.2: pass"
    process = running("subprocess.run([sys.executable, '-S', '-c', sys.argv[1]])", burn)
    assert processes.tree(process.pid) == [process.pid]
    assert processes.cpu_s([process.pid]) > 0.15  # the kernel counts in hundredths, of two kinds of time
    process.communicate()


def test_a_process_that_ends_while_it_is_looked_at_is_no_error() -> None:
    """Some hundred processes end meanwhile, each in its own moment of the look."""
    newest, over = os.getpid(), threading.Event()

    def start() -> None:
        nonlocal newest
        while not over.is_set():
            newest = os.posix_spawn("/bin/true", ["true"], {})
            os.waitpid(newest, 0)

    thread = threading.Thread(target=start)
    thread.start()
    try:
        for _ in range(4000):
            pid = newest
            assert processes.tree(pid)[0] == pid
            assert processes.exact_cpu_ms(pid) >= 0
    finally:
        over.set()
        thread.join()


def test_a_process_that_nobody_waited_for_is_not_alive() -> None:
    process = running("")
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not processes.alive(process.pid)
    process.communicate()
    assert not processes.alive(process.pid)


def test_memory_that_processes_share_counts_once_and_their_own_each_time(tmp_path: Path) -> None:
    (tmp_path / "shared").write_bytes(bytes(40 * _MB))
    program = """
with open(sys.argv[1], "rb") as file:
    shared = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
child = os.fork()
own = os.urandom(20_000_000)
sum(shared[::4096])
if child == 0:
    print(flush=True)
    time.sleep(60)
sys.stdout.flush()
"""
    process = running(program, str(tmp_path / "shared"))
    assert process.stdout is not None
    process.stdout.readline()  # of the other one
    found = processes.memory([process.pid])
    with (tmp_path / "shared").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        sum(view[::4096])  # who else maps the file changes nothing
        assert processes.memory([process.pid]) == pytest.approx(found, abs=1)
    for pid in processes.tree(process.pid)[1:]:
        os.kill(pid, signal.SIGKILL)
    process.communicate()
    assert found.processes == 2
    assert 40 < found.private_mb < 60
    assert 40 < found.shared_mb < 60
    assert 60 < found.largest_mb < 80
    assert processes.memory([process.pid]) == (0, 0, 0, 0)
