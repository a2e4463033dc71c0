"""The program as it is started: what it refuses, whom it lets go first, and what it answers."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from imagerec_autoscaler.law import Seen
from imagerec_autoscaler.lease import turn
from imagerec_autoscaler.settings import Settings

GIVEN: dict[str, Any] = {
    "minimum": 1,
    "maximum": 2,
    "objective_s": 0.25,
    "processes": {"worker1": 1, "worker2": 1},
}


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as made:  # the path of a socket has to be short
        yield Path(made)


def write(folder: Path, **changed: object) -> Path:
    paths = {name: str(folder / name) for name in ("access_log", "pool_socket", "standby", "socket")}
    (folder / "access_log").touch()
    (folder / "autoscaler.json").write_text(json.dumps(paths | GIVEN | changed))
    return folder / "autoscaler.json"


def started(path: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "imagerec_autoscaler", str(path)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def asked(path: Path) -> Any:
    async def ask() -> Any:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session,
            session.get("http://autoscaler/autoscaler") as answer,
        ):
            return await answer.json()

    deadline = time.monotonic() + 60
    while True:
        try:
            return asyncio.run(ask())
        except (OSError, aiohttp.ClientError):
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"minimum": 3}, "minimum 3 is above maximum 2"),
        ({"minimum": 0}, "minimum is 0; choose 1 or more"),
        ({"maximum": 4}, "maximum is 4, there are 2 workers and no hook that gets more"),
        ({"utilisation": 1}, "utilisation is 1; choose more than 0 and less than 1"),
        ({"objective_s": 0}, "objective_s, down_after_s and start_timeout_s must be above 0"),
        ({"objectives": 1}, "unexpected keyword argument 'objectives'"),
        ({"minimum": "one"}, "cannot be read"),
    ],
    ids=["above", "nobody", "too many", "always busy", "no time", "unknown", "no number"],
)
def test_settings_that_cannot_be_are_refused_in_one_line(folder: Path, changed: dict[str, object], said: str) -> None:
    process = started(write(folder, **changed))
    _, error = process.communicate(timeout=60)
    assert process.returncode == 2
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.slow
def test_a_second_one_waits_until_the_first_ends(folder: Path) -> None:
    path = write(folder)
    first = started(path)
    assert {"on": True, "acts": True, "minimum": 1, "maximum": 2, "decisions": []}.items() <= asked(
        folder / "socket"
    ).items()
    second = started(path)
    try:
        assert second.stdout is not None
        assert json.loads(second.stdout.readline())["notice"].endswith("this one waits")
        first.send_signal(signal.SIGTERM)
        assert first.wait(60) == 0
        assert asked(folder / "socket")["on"]
        second.send_signal(signal.SIGHUP)
        assert asked(folder / "socket")["on"]
    finally:
        for process in (first, second):
            process.terminate()
            process.communicate(timeout=60)
    assert second.returncode in {0, -signal.SIGTERM}  # TERM may meet it while it begins anew


SECOND = {"arrivals": 40, "answers": 38, "refused": 2, "busy_s": 0.8, "waited_s": 0.1, "in_flight": 3}


def settings(**changed: object) -> Settings:
    here = dict.fromkeys(("access_log", "pool_socket", "standby", "socket"), Path("/nowhere"))
    return Settings(**(here | GIVEN | changed))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("said", "changed", "acts", "asleep"),
    [
        ({"on": True, "acts": True, "asleep": ["worker2"], "target": 1}, {"before": 1}, False, frozenset({"worker2"})),
        ({"on": True, "acts": True, "asleep": ["worker2"]}, {"before": 0}, True, None),
        ({"on": False}, {"before": 1}, True, None),
        (None, {"before": 1}, True, None),
        ({"on": True, "acts": False, "asleep": []}, {"before": 1}, False, None),
        ({"on": True, "acts": True, "asleep": []}, {"address": "127.0.0.1", "before": 1}, True, None),
        ({"on": True, "acts": True, "asleep": ["worker1"]}, {"address": "192.0.2.1"}, False, frozenset({"worker1"})),
        (None, {"address": "192.0.2.1"}, False, None),
    ],
    ids=[
        "the first acts",
        "we are first",
        "it is off",
        "it is away",
        "it waits",
        "our address",
        "its address",
        "nobody",
    ],
)
def test_whose_turn_it_is(
    said: dict[str, object] | None,
    changed: dict[str, object],
    acts: bool,
    asleep: frozenset[str] | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("imagerec_autoscaler.lease._PATIENCE_S", 60.0)

    async def ask() -> None:
        async def answer(_request: web.Request) -> web.Response:
            return web.json_response(said | {"seen": SECOND}) if said is not None else web.Response(status=503)

        app = web.Application()
        app.router.add_get("/autoscaler", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/autoscaler"
        async with aiohttp.ClientSession() as session:
            found = await turn(session, settings(peers=(url,), **changed))
        await runner.cleanup()
        assert (found.acts, found.asleep) == (acts, asleep)
        assert found.target == (None if acts or said is None else said.get("target"))
        counts = acts and said is not None and said["on"]
        assert found.seen == ((Seen(0.0, **SECOND),) if counts else ())  # type: ignore[arg-type]
        assert bool(found.why) != acts
        assert found.why.endswith(", and no other autoscaler answers") == (not acts and said is None)

    asyncio.run(ask())
