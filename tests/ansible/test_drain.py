"""Taking a worker out, with an agent that says what it is told: who may leave, and what happens while it is busy."""

from __future__ import annotations

import json
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from tests.ansible import scripted
from tests.ansible.evaluation import evaluated, tasks_named
from tests.ansible.plays import briefly
from tests.conftest import free_ports
from tests.power import disk


class Pool:
    """A balancer's agent that answers what it is told, and the folder of worker1."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workers: list[dict[str, Any]] = []

    def say(self, **states: str) -> None:
        """Let the agent say so of each worker; nothing is asked of `worker1` any more once its file is there."""
        self.workers = [
            {"name": name, "state": state, "asked": False, "under_way": 0, "why": ""} for name, state in states.items()
        ]

    @property
    def drain(self) -> Path:
        return self.folder / "etc/drain"

    def inventory(self) -> Path:
        """Write the inventory of a balancer with this agent, worker1 and a client; return its path."""
        local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        local |= {"slice_address": "127.0.0.1", "run_dir": str(self.folder)}
        agent = {"pool_runtime_dir": str(self.folder), "pool_state_dir": str(self.folder)}
        hosts = {
            "balancers": {"hosts": {"balancer": local | agent}},
            "workers": {"hosts": {"worker1": {**local, "worker_config_dir": str(self.drain.parent)}}},
            "clients": {"hosts": {"client": local}},
        }
        (self.folder / "hosts.yml").write_text(json.dumps({"all": {"children": hosts}}))
        return self.folder / "hosts.yml"

    def take_out(self, by: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        extra = json.dumps({"drained_by": by, "drain_patience_s": 1})
        return briefly("-i", self.inventory(), "tests/ansible/drain.yml", "-e", extra, *arguments, **environment)


@pytest.fixture
def pool() -> Iterator[Pool]:
    with tempfile.TemporaryDirectory(prefix="pool-") as folder:  # the path of a socket has to be short
        made = Pool(Path(folder))
        made.drain.parent.mkdir()

        class Agent(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = json.dumps({"workers": made.workers}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def address_string(self) -> str:
                return "unix"

            def log_message(self, *_: object) -> None: ...

        with socketserver.ThreadingUnixStreamServer(f"{folder}/pool.sock", Agent) as agent:
            thread = threading.Thread(target=agent.serve_forever)
            thread.start()
            yield made
            agent.shutdown()
            thread.join()


@pytest.mark.slow
def test_a_worker_leaves_where_another_serves(pool: Pool) -> None:
    pool.say(worker1="up", worker2="up")
    done = pool.take_out("operator", "--check")
    assert done.returncode == 0, done.stderr
    assert not pool.drain.exists()
    done = pool.take_out("operator")
    assert done.returncode == 0, done.stderr
    assert pool.drain.read_text() == "operator\n"
    done = pool.take_out("deployment", ANSIBLE_STDOUT_CALLBACK="default")
    assert "changed=0" in done.stdout
    assert pool.drain.read_text() == "operator\n"


@pytest.mark.slow
def test_the_last_that_serves_is_kept_and_one_that_does_not_serve_may_leave(pool: Pool) -> None:
    pool.say(worker1="up", worker2="down")
    done = pool.take_out("operator")
    assert done.returncode != 0
    assert "no worker but worker1 serves on balancer" in done.stderr
    assert not pool.drain.exists()
    pool.say(worker1="failing", worker2="down")
    done = pool.take_out("operator")
    assert done.returncode == 0, done.stderr
    assert pool.drain.exists()


@pytest.mark.slow
def test_a_request_that_takes_long_stops_an_operator_alone(pool: Pool) -> None:
    pool.say(worker1="up", worker2="up")
    pool.workers[0]["under_way"] = 3
    done = pool.take_out("operator")
    assert done.returncode != 0
    assert "worker1 is taken out, but 3 of its requests are still under way; run this again to wait on" in done.stderr
    assert f"make undrain HOST=worker1 INVENTORY={pool.folder}/hosts.yml" in done.stderr
    done = pool.take_out("deployment")
    assert done.returncode == 0, done.stderr
    assert "It goes on." in done.stdout


@pytest.mark.slow
def test_a_deployment_takes_back_whom_a_power_cut_left_out_without_a_word(pool: Pool) -> None:
    """The file is there and its word is not; whom an operator took out stays out."""
    pool.say(worker1="up", worker2="up")
    pool.workers[0]["asked"] = True
    for word, stays in {"operator\n": True, "": False}.items():
        pool.drain.write_text(word)
        done = pool.take_out("deployment", "-e", "way=undrain")
        assert done.returncode == 0, done.stderr
        assert pool.drain.exists() == stays


@pytest.mark.slow
def test_an_operator_hears_whether_the_worker_serves_again(pool: Pool) -> None:
    """It does not where its balancer has others in the pool, or where no balancer runs."""

    def take_back() -> str:
        done = briefly("-i", pool.inventory(), "playbooks/undrain.yml", "-e", "worker_named=worker1")
        assert done.returncode == 0, done.stderr
        return done.stdout

    pool.say(worker1="up")
    pool.workers[0]["asked"] = True
    assert "worker1 serves.\n" in take_back()
    pool.say(worker2="up")
    assert "worker1 is taken back, and no balancer that runs has it in its pool." in take_back()


@pytest.mark.slow
def test_a_worker_that_has_moved_is_asked_where_it_is_now(tmp_path: Path) -> None:
    """The real agent's list has the old place. One that was not taken out is waited for too, an operator's is not."""
    moved, other = scripted.worker(), scripted.worker()
    options = "max_fails=0 fail_timeout=10s max_conns=32"
    was, now, others = (*free_ports(1), moved.server_address[1], other.server_address[1])

    def members(port: int, mark: str = "") -> str:
        places = {"worker1": f"{port} {options}{mark}", "worker2": f"{others} {options}"}
        return "".join(f"server 127.0.0.1:{place};  # {name}\n" for name, place in places.items())

    with tempfile.TemporaryDirectory(prefix="pool-") as folder, scripted.serving(moved, other):
        pool, servers = Pool(Path(folder)), Path(folder, "servers.conf")
        pool.drain.parent.mkdir()
        servers.write_text(members(was, " down"))
        files = {"servers": "servers.conf", "serves": "serves.conf", "access_log": "log", "nginx_pid": "pid"}
        settings = {name: f"{folder}/{file}" for name, file in (files | {"socket": "pool.sock"}).items()}
        (tmp_path / "pool.json").write_text(json.dumps(settings))
        with subprocess.Popen([sys.executable, "-m", "imagerec_pool", tmp_path / "pool.json"]) as agent:
            try:
                while not Path(folder, "pool.sock").exists():
                    assert agent.poll() is None
                    time.sleep(0.05)
                for word, before, after in (
                    ("deployment\n", members(was, " down"), members(now)),
                    (None, members(was), members(now)),
                    ("operator\n", members(was, " down"), members(now, " down")),
                ):
                    servers.write_text(before)
                    if word is not None:
                        pool.drain.write_text(word)
                    if word == "operator\n":
                        moved.answer = lambda _: scripted.answer_of(503)
                    given = {"way": "undrain", "worker_port": now, "service_replaces": True}
                    done = pool.take_out("deployment", "-e", json.dumps(given))
                    assert done.returncode == 0, done.stderr
                    assert servers.read_text() == after
                    assert pool.drain.exists() == (word == "operator\n")
            finally:
                agent.terminate()


def test_who_does_not_come_back_is_told_why_by_each_balancer_that_answers() -> None:
    (report,) = tasks_named("playbooks/pool/undrain.yml", "Report what the balancers say of it")
    workers = [{"name": "worker1", "why": "silent"}, {"name": "worker2", "why": ""}]
    for results, said in (
        ([{"json": {"workers": workers}}, {"msg": "refused"}], ["silent"]),
        ([{"msg": "refused"}], ["no balancer answers"]),
    ):
        known = {"pool_returned": {"results": results}, "inventory_hostname": "worker1"}
        assert evaluated(report["vars"]["said"], known) == said


def test_an_operator_s_word_outlives_a_power_cut(pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its word the file would be a deployment's, and the next one would take the worker back."""
    pool.say(worker1="up", worker2="up")
    with disk(tmp_path) as own:
        monkeypatch.setenv("ANSIBLE_REMOTE_TMP", str(own.folder / "ansible"))  # a host has one disk for both
        pool.drain.parent.rmdir()
        pool.drain.parent.symlink_to(own.folder)
        done = pool.take_out("operator")
        assert done.returncode == 0, done.stderr
        with own.cut(names=False) as left:
            assert (left / "drain").read_text() == "operator\n"
