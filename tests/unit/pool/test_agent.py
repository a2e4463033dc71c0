"""The agent's loop, step by step, with its real files, a real process to tell, and real workers where one is asked."""

from __future__ import annotations

import asyncio
import dataclasses
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
import pytest

from imagerec_pool import kernel
from imagerec_pool.agent import Agent
from imagerec_pool.conditions import DOWN, DRAINING, READY, UP, Condition, Rules, Seen, decide
from imagerec_pool.nginx import Nginx, serves_text
from imagerec_pool.reload import Reload
from imagerec_pool.settings import Settings
from tests.conftest import free_ports

LIST = """\
# Written by the deployment.
server 127.0.0.1:1 max_fails=0;  # worker1
server 127.0.0.2:1 max_fails=0;  # worker2
"""
GROWN = LIST + "server 127.0.0.3:1 max_fails=0;  # worker3\n"
# Is told to reload like nginx, and says so.
MASTER = """
import signal
signal.signal(signal.SIGHUP, lambda *_: print("reload", flush=True))
print("ready", flush=True)
while True:
    signal.pause()
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "servers.conf").write_text(LIST)
    names = ("servers.conf", "serves.conf", "access.log", "nginx.pid", "pool.sock")
    return Settings(*(tmp_path / name for name in names))


@pytest.fixture
def master() -> Iterator[subprocess.Popen[str]]:
    """A process that calls itself nginx; its number is not in the file yet."""
    command = ["nginx: master", "-c", MASTER]
    with subprocess.Popen(command, executable=sys.executable, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


class Loop:
    """An agent whose clock and conditions are set by hand."""

    def __init__(self, settings: Settings) -> None:
        self.agent = Agent(settings)
        self.now_s = 100.0

    def look(self, times: int = 1, step_s: float = 0.1) -> None:
        """Look, and let what was asked be answered."""

        self.course([(times, lambda: None)], step_s)

    def course(self, steps: list[tuple[int, Callable[[], object]]], step_s: float = 0.1) -> None:
        """Look so many times, then do something, and so on: a worker is asked in one session."""

        async def looks() -> None:
            async with aiohttp.ClientSession() as session:
                for times, then in steps:
                    for _ in range(times):
                        self.agent.look(session, self.now_s, step_s)
                        self.now_s += step_s
                        if tasks := asyncio.all_tasks() - {asyncio.current_task()}:
                            await asyncio.wait(tasks, timeout=60)
                    then()

        asyncio.run(looks())

    def become(self, **states: str) -> None:
        """Set what the workers are, as if they had been asked."""
        self.agent._pool = {name: Condition(states.get(name, UP), self.now_s, "set") for name in self.agent._pool}


def said(capsys: pytest.CaptureFixture[str], what: str) -> list[str]:
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return [str(line[what]) for line in lines if what in line]


def test_a_list_that_is_written_meanwhile_is_the_deployment_s(settings: Settings) -> None:
    """The deployment's new list comes between the agent's look at it and its own writing."""
    loop = Loop(settings)
    loop.agent._read_list(None, loop.now_s)  # type: ignore[arg-type]  nothing is asked here
    loop.become(worker1=DOWN)
    settings.servers.write_text(GROWN)
    loop.agent._tell_nginx(loop.now_s)
    assert settings.servers.read_text() == GROWN
    loop.agent._read_list(None, loop.now_s)  # type: ignore[arg-type]
    loop.agent._tell_nginx(loop.now_s)
    assert settings.servers.read_text() == GROWN.replace(
        ":1 max_fails=0;  # worker1", ":1 max_fails=0 down;  # worker1"
    )


def test_a_list_that_needs_no_mark_is_not_written_back(settings: Settings) -> None:
    loop = Loop(settings)
    loop.agent._read_list(None, loop.now_s)  # type: ignore[arg-type]
    loop.become()
    settings.servers.write_text(GROWN)
    loop.agent._tell_nginx(loop.now_s)
    assert settings.servers.read_text() == GROWN


@pytest.mark.parametrize("fault", ["a folder", "half a letter"])
def test_a_list_that_cannot_be_read_empties_nothing(
    settings: Settings, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    loop = Loop(settings)
    loop.look()
    settings.servers.unlink()
    if fault == "a folder":
        settings.servers.mkdir()
    else:
        settings.servers.write_bytes(LIST.encode() + b"# \xc3")
    loop.look(3)
    assert [each["name"] for each in loop.agent.report()] == ["worker1", "worker2"]
    assert len(said(capsys, "notice")) == 1
    if fault == "a folder":
        settings.servers.rmdir()
    settings.servers.write_text(GROWN)
    loop.look()
    assert [each["name"] for each in loop.agent.report()] == ["worker1", "worker2", "worker3"]
    settings.servers.unlink()
    loop.look()
    assert loop.agent.report() == []


def test_what_an_earlier_run_wrote_is_told_and_told_until_it_arrives(
    settings: Settings, master: subprocess.Popen[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The list is marked as it should be, but nobody knows whether nginx was told before the earlier run ended."""
    assert master.stdout is not None
    loop = Loop(settings)
    loop.look(30)
    assert said(capsys, "reload") == []  # there is no nginx yet
    settings.nginx_pid.write_text(f"{master.pid}\n")
    loop.look(45)
    assert said(capsys, "reload") == ["nginx"]
    assert master.stdout.readline() == "reload\n"


