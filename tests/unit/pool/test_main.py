"""The program as it is started: HUP puts a new one in its place, whenever it comes and however python was called."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from imagerec_pool.__main__ import run
from imagerec_pool.settings import Settings


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
    settings.unlink()
    os.mkfifo(settings)
    with subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True) as agent:
        assert agent.stdout is not None
        with settings.open("w") as pipe:  # opens when the program reads
            agent.send_signal(signal.SIGHUP)
            pipe.write(text)
        settings.unlink()
        settings.write_text(text)
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

    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        assert asyncio.run(course()) == signal.SIGTERM
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
