"""The HTTP contract: routes, and how answers and problems are written."""

from __future__ import annotations

import json
from difflib import get_close_matches
from typing import Any, NamedTuple

from flask import Blueprint, Response, jsonify, render_template, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from imagerec_worker import openapi, v2_views
from imagerec_worker.classifier import Prediction
from imagerec_worker.errors import BadParameterError, ProblemError
from imagerec_worker.metrics import CONTENT_TYPE
from imagerec_worker.preprocess import FORMATS, ImageInfo
from imagerec_worker.recognition import TOP, TOP_DEFAULT, TOP_MAX, TOP_WANTED, Recognition, Timing
from imagerec_worker.service import check_ready, current_service
from imagerec_worker.uploads import read_image

# More labels than these are no answer to "what does it know"; `classes.json` of the bundle has them all.
LABELS_MAX = 30

blueprint = Blueprint("imagerec", __name__)


class Classification(NamedTuple):
    """A classified upload."""

    predictions: list[Prediction]
    image: ImageInfo
    timing_ms: Timing


@blueprint.post("/predict")
def predict() -> ResponseReturnValue:
    """Classify the uploaded image."""
    return _classification_response(_classify())


@blueprint.post("/submit")
def submit() -> ResponseReturnValue:
    """Classify the uploaded image; a browser's form gets a page."""
    if not _wants_html():
        return _classification_response(_classify())
    result = _classify()
    page = Response(
        render_template("result.html", result=result, **_identity()), content_type="text/html; charset=utf-8"
    )
    return _with_timing(page, result.timing_ms)


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
    if request.path == "/submit" and _wants_html():
        page = render_template("problem.html", problem=document)
        return Response(page, document["status"], headers, content_type="text/html; charset=utf-8")
    return Response(json.dumps(document) + "\n", document["status"], headers, content_type="application/problem+json")


def _classify() -> Classification:
    service = current_service()
    recognition = Recognition(service)
    top = _top()
    data = read_image(request, service.settings.max_bytes)
    recognition.end_reading()
    pixels, info = recognition.decode(data)
    _, predictions = recognition.infer(pixels, top)
    return Classification(predictions, info, recognition.finish())


def _top() -> int:
    for name in request.args:
        if name != TOP:
            likely = f"; did you mean {TOP}?" if get_close_matches(name, [TOP], 1, 0.5) else f"; there is only {TOP}"
            raise BadParameterError(f"there is no parameter '{name[:32]}'{likely}")
    values = request.args.getlist(TOP)
    if not values:
        return TOP_DEFAULT
    if len(values) > 1:
        raise BadParameterError(f"{TOP} is given {len(values)} times; give it once")
    text = values[0]
    if not (text.isascii() and text.isdigit() and len(text) <= 2 and 1 <= int(text) <= TOP_MAX):
        raise BadParameterError(TOP_WANTED)
    return int(text)


def _wants_html() -> bool:
    accepted = request.accept_mimetypes
    return accepted.quality("text/html") > accepted.quality("application/json")


def _identity() -> dict[str, Any]:
    service = current_service()
    bundle = service.classifier.bundle
    return {"model": {"name": bundle.name, "version": bundle.version}, "worker": service.settings.worker_name}


def _classification_response(result: Classification) -> Response:
    document = {
        "predictions": [prediction._asdict() for prediction in result.predictions],
        **_identity(),
        "image": result.image._asdict(),
        "timing_ms": result.timing_ms._asdict(),
    }
    return _with_timing(jsonify(document), result.timing_ms)


def _with_timing(response: Response, timing: Timing) -> Response:
    response.headers["Server-Timing"] = timing.header()
    return response