def test_clients_are_parted_with_before_a_reload_that_can_wait(
    settings: Settings, master: subprocess.Popen[str], capsys: pytest.CaptureFixture[str]
) -> None:
    parting = settings.servers.with_name("parting")
    settings.nginx_pid.write_text(f"{master.pid}\n")
    settings.serves.write_text(serves_text(serves=True))
    loop = Loop(settings)
    loop.agent._read_list(None, loop.now_s)  # type: ignore[arg-type]  nobody is asked here

    def tell(seconds: float) -> list[str]:
        for _ in range(round(10 * seconds)):
            loop.agent._tell_nginx(loop.now_s)
            loop.now_s += 0.1
        return said(capsys, "reload")

    loop.become()
    assert tell(0.3) == []  # what an earlier run wrote
    assert tell(1.2) == ["nginx"]
    assert not parting.exists()

    loop.become(worker1=DRAINING)
    assert tell(0.2) == []
    assert parting.exists()
    assert tell(0.3) == ["nginx"]
    assert parting.exists()  # its new processes may not serve yet
    assert tell(0.8) == []
    assert not parting.exists()

    tell(1.2)
    loop.become(worker2=DOWN)  # meanwhile requests would go to one that does not answer
    assert tell(0.1) == ["nginx"]
    assert not parting.exists()


@pytest.mark.parametrize("name", ["parting", "reloading"])
@pytest.mark.parametrize(("age_s", "stays"), [(0, True), (10, False), (-3600, False)], ids=["new", "old", "clock"])
def test_what_a_killed_agent_or_reload_command_has_left_is_removed(
    settings: Settings, name: str, age_s: float, *, stays: bool
) -> None:
    """While it is there no client keeps a connection; the clock may have jumped meanwhile."""
    left = settings.servers.with_name(name)
    left.touch()
    os.utime(left, (time.time() - age_s,) * 2)
    reload = Reload(Nginx(settings.servers, settings.serves, settings.nginx_pid), lambda *_: None)
    reload.ask(urgent=True)
    reload.look(100.0)
    assert left.exists() == stays


def test_an_agent_that_ends_lets_clients_keep_their_connections(settings: Settings) -> None:
    async def course() -> None:
        running = asyncio.create_task(Agent(settings).run())
        await asyncio.sleep(0.2)
        settings.servers.with_name("parting").touch()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(course())
    assert not settings.servers.with_name("parting").exists()


def test_a_reload_waits_for_nothing_where_clients_cannot_be_parted_with(
    settings: Settings, master: subprocess.Popen[str]
) -> None:
    settings.nginx_pid.write_text(f"{master.pid}\n")
    nowhere = settings.servers.parent / "none"
    notices: list[tuple[str, str | None]] = []
    reload = Reload(Nginx(nowhere / "servers.conf", nowhere, settings.nginx_pid), lambda *told: notices.append(told))
    assert reload.look(100.0)
    assert [about for about, text in notices if text is not None] == ["part"]
    assert reload.settled(102.0)


