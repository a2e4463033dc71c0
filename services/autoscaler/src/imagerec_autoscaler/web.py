"""What nginx, and through it everybody, may ask: how many workers serve, and why."""

from __future__ import annotations

import json

from aiohttp import web

from imagerec_autoscaler.controller import Controller


def create_app(controller: Controller) -> web.Application:
    """Return the application that answers for a controller."""

    async def state(_request: web.Request) -> web.Response:
        return web.Response(body=json.dumps(controller.report()).encode() + b"\n", content_type="application/json")

    async def live(_request: web.Request) -> web.Response:
        return web.json_response({"status": "live"})

    app = web.Application(client_max_size=1024)
    app.router.add_get("/autoscaler", state)
    app.router.add_get("/live", live)
    return app
