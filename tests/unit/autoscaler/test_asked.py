"""Which model the workers have, asked of HTTP servers that answer as they do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest
from aiohttp import web

from imagerec_autoscaler import asked
from imagerec_autoscaler.asked import Models


def test_the_model_is_that_of_all_who_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asked, "_LOOK_S", 0.01)
    has = {"worker1": "a" * 64, "worker2": "a" * 64}
    questions: list[str] = []

    async def started(name: str) -> tuple[web.AppRunner, int]:
        async def version(_request: web.Request) -> web.Response:
            questions.append(name)
            return web.json_response({"model": {"name": "lite0", "digest": has[name]}})

        app = web.Application()
        app.router.add_get("/version", version)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner, runner.addresses[0][1]

    async def until(probe: Callable[[], bool]) -> None:
        while not probe():
            await asyncio.sleep(0.01)

    async def course() -> None:
        workers = {name: await started(name) for name in has}
        places = {name: {"address": "127.0.0.1", "port": port} for name, (_, port) in workers.items()}
        models = Models(places | {"away": {"address": "127.0.0.1", "port": 1}})
        asking = asyncio.create_task(models.run())
        assert models.served is None
        models.look(["worker1", "away", "of another pool"])
        await until(lambda: models.served == f"lite0-{'a' * 16}")
        has["worker2"] = "b" * 64
        models.look(["worker1", "worker2"])
        await until(lambda: models.served == "")
        assert questions == ["worker1", "worker2"]
        models.look(["worker2"])  # the other one is replaced
        assert models.served == f"lite0-{'b' * 16}"  # what is away counts no more
        has["worker1"] = "b" * 64
        models.look(["worker1", "worker2"])
        await until(lambda: questions == ["worker1", "worker2", "worker1"])
        await until(lambda: models.served == f"lite0-{'b' * 16}")
        has.update(dict.fromkeys(has, "c" * 64))  # in place, while both serve
        monkeypatch.setattr(asked, "_EVERY_S", 0.0)
        await until(lambda: models.served == f"lite0-{'c' * 16}")
        asking.cancel()
        for runner, _ in workers.values():
            await runner.cleanup()

    asyncio.run(asyncio.wait_for(course(), 60))


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"[]",
        b'{"model": {"name": "lite0", "digest": 7}}',
        b"[" * 60_000,
        b'{"model": {"name": "lite1", "digest": "b"}}' + b" " * 70_000,
    ],
    ids=["nothing", "no model", "no digest", "nested", "long"],
)
def test_one_that_did_not_say_it_is_asked_again(monkeypatch: pytest.MonkeyPatch, junk: bytes) -> None:
    """It stood in the middle of a start, or another program has its port."""
    monkeypatch.setattr(asked, "_LOOK_S", 0.01)
    monkeypatch.setattr(asked, "_AGAIN_S", 0.02)
    answers = [junk, junk, json.dumps({"model": {"name": "lite0", "digest": "a" * 64}}).encode()]

    async def version(_request: web.Request) -> web.Response:
        return web.Response(body=answers.pop(0), content_type="application/json")

    async def course() -> None:
        app = web.Application()
        app.router.add_get("/version", version)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        models = Models({"worker1": {"address": "127.0.0.1", "port": runner.addresses[0][1]}})
        asking = asyncio.create_task(models.run())
        models.look(["worker1"])
        while models.served is None:
            assert not asking.done()
            await asyncio.sleep(0.01)
        assert (models.served, answers) == (f"lite0-{'a' * 16}", [])
        models.look([])
        assert models.served is None
        asking.cancel()
        await runner.cleanup()

    asyncio.run(asyncio.wait_for(course(), 60))