def test_an_nginx_of_another_user_is_said_once(settings: Settings) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to become another user")
    program = """
import os, sys
from pathlib import Path
from imagerec_pool.agent import Agent
from imagerec_pool.settings import Settings
agent = Agent(Settings(*map(Path, sys.argv[1:])))
os.setuid(65534)
for now_s in (100.0, 102.0, 104.0):
    agent._tell_nginx(now_s)
"""
    with subprocess.Popen(["nginx: master", "60"], executable="/bin/sleep") as process:
        settings.nginx_pid.write_text(f"{process.pid}\n")
        settings.servers.parent.chmod(0o755)
        for folder in settings.servers.parents:
            if folder.owner() == "root" and folder.is_relative_to("/tmp/pytest-of-root"):
                folder.chmod(0o755)
        paths = [str(getattr(settings, name)) for name in ("servers", "serves", "access_log", "nginx_pid", "socket")]
        done = subprocess.run([sys.executable, "-c", program, *paths], capture_output=True, text=True, check=False)
        process.send_signal(signal.SIGKILL)
    assert done.stderr == ""
    assert len([line for line in done.stdout.splitlines() if "Operation not permitted" in line]) == 1


def test_nobody_serves_before_there_is_news_and_the_list_stands_until_then(settings: Settings) -> None:
    """What an earlier run found is no news: the workers refuse every connection now."""
    marked = LIST.replace(";  # worker2", " down;  # worker2")
    settings.servers.write_text(marked)
    loop = Loop(settings)
    loop.look()
    assert loop.agent.serving() == 0
    assert {each["state"] for each in loop.agent.report()} == {"unknown"}
    assert settings.servers.read_text() == marked
    loop.look(5)
    assert settings.servers.read_text() == LIST  # nobody serves, so all may be asked


def test_a_worker_that_an_earlier_run_left_out_has_fallen_once(settings: Settings) -> None:
    settings.servers.write_text(LIST.replace(";  # worker2", " down;  # worker2"))
    loop = Loop(settings)
    loop.agent._read_list(None, loop.now_s)  # type: ignore[arg-type]
    pool = loop.agent._pool
    states = []
    for _ in range(2):
        pool, _ = decide(pool, {"worker1": Seen(READY), "worker2": Seen(READY)}, loop.now_s, Rules())
        states.append((pool["worker1"].state, pool["worker2"].state))
    assert states == [(UP, DOWN), (UP, UP)]


