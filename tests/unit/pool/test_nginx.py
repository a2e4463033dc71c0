"""The list that nginx reads: only the mark `down` is this program's, and a real nginx process takes it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from imagerec_pool.nginx import Nginx, Server, marked, servers_in, serves_text

LIST = """\
# Written by the deployment.
server 10.0.0.1:5000 max_fails=0 fail_timeout=10s max_conns=32;  # worker1
server [fd00::2]:5000 max_fails=0 fail_timeout=10s down;  # worker2
server 10.0.0.3:5001;  # worker3
"""


def test_the_members_are_read_with_their_marks() -> None:
    assert servers_in(LIST) == [
        Server("worker1", "10.0.0.1", 5000, down=False),
        Server("worker2", "fd00::2", 5000, down=True),
        Server("worker3", "10.0.0.3", 5001, down=False),
    ]
    assert [server.upstream for server in servers_in(LIST)] == ["10.0.0.1:5000", "[fd00::2]:5000", "10.0.0.3:5001"]


@given(some.sets(some.sampled_from(["worker1", "worker2", "worker3"])))
def test_marking_changes_the_marks_alone(down: set[str]) -> None:
    text = marked(LIST, down)
    assert {server.name for server in servers_in(text) if server.down} == down
    assert text.replace(" down", "") == LIST.replace(" down", "")
    assert marked(text, {"worker2"}) == LIST


def test_nothing_is_written_twice(tmp_path: Path) -> None:
    nginx = Nginx(tmp_path / "servers.conf", tmp_path / "serves.conf", tmp_path / "nginx.pid")
    assert nginx.list() == ""
    (tmp_path / "servers.conf").write_text(LIST)
    assert nginx.list() == LIST
    assert not nginx.mark(LIST, LIST)
    assert nginx.mark(LIST, marked(LIST, set()))
    assert nginx.list() == marked(LIST, set())
    assert nginx.tell(serves=True)
    assert not nginx.tell(serves=True)
    assert nginx.tell(serves=False)
    assert (tmp_path / "serves.conf").read_text() == serves_text(serves=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["servers.conf", "serves.conf"]


def test_a_list_that_is_no_longer_what_was_read_is_left_alone(tmp_path: Path) -> None:
    nginx = Nginx(tmp_path / "servers.conf", tmp_path / "serves.conf", tmp_path / "nginx.pid")
    (tmp_path / "servers.conf").write_text("another\n")
    assert not nginx.mark(LIST, marked(LIST, set()))
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"servers.conf": "another\n"}


@pytest.mark.parametrize("name", ["nginx: master", "other"])
def test_only_nginx_is_told_to_reload(tmp_path: Path, name: str) -> None:
    """A stale pid file may name any process by now."""
    program = "import signal,sys,time; signal.signal(1, lambda *_: sys.exit(7)); print(flush=True); time.sleep(30)"
    with subprocess.Popen([name, "-c", program], executable=sys.executable, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        (tmp_path / "nginx.pid").write_text(f"{process.pid}\n")
        told = Nginx(tmp_path / "a", tmp_path / "b", tmp_path / "nginx.pid").reload()
        assert told is (name != "other")
        if not told:
            time.sleep(0.2)
            assert process.poll() is None
            os.kill(process.pid, signal.SIGTERM)
        assert process.wait() == (7 if told else -signal.SIGTERM)
    assert not Nginx(tmp_path / "a", tmp_path / "b", tmp_path / "nginx.pid").reload()
    assert not Nginx(tmp_path / "a", tmp_path / "b", tmp_path / "absent").reload()
