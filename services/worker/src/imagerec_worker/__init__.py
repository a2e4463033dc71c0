"""Image classification over HTTP: a Flask app that serves one LiteRT model bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from imagerec_worker.settings import Settings

__all__ = ["create_app"]


def create_app(settings: Settings | None = None) -> Flask:
    """Return the application; see :func:`imagerec_worker.app.create_app`.

    The import waits for the call: who only reads or writes bundles needs no Flask and no network.
    """
    from imagerec_worker import app  # noqa: PLC0415

    return app.create_app(settings)
