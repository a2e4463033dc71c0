"""The HTTP contract: routes, and how answers and problems are written."""

from __future__ import annotations

import json
from typing import Any

from flask import Blueprint, Response, render_template, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from imagerec_worker import openapi, v2_views
from imagerec_worker.answers import answer, classify
from imagerec_worker.errors import ProblemError
from imagerec_worker.metrics import CONTENT_TYPE
from imagerec_worker.plain import PREDICT, raise_failure
from imagerec_worker.preprocess import FORMATS
from imagerec_worker.service import check_ready, current_service
from imagerec_worker.settings import Settings

# More labels than these are no answer to "what does it know"; `classes.json` of the bundle has them all.
LABELS_MAX = 30

SUBMIT = "/submit"
UPLOADS = frozenset({PREDICT, SUBMIT})

blueprint = Blueprint("imagerec", __name__)


@blueprint.post(PREDICT)
def predict() -> ResponseReturnValue:
    """Classify the uploaded image; see :mod:`imagerec_worker.plain` for the usual way around this view."""
    raise_failure(request.environ)
    service = current_service()
    headers, body = answer(service, classify(service, request.environ))
    return Response(body, headers=headers)


@blueprint.post(SUBMIT)
def submit() -> ResponseReturnValue:
    """Classify the uploaded image; a browser's form gets a page."""
    service = current_service()
    result = classify(service, request.environ)
    if not _wants_html():
        headers, body = answer(service, result)
        return Response(body, headers=headers)
    bundle = service.classifier.bundle
    model = {"name": bundle.name, "version": bundle.version}
    page = render_template("result.html", result=result, model=model, worker=service.settings.worker_name)
    return Response(page, content_type="text/html; charset=utf-8", headers={"Server-Timing": result.timing_ms.header()})


@blueprint.get("/healthz")
def healthz() -> ResponseReturnValue:
    """Say that the process answers."""
    return {"status": "live"}


@blueprint.get("/readyz")
def readyz() -> ResponseReturnValue:
    """Say whether new work is welcome."""
    check_ready()
    return {"status": "ready"}


@blueprint.get("/version")
def version() -> ResponseReturnValue:
    """Say what runs here and what it accepts."""
    service = current_service()
    bundle = service.classifier.bundle
    return {
        "service": "imagerec-worker",
        "version": service.version,
        "worker": service.settings.worker_name,
        "model": {
            "name": bundle.name,
            "version": bundle.version,
            "title": bundle.title,
            "digest": bundle.digest,
            "classes": len(bundle.classes),
            **({"labels": [each.label for each in bundle.classes]} if len(bundle.classes) <= LABELS_MAX else {}),
            "input_size": bundle.input_size,
            "quantisation": bundle.quantisation,
            "notice": bundle.notice,
            "unsure_below": bundle.unsure_below,
        },
        "limits": {"max_bytes": service.settings.max_bytes, "max_pixels": service.settings.max_pixels},
        "formats": list(FORMATS),
        **_batches(service.settings),
    }


@blueprint.get("/metrics")
def metrics() -> ResponseReturnValue:
    """Give the metrics to Prometheus."""
    return Response(current_service().metrics.render(), content_type=CONTENT_TYPE)


@blueprint.get("/openapi.json")
def describe() -> ResponseReturnValue:
    """Describe the API."""
    return openapi.document(current_service())


def problem_response(error: ProblemError | HTTPException) -> Response:
    """Return the problem document (RFC 9457) of an error, or what the protocol or a browser's form wants instead."""
    if isinstance(error, ProblemError):
        document, headers = error.document(), dict(error.headers)
    else:
        document = {
            "type": "about:blank",
            "title": error.name,
            "status": error.code or 500,
            "detail": error.description,
        }
        headers = {}
    if f"{request.path}/".startswith(f"{v2_views.PREFIX}/"):
        return v2_views.error_response(document["status"], document["detail"], headers)
    document["instance"] = request.path
    document["worker"] = current_service().settings.worker_name
    if request.path == SUBMIT and _wants_html():
        page = render_template("problem.html", problem=document)
        return Response(page, document["status"], headers, content_type="text/html; charset=utf-8")
    return Response(json.dumps(document) + "\n", document["status"], headers, content_type="application/problem+json")


def _batches(settings: Settings) -> dict[str, Any]:
    """Return what is set about batches, where they are on."""
    if settings.batch_max == 1:
        return {}
    return {"batch": {"max": settings.batch_max, "window_ms": settings.batch_window_ms}}


def _wants_html() -> bool:
    accepted = request.accept_mimetypes
    return accepted.quality("text/html") > accepted.quality("application/json")
