"""What Prometheus is told: states as the agent reports them, requests and their times as they were counted."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import aiohttp
import pytest
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from imagerec_pool.agent import Agent
from imagerec_pool.autoscaler import Scaled, scaled
from imagerec_pool.metrics import Metrics
from imagerec_pool.web import create_app

REPORT: list[dict[str, object]] = [
    {"name": "worker1", "state": "up", "under_way": 3},
    {"name": "worker2", "state": "down", "under_way": None},
]


def told(
    metrics: Metrics, autoscaler: Scaled | None = None, *, there: bool = False
) -> dict[tuple[str, str, str], float]:
    """Return each value by its name, its worker, and its state, status or bucket."""
    families = text_string_to_metric_families(metrics.render(autoscaler, has_autoscaler=there).decode())
    samples = [sample for family in families for sample in family.samples]
    return {
        (
            sample.name,
            sample.labels.get("worker", ""),
            "".join(sample.labels.get(label, "") for label in ("state", "status", "le")),
        ): sample.value
        for sample in samples
    }


def test_the_pool_is_told_as_it_is_when_it_is_asked() -> None:
    metrics = Metrics(lambda: REPORT, lambda: 1)
    values = told(metrics)
    assert values["imagerec_pool_workers", "", ""] == 2
    assert values["imagerec_pool_workers_serving", "", ""] == 1
    states = {key[1:]: value for key, value in values.items() if key[0] == "imagerec_pool_worker_state"}
    assert states == {("worker1", "up"): 1, ("worker2", "down"): 1}
    under_way = {key[1]: value for key, value in values.items() if key[0] == "imagerec_pool_worker_under_way"}
    assert under_way == {"worker1": 3}
    assert not [name for name, _, _ in values if "autoscaler" in name]


def test_requests_are_counted_by_status_and_only_good_answers_are_timed() -> None:
    metrics = Metrics(lambda: REPORT, lambda: 1)
    metrics.count(200, "worker1", 0.04)
    metrics.count(200, "worker1", 0.6)
    metrics.count(500, "worker1", 9.0)
    metrics.count(429, None, 0.0)
    values = told(metrics)
    counted = {key[1:]: value for key, value in values.items() if key[0] == "imagerec_balancer_requests_total"}
    assert counted == {("worker1", "200"): 2, ("worker1", "500"): 1, ("", "429"): 1}
    assert values["imagerec_balancer_response_seconds_count", "worker1", ""] == 2
    assert values["imagerec_balancer_response_seconds_sum", "worker1", ""] == 0.64
    assert values["imagerec_balancer_response_seconds_bucket", "worker1", "0.05"] == 1


ANSWERS: dict[str, tuple[object, Scaled | None]] = {
    "acts": ({"on": True, "acts": True, "active": 2, "minimum": 1, "maximum": 4, "target": 3}, Scaled(2, 1, 4, 3)),
    "waits": ({"on": True, "acts": False, "active": 2, "minimum": 1, "maximum": 4, "target": 3}, Scaled(2, 1, 4, None)),
    "begins": (
        {"on": True, "acts": True, "active": 0, "minimum": 1, "maximum": 4, "target": None},
        Scaled(0, 1, 4, None),
    ),
    "of another version": (
        {"on": True, "active": 2, "maximum": {"workers": 4}, "target": 3},
        Scaled(2, None, None, None),
    ),
    "off": ({"on": False}, None),
    "nonsense": ([], None),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_autoscaler_is_asked_where_there_is_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imagerec_pool.autoscaler._PATIENCE_S", 60.0)
    said, expected = ANSWERS[name]

    async def answer(_request: web.Request) -> web.Response:
        return web.json_response(said)

    async def ask(path: Path) -> Scaled | None:
        app = web.Application()
        app.router.add_get("/autoscaler", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.UnixSite(runner, str(path)).start()
        try:
            return await scaled(path)
        finally:
            await runner.cleanup()

    with tempfile.TemporaryDirectory() as folder:  # the path of a socket is short
        found = asyncio.run(ask(Path(folder) / "a.sock"))
        away = asyncio.run(scaled(Path(folder) / "nobody.sock"))
    assert (found, away, asyncio.run(scaled(None))) == (expected, None, None)
    metrics = Metrics(lambda: REPORT, lambda: 1)
    values = told(metrics, found)
    names = ("active", "minimum", "maximum", "target")
    assert [values.get((f"imagerec_autoscaler_{what}", "", "")) for what in names] == list(expected or [None] * 4)
    assert not [key for key in told(metrics) if "autoscaler" in key[0]]


def test_one_that_is_away_is_told_from_none() -> None:
    """By the agent's own address: a deployment without an autoscaler names no socket of one."""
    agent = cast("Agent", SimpleNamespace(metrics=Metrics(lambda: REPORT, lambda: 1)))

    async def ask(folder: Path, socket: Path | None) -> str:
        runner = web.AppRunner(create_app(agent, socket))
        await runner.setup()
        await web.UnixSite(runner, str(folder / "pool.sock")).start()
        connector = aiohttp.UnixConnector(str(folder / "pool.sock"))
        try:
            async with (
                aiohttp.ClientSession(connector=connector) as session,
                session.get("http://pool/metrics") as said,
            ):
                return await said.text()
        finally:
            await runner.cleanup()

    with tempfile.TemporaryDirectory() as folder:
        away = asyncio.run(ask(Path(folder), Path(folder) / "nobody.sock"))
        none = asyncio.run(ask(Path(folder), None))
    assert "\nimagerec_autoscaler_up 0.0\n" in away
    assert "autoscaler" not in none
    assert told(agent.metrics, Scaled(2, 1, 4, 3), there=True)["imagerec_autoscaler_up", "", ""] == 1
