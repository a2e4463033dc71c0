"""What nginx, and through it everybody, may ask: can the pool serve, what each worker is, and what it did lately."""

from __future__ import annotations

import json
from pathlib import Path

from aiohttp import web

from imagerec_pool.agent import Agent
from imagerec_pool.autoscaler import scaled
from imagerec_pool.history import WINDOWS_H, History
from imagerec_pool.metrics import CONTENT_TYPE

_DETAIL = "No worker serves; try again soon."
_LATE = "Prometheus did not answer in time; try again soon."
_SINCE = "since is no whole number from 0 on; give the time of the last figures, or leave it out."
_HOURS = f"hours is none of {', '.join(map(str, WINDOWS_H))}; give one of them, or leave it out for {WINDOWS_H[0]}."


def create_app(agent: Agent, autoscaler: Path | None = None, prometheus: str | None = None) -> web.Application:
    """Return the application that answers for an agent; it asks the autoscaler and Prometheus where they are given."""
    kept = History(prometheus)

    async def healthz(_request: web.Request) -> web.Response:
        serving = agent.serving()
        if not serving:
            return _problem(503, "unavailable", "Service unavailable", _DETAIL)
        return _json({"status": "serving", "workers": serving})

    async def workers(_request: web.Request) -> web.Response:
        report = agent.report()
        return _json({"serving": agent.serving(), "workers": report})

    async def live_figures(request: web.Request) -> web.Response:
        since = request.query.get("since")
        if since is not None and not (since.isascii() and since.isdigit()):
            return _problem(400, "bad-parameter", "Bad parameter", _SINCE)
        told = agent.figures.tell(agent.report(), None if since is None else int(since[:18]))
        return _json(told)

    async def history(request: web.Request) -> web.Response:
        hours = request.query.get("hours", str(WINDOWS_H[0]))
        if hours not in map(str, WINDOWS_H):
            return _problem(400, "bad-parameter", "Bad parameter", _HOURS)
        told = await kept.tell(int(hours))
        if told is None:
            return _problem(503, "unavailable", "Service unavailable", _LATE)
        return _json(told)

    async def metrics(_request: web.Request) -> web.Response:
        told = agent.metrics.render(await scaled(autoscaler), has_autoscaler=autoscaler is not None)
        return web.Response(body=told, headers={"Content-Type": CONTENT_TYPE})

    async def live(_request: web.Request) -> web.Response:
        return _json({"status": "live"})

    app = web.Application(middlewares=[_problems], client_max_size=1024)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/workers", workers)
    app.router.add_get("/live-figures", live_figures)
    app.router.add_get("/history", history)
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/live", live)
    return app


@web.middleware
async def _problems(request: web.Request, handler: object) -> web.StreamResponse:
    try:
        answer: web.StreamResponse = await handler(request)  # type: ignore[operator]
    except web.HTTPMethodNotAllowed:
        return _problem(405, "method-not-allowed", "Method not allowed", "This address answers GET only.")
    except web.HTTPException as error:
        return _problem(error.status, "not-found", error.reason, "There is nothing at this address; see /workers.")
    return answer


def _json(content: dict[str, object], status: int = 200, kind: str = "application/json") -> web.Response:
    body = json.dumps(content, separators=(",", ":")).encode() + b"\n"
    return web.Response(status=status, body=body, content_type=kind)


def _problem(status: int, slug: str, title: str, detail: str) -> web.Response:
    document: dict[str, object] = {"type": f"/problems/{slug}", "title": title, "status": status, "detail": detail}
    return _json(document, status, "application/problem+json")
