"""What Prometheus has kept: before a server that answers as a real one did, and before what else may have its port."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from imagerec_pool import history
from imagerec_pool.agent import Agent
from imagerec_pool.history import COLUMNS, POINTS, WINDOWS_H, History, question, step_s
from imagerec_pool.settings import Settings
from imagerec_pool.web import create_app
from tests.metric_names import metrics_in, rules_of

Answer = Callable[[web.Request], Awaitable[web.Response]]
# Of the last three points, as Prometheus 2.42 said them: some columns begin later, one has no value at all.
RECORDED: dict[str, list[str | None]] = {
    "requests": ["0", "0.1948072598494909", "12.5948895115977179"],
    "serving": ["2", "1", "2"],
    "members": ["2", "2", "2"],
    "errors": ["0", "0", "0.0001"],
    "p50_ms": [None, "NaN", "27.500000000000004"],
    "p99_ms": [None, "+Inf", "34.85000000000001"],
}
NOTHING = {"status": "success", "data": {"resultType": "matrix", "result": []}}


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "PATIENCE_S", 60.0)


class Prometheus:
    """Answers the question for a range; says what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []

    async def answer(self, request: web.Request) -> web.Response:
        assert request.path == "/api/v1/query_range"
        self.asked.append(dict(request.query))
        await asyncio.sleep(0.02)  # so that others come meanwhile
        end, step = int(request.query["end"]), int(request.query["step"])
        result = []
        for column, values in RECORDED.items():
            told = [[end - (2 - at) * step, text] for at, text in enumerate(values) if text is not None]
            result.append({"metric": {"column": column}, "values": told})
        return web.json_response({"status": "success", "data": {"resultType": "matrix", "result": result}})


def answers_of(answer: Answer, *hours: int) -> list[dict[str, Any]]:
    """What is told to some who ask at once, before a server that answers so."""

    async def ask() -> list[dict[str, Any]]:
        app = web.Application()
        app.router.add_get("/{path:.*}", answer)
        async with TestServer(app) as server:
            kept = History(f"http://127.0.0.1:{server.port}/")
            return await asyncio.gather(*map(kept.tell, hours))

    return asyncio.run(ask())


def test_the_columns_are_those_of_prometheus_and_where_it_has_no_value_there_is_none() -> None:
    prometheus = Prometheus()
    (told,) = answers_of(prometheus.answer, 6)
    (asked,) = prometheus.asked
    points = told["points"]
    assert (told["on"], told["hours"], points["step_s"]) == (True, 6, 72)
    assert points["first"] == int(asked["start"]) == int(asked["end"]) - (POINTS - 1) * 72
    assert points.keys() == {"first", "step_s", *COLUMNS}
    assert {len(points[column]) for column in COLUMNS} == {POINTS}
    assert {column: points[column][-4:] for column in COLUMNS} == {
        "requests": [None, 0, 0.1948, 12.59],
        "serving": [None, 2, 1, 2],
        "members": [None, 2, 2, 2],
        "errors": [None, 0, 0, 0.0001],
        "p50_ms": [None, None, None, 27.5],
        "p99_ms": [None, None, None, 34.85],
        "refused": [None] * 4,
        "lost": [None] * 4,
    }
    assert len(json.dumps(told)) < 20_000


def test_who_asks_at_once_costs_one_question_and_later_another(monkeypatch: pytest.MonkeyPatch) -> None:
    prometheus = Prometheus()
    told = answers_of(prometheus.answer, *WINDOWS_H * 20)
    assert len(told) == 60
    assert sorted(int(each["step"]) for each in prometheus.asked) == [step_s(hours) for hours in WINDOWS_H]
    monkeypatch.setattr(history, "FRESH_S", 0.0)
    answers_of(prometheus.answer, 1, 1)
    assert len(prometheus.asked) == len(WINDOWS_H) + 2


async def no_prometheus(_request: web.Request) -> web.Response:
    return web.Response(text="<h1>It works!</h1>")


async def another_prometheus(_request: web.Request) -> web.Response:
    return web.json_response(NOTHING)


async def only_nan(request: web.Request) -> web.Response:
    series = {"metric": {"column": "p50_ms"}, "values": [[int(request.query["end"]), "NaN"]]}
    return web.json_response({"status": "success", "data": {"resultType": "matrix", "result": [series]}})


async def refuses(_request: web.Request) -> web.Response:
    return web.json_response({"status": "error", "errorType": "bad_data"}, status=400)


async def another_form(_request: web.Request) -> web.Response:
    return web.json_response([1, 2, 3])


async def leads_elsewhere(_request: web.Request) -> web.Response:
    raise web.HTTPFound("/login")


async def too_long(request: web.Request) -> web.Response:
    good = await Prometheus().answer(request)
    assert isinstance(good.body, bytes)
    return web.Response(body=good.body + b" " * (2 << 20), content_type="application/json")


async def says_nothing(_request: web.Request) -> web.Response:
    await asyncio.sleep(60)
    return web.json_response(NOTHING)


async def endless(_request: web.Request) -> web.Response:
    series = '{"metric": {"column": "p50_ms"}, "values": [[1e999, "1"]]}'
    return web.Response(text=f'{{"data": {{"result": [{series}]}}}}', content_type="application/json")


async def nested(_request: web.Request) -> web.Response:
    return web.Response(text="[" * 100_000, content_type="application/json")


OTHERS = (
    no_prometheus,
    another_prometheus,
    only_nan,
    refuses,
    another_form,
    leads_elsewhere,
    too_long,
    endless,
    nested,
)


@pytest.mark.parametrize("answer", OTHERS, ids=lambda answer: answer.__name__.replace("_", "-"))
def test_whatever_else_has_the_port_there_is_no_history(answer: Answer) -> None:
    assert answers_of(answer, 1) == [{"on": False}]


def test_one_that_is_late_is_not_one_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "PATIENCE_S", 0.05)
    assert answers_of(says_nothing, 1) == [None]


def test_where_nobody_listens_or_nobody_is_known_there_is_no_history() -> None:
    assert asyncio.run(History("http://127.0.0.1:1").tell(24)) == {"on": False}
    assert asyncio.run(History(None).tell(24)) == {"on": False}


def test_it_asks_for_nothing_that_nobody_records() -> None:
    there = {rule["record"] for rule in rules_of() if "record" in rule}
    there |= {"imagerec_pool_workers", "imagerec_pool_workers_serving"}
    for hours in WINDOWS_H:
        assert len(metrics_in(question(hours)) & there) == len(COLUMNS)
        assert metrics_in(question(hours)) <= there


def test_hours_that_are_not_kept_are_refused_with_the_remedy(tmp_path: Path) -> None:
    servers, serves, log, pid, listens = (tmp_path / name for name in ("servers", "serves", "log", "pid", "pool.sock"))

    async def ask() -> dict[str, tuple[int, dict[str, Any]]]:
        app = create_app(Agent(Settings(servers, serves, log, pid, listens)))
        async with TestClient(TestServer(app)) as client:
            asked = ("?hours=1", "?hours=24", "", "?hours=2", "?hours=1.0", "?hours=", "?hours=%C2%B9")
            answers = [(query, await client.get(f"/history{query}")) for query in asked]
            return {query: (answer.status, await answer.json()) for query, answer in answers}

    told = asyncio.run(ask())
    assert {query for query, (status, _) in told.items() if status == 200} == {"?hours=1", "?hours=24", ""}
    assert told[""][1] == {"on": False}
    assert {status for status, _ in told.values()} == {200, 400}
    assert "give one of them" in told["?hours=2"][1]["detail"]
