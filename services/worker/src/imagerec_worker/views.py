"""The HTTP contract: routes, and how answers and problems are written."""

from __future__ import annotations

import json
import time
from difflib import get_close_matches
from typing import Any, NamedTuple

from flask import Blueprint, Response, jsonify, render_template, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from imagerec_worker.classifier import Prediction
from imagerec_worker.errors import BadParameterError, BusyError, DrainingError, ProblemError
from imagerec_worker.metrics import CONTENT_TYPE
from imagerec_worker.preprocess import FORMATS, ImageInfo, preprocess
from imagerec_worker.request_log import remember_phases
from imagerec_worker.service import current_service
from imagerec_worker.uploads import read_image
from imagerec_worker.waiting import queue_s

_TOP = "top"
TOP_DEFAULT = 5
TOP_MAX = 20
# More labels than these are no answer to "what does it know"; `classes.json` of the bundle has them all.
LABELS_MAX = 30
RETRY_AFTER_S = 1

blueprint = Blueprint("imagerec", __name__)


class Timing(NamedTuple):
    """Where the time of a classification went, in milliseconds.

    ``queue`` comes before the worker; ``total`` is the worker's own: the sum of ``read``, ``decode`` and ``inference``.
    """

    queue: float
    read: float
    decode: float
    inference: float
    total: float


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
    drain_file = current_service().settings.drain_file
    if drain_file is not None and drain_file.exists():
        raise DrainingError("this worker is being taken out of service; ask another one")
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


def problem_response(error: ProblemError | HTTPException) -> Response:
    """Return the problem document (RFC 9457) of an error, or a page for a browser's form."""
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
    document["instance"] = request.path
    document["worker"] = current_service().settings.worker_name
    if request.path == "/submit" and _wants_html():
        page = render_template("problem.html", problem=document)
        return Response(page, document["status"], headers, content_type="text/html; charset=utf-8")
    return Response(json.dumps(document) + "\n", document["status"], headers, content_type="application/problem+json")


def _classify() -> Classification:
    started_s = time.perf_counter()
    service = current_service()
    counted_s, waited_s = queue_s(request.headers.get("X-Request-Start", ""))
    if 0 < service.settings.queue_budget_s < counted_s:
        raise BusyError(
            f"the request has waited {counted_s:.1f} s already; try again in {RETRY_AFTER_S} s",
            {"Retry-After": str(RETRY_AFTER_S)},
        )
    top = _top()
    data = read_image(request, service.settings.max_bytes)
    read_s = time.perf_counter()
    bundle = service.classifier.bundle
    pixels, info = preprocess(data, bundle.input_size, service.settings.max_pixels, bundle.crop)
    decoded_s = time.perf_counter()
    predictions = service.classifier.classify(pixels, top)
    inferred_s = time.perf_counter()
    marks_ms = [round((mark_s - started_s) * 1000, 3) for mark_s in (read_s, decoded_s, inferred_s)]
    timing = Timing(
        queue=round(waited_s * 1000, 3),
        read=marks_ms[0],
        decode=round(marks_ms[1] - marks_ms[0], 3),
        inference=round(marks_ms[2] - marks_ms[1], 3),
        total=marks_ms[2],
    )
    phases_ms = timing._asdict()
    service.metrics.observe_phases(phases_ms)
    remember_phases(request.environ, phases_ms)
    return Classification(predictions, info, timing)


def _top() -> int:
    for name in request.args:
        if name != _TOP:
            likely = f"; did you mean {_TOP}?" if get_close_matches(name, [_TOP], 1, 0.5) else f"; there is only {_TOP}"
            raise BadParameterError(f"there is no parameter '{name[:32]}'{likely}")
    values = request.args.getlist(_TOP)
    if not values:
        return TOP_DEFAULT
    if len(values) > 1:
        raise BadParameterError(f"{_TOP} is given {len(values)} times; give it once")
    text = values[0]
    if not (text.isascii() and text.isdigit() and len(text) <= 2 and 1 <= int(text) <= TOP_MAX):
        raise BadParameterError(f"top must be a whole number from 1 to {TOP_MAX}")
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
    response.headers["Server-Timing"] = ", ".join(
        f"{phase};dur={duration_ms}" for phase, duration_ms in timing._asdict().items()
    )
    return response
