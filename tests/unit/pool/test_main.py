"""The program as it is started: HUP puts a new one in its place, whenever it comes and however python was called."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import aiohttp
import pytest

from imagerec_pool.__main__ import run
from imagerec_pool.settings import Settings


@pytest.fixture(autouse=True)
def _mask() -> Iterator[None]:
    """What the program leaves blocked when it ends is not left to the next test."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    names = ("servers", "serves", "access_log", "nginx_pid")
    settings = {name: str(tmp_path / name) for name in names} | {"socket": str(tmp_path / "pool.sock")}
    (tmp_path / "servers").write_text("server 127.0.0.1:1;  # worker1\n")
    (tmp_path / "pool.json").write_text(json.dumps(settings))
    return ["-m", "imagerec_pool", str(tmp_path / "pool.json")]


def test_hup_begins_anew_where_python_is_found_by_the_path(arguments: list[str]) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = ["/usr/bin/env", "python", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PATH": path}) as agent:
        assert agent.stdout is not None
        assert "pool" in agent.stdout.readline()
        agent.send_signal(signal.SIGHUP)
        begun = any('"pool": ' in line for line in agent.stdout)  # ends with the program, or when it has begun anew
        agent.send_signal(signal.SIGTERM)
    assert begun
    assert agent.returncode == 0


def test_hup_while_it_starts_waits(arguments: list[str], tmp_path: Path) -> None:
    """The settings are a pipe: the program stands at its start until they are written, and reads them after HUP."""
    settings = tmp_path / "pool.json"
    text = settings.read_text()
    settings.rename(tmp_path / "again.json")
    os.mkfifo(settings)
    with subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True) as agent:
        assert agent.stdout is not None
        with settings.open("w") as pipe:  # opens when the program reads
            agent.send_signal(signal.SIGHUP)
            pipe.write(text)
            (tmp_path / "again.json").rename(settings)  # before the pipe ends, so before the program begins anew
        starts = 0
        for line in agent.stdout:
            starts += '"pool": ' in line
            if "reload" in line or "state" in line or starts == 2:
                agent.send_signal(signal.SIGTERM)
    assert agent.returncode == 0


def test_term_while_it_begins_anew_ends_it(tmp_path: Path) -> None:
    """HUP came first, and its answer is under way: the program is told to end within the same moment."""
    servers, serves, access_log, nginx_pid = (tmp_path / name for name in ("servers", "serves", "log", "pid"))
    settings = Settings(servers, serves, access_log, nginx_pid, socket=tmp_path / "pool.sock")
    settings.servers.write_text("server 127.0.0.1:1;  # worker1\n")

    async def course() -> signal.Signals:
        running = asyncio.ensure_future(run(settings))
        while not settings.socket.exists():
            await asyncio.sleep(0.01)
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGTERM)
        return await running

    assert asyncio.run(course()) == signal.SIGTERM


Answers = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def before_worker(path: Path, answers: Answers, then: Callable[[Settings], Awaitable[None]]) -> signal.Signals:
    """Run the agent before one worker until it is told to end."""
    ending: list[asyncio.Future[None]] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ending.append(done := asyncio.get_running_loop().create_future())
        with contextlib.suppress(ConnectionError):
            await answers(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        done.set_result(None)

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as worker:
        servers, serves, access_log, nginx_pid = (path / name for name in ("servers", "serves", "log", "pid"))
        servers.write_text(f"server 127.0.0.1:{worker.sockets[0].getsockname()[1]};  # worker1\n")
        settings = Settings(servers, serves, access_log, nginx_pid, socket=path / "pool.sock", silent_s=600)
        running = asyncio.ensure_future(run(settings))
        await then(settings)
        reason = await running
        await asyncio.gather(*ending)
        return reason


async def health(settings: Settings) -> int:
    """Ask the agent, as soon as it can be asked."""
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(settings.socket))) as session:
        while True:
            try:
                async with session.get("http://pool/healthz") as answer:
                    return answer.status
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.01)


def test_its_first_answer_is_that_the_pool_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker takes its time with its first answer: nobody hears that nobody serves before it has come."""
    monkeypatch.setattr("imagerec_pool.__main__._BEGIN_S", 60)
    told: list[int] = []

    async def answers(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.3)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    async def then(settings: Settings) -> None:
        told.append(await health(settings))
        os.kill(os.getpid(), signal.SIGTERM)

    assert asyncio.run(before_worker(tmp_path, answers, then)) == signal.SIGTERM
    assert told == [200]


def test_it_does_not_wait_for_ever_for_a_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imagerec_pool.__main__._BEGIN_S", 0.2)
    told: list[int] = []

    async def answers(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()  # until the agent has ended

    async def then(settings: Settings) -> None:
        told.append(await health(settings))
        os.kill(os.getpid(), signal.SIGTERM)

    assert asyncio.run(before_worker(tmp_path, answers, then)) == signal.SIGTERM
    assert told == [503]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_its_wait_for_a_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    monkeypatch.setattr("imagerec_pool.__main__._BEGIN_S", 3600)
    asked = asyncio.Event()

    async def answers(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.read()

    async def then(settings: Settings) -> None:
        await asked.wait()
        assert not settings.socket.exists()
        os.kill(os.getpid(), number)

    assert asyncio.run(before_worker(tmp_path, answers, then)) == number
    assert not (tmp_path / "pool.sock").exists()