def test_cutting_off_goes_on_after_a_passing_error(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The kernel is asked over a socket, for which there may be no descriptor for a moment."""
    loop = Loop(settings)
    loop.agent._read_list(None, loop.now_s)  # type: ignore[arg-type]
    errors: list[Exception] = [OSError(24, "Too many open files")] * 2
    asked: list[str] = []

    def cut_off(address: str, _port: int, **_: bool) -> int:
        asked.append(address)
        if errors:
            raise errors.pop()
        return 3

    monkeypatch.setattr(kernel, "cut_off", cut_off)
    for _ in range(3):
        loop.agent._cut_off("worker1", spare_begun=False)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["ended_connections"] for line in lines if "ended_connections" in line] == [3]
    assert len([line for line in lines if "notice" in line]) == 1
    errors.append(kernel.NotAllowedError("not permitted"))
    for _ in range(3):
        loop.agent._cut_off("worker1", spare_begun=False)
    assert len(asked) == 4


def test_a_name_is_looked_up_again_and_has_all_its_addresses(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.servers.write_text("server worker.example:1;  # worker1\n")
    found: list[str] = []

    async def getaddrinfo(_loop: object, *_: object, **__: object) -> list[tuple[object, ...]]:
        if not found:
            raise OSError(-3, "Temporary failure in name resolution")
        return [(2, 1, 6, "", (address, 1)) for address in found]

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", getaddrinfo)
    loop = Loop(settings)
    loop.look(5)
    assert loop.agent._upstreams == {"worker.example:1": "worker1"}
    for addresses in (["127.0.0.9"], ["127.0.0.9", "127.0.0.8"], ["127.0.0.7"]):
        found[:] = addresses
        loop.now_s += 60
        loop.look(2)
        assert loop.agent._upstreams == {f"{address}:1": "worker1" for address in addresses}
        assert sorted(loop.agent._places("worker1")) == [(address, 1) for address in sorted(addresses)]


def test_the_kernel_is_asked_once_for_all_workers_and_not_for_each_question(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.servers.write_text(LIST.replace(":1 ", f":{free_ports(1)[0]} "))  # other tests connect to the usual one
    loop = Loop(settings)
    loop.agent._read_list(None, loop.now_s)  # type: ignore[arg-type]
    real, asked = kernel.under_way, []

    def under_way(servers: list[tuple[str, int]]) -> dict[tuple[str, int], list[kernel.Connection]]:
        asked.append(len(servers))
        return real(servers)

    monkeypatch.setattr(kernel, "under_way", under_way)
    for now_s in (100.0, 100.2, 100.4, 100.6):
        assert loop.agent._connections.counts(now_s) == {"worker1": 0, "worker2": 0}
    assert asked == [2, 2]


# A worker with one process, which reads a photograph and cannot be asked meanwhile. It reads on when it is told to.
READER = """
import socket, sys
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
server.bind(("127.0.0.1", 0))
server.listen()
print(server.getsockname()[1], flush=True)
connection = server.accept()[0]
for _ in sys.stdin:
    left = 2**16
    while left > 0:
        left -= len(connection.recv(2048))
    print("has read", flush=True)
"""
SENDER = "import socket, sys; socket.create_connection(('127.0.0.1', int(sys.argv[1]))).sendall(bytes(2**27))"


def test_a_worker_that_a_large_photograph_goes_to_slowly_is_not_silent(tmp_path: Path) -> None:
    """Its only process reads and cannot be asked; one that reads no more is silent. The clock is set by hand."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", READER], text=True, bufsize=1, **pipes) as reader:
        assert reader.stdin is not None
        assert reader.stdout is not None
        port = reader.stdout.readline().strip()
        with subprocess.Popen([sys.executable, "-c", SENDER, port]) as sender:
            (tmp_path / "servers.conf").write_text(f"server 127.0.0.1:{port} max_fails=0;  # worker1\n")
            names = ("servers.conf", "serves.conf", "access.log", "nginx.pid", "pool.sock")
            agent = Agent(Settings(*(tmp_path / name for name in names), silent_s=0.4, probe_interval_s=0.1))
            states: list[object] = []

            async def watch() -> None:
                now_s = time.monotonic()
                async with aiohttp.ClientSession() as session:
                    while len(states) < 200 and states[-1:] != [DOWN]:
                        if len(states) < 40:
                            reader.stdin.write("on\n")
                            assert reader.stdout.readline() == "has read\n"
                        elif len(states) == 40:
                            reader.send_signal(signal.SIGSTOP)
                        agent.look(session, now_s := now_s + 0.05, 0.05)
                        states.append(agent.report()[0]["state"])
                        await asyncio.sleep(0.01)

            try:
                asyncio.run(watch())
            finally:
                sender.kill()
                reader.kill()
    assert DOWN not in states[:40]  # five times as long as a silent one may be
    assert states[-1] == DOWN


class Asked(http.server.BaseHTTPRequestHandler):
    """A worker that is ready, and counts who asks."""

    def do_GET(self) -> None:
        self.server.asked += 1  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def sleeper() -> Iterator[http.server.HTTPServer]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Asked)
    server.asked = 0  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_sleeper_is_not_asked_until_it_is_wanted_or_nobody_else_serves(
    settings: Settings, sleeper: http.server.HTTPServer
) -> None:
    settings.servers.write_text(
        f"server 127.0.0.1:1 max_fails=0;  # worker1\nserver 127.0.0.1:{sleeper.server_port} max_fails=0;  # worker2\n"
    )
    standby = settings.servers.with_name("standby.json")
    settings = dataclasses.replace(settings, standby=standby)
    standby.write_text('{"asleep": ["worker2", "worker9"]}')
    loop = Loop(settings)
    seen: list[tuple[object, bool]] = []

    def note() -> None:
        (state,) = (each["state"] for each in loop.agent.report() if each["name"] == "worker2")
        seen.append((state, sleeper.asked > 0))  # type: ignore[attr-defined]
        sleeper.asked = 0  # type: ignore[attr-defined]

    loop.course(
        [(20, note), (40, note), (10, note), (0, lambda: standby.write_text('{"asleep": "half of i')), (10, note)]
    )
    assert seen == [("standby", False), ("up", True), ("up", True), ("up", True)]
