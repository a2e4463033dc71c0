"""The client: what it sends is a form a server understands, and every failure is a reply."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import BodyPartReader, web

from loadtest.errors import LoadtestError
from loadtest.generate.answers import Reply, parse_server_timing
from loadtest.generate.client import Client
from loadtest.generate.payload import encode
from tests.conftest import free_ports

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def ask(handler: Handler, body: bytes = b"\xff\xd8 image", *, multipart: bool = True, **options: object) -> Reply:
    """Send one image to a real server with this handler."""

    async def run() -> Reply:
        app = web.Application(client_max_size=16 << 20)
        app.router.add_post("/predict", handler)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        target = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            async with Client(target, **options) as client:  # type: ignore[arg-type]
                return await client.predict(encode("224px", body, "image/jpeg", multipart=multipart))
        finally:
            await runner.cleanup()

    return asyncio.run(run())


def describe(target: str) -> dict[str, object]:
    async def run() -> dict[str, object]:
        async with Client(target, timeout_s=60) as client:
            return await client.describe()

    return asyncio.run(run())


@pytest.mark.parametrize("size", [pytest.param(2000, id="small"), pytest.param(3_000_000, id="large")])
def test_the_form_holds_the_image(size: int) -> None:
    body = bytes(range(256)) * (size // 256)
    seen: dict[str, Any] = {}

    async def handler(request: web.Request) -> web.Response:
        seen["length"] = request.content_length
        field = await (await request.multipart()).next()
        assert isinstance(field, BodyPartReader)
        seen.update(name=field.name, type=field.headers["Content-Type"], data=await field.read())
        return web.json_response({"worker": "worker1"})

    reply = ask(handler, body)
    assert reply == Reply(200, None, worker="worker1")
    assert seen["name"] == "image"
    assert seen["type"] == "image/jpeg"
    assert seen["data"] == body
    assert seen["length"] > len(body)


def test_the_raw_image_can_be_the_body() -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response({"worker": f"{request.content_type} {len(await request.read())}"})

    assert ask(handler, b"12345", multipart=False).worker == "image/jpeg 5"


def test_times_worker_and_answer_are_read() -> None:
    async def handler(_: web.Request) -> web.Response:
        response = web.json_response({"predictions": [{"wnid": "n01440764"}, {"wnid": "n01443537"}]})
        response.headers["X-Worker"] = "worker2"
        response.headers["Server-Timing"] = "queue;dur=1.5, decode;dur=2, inference;dur=4.25, total;dur=7"
        response.headers.add("Server-Timing", "edge;dur=12, upstream;dur=9")
        return response

    assert ask(handler, want_answer=True) == Reply(
        200, None, "worker2", 0.0015, 0.002, 0.00425, 0.007, 0.009, "n01440764 n01443537"
    )


def test_a_problem_is_named_by_its_slug() -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.json_response({"type": "/problems/busy", "worker": "worker1"}, status=429)

    assert ask(handler) == Reply(429, "busy", worker="worker1")


def test_an_error_page_is_named_by_its_status() -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(text="<h1>Bad Gateway</h1>", status=502)

    assert ask(handler) == Reply(502, "HTTP 502")


def test_a_late_answer_is_a_timeout() -> None:
    async def handler(_: web.Request) -> web.Response:
        await asyncio.sleep(30)
        return web.Response()

    assert ask(handler, timeout_s=0.2) == Reply(None, "timeout")


def test_a_dropped_connection_is_a_failure() -> None:
    async def handler(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    reply = ask(handler)
    assert reply.status is None
    assert reply.error is not None


def test_server_timing_skips_what_is_not_a_duration() -> None:
    header = ['queue;dur=x, cache;desc="hit", total;desc="all";dur="3.5"']
    assert parse_server_timing(header) == {"total": pytest.approx(0.0035)}


def test_a_target_that_is_down_is_refused() -> None:
    with pytest.raises(LoadtestError, match=r"does not answer.*make up"):
        describe(f"http://127.0.0.1:{free_ports(1)[0]}")


def test_another_service_is_refused() -> None:
    async def run() -> None:
        runner = web.AppRunner(web.Application())
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            async with Client(f"http://127.0.0.1:{runner.addresses[0][1]}") as client:
                await client.describe()
        finally:
            await runner.cleanup()

    with pytest.raises(LoadtestError, match="not as an image-recognition service"):
        asyncio.run(run())


@pytest.mark.parametrize(
    "target", ["127.0.0.1:8080", "http://", "http://::1:8080", "http://[::1", "http://host:port"], ids=str
)
def test_a_target_that_is_no_address_is_refused(target: str) -> None:
    with pytest.raises(LoadtestError, match=r"such as http://127\.0\.0\.1:8080 or http://\[::1\]:8080"):
        describe(target)


def test_the_service_describes_itself(serve: Callable[..., str]) -> None:
    description = describe(serve("--workers", "2", "--policy", "round_robin"))
    assert description["status"] == {"policy": "round_robin", "pool_size": 2, "workers": ["worker1", "worker2"]}
