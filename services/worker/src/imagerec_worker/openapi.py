"""The description of the API, OpenAPI 3.1: what ``GET /openapi.json`` answers.

It is written here once, for the workers and for what the balancer answers itself; ``x-served-by`` of an operation says
who does. What is a number or a list elsewhere in the code is taken from there.
"""

from __future__ import annotations

from typing import Any

from imagerec_worker import openapi_figures, openapi_v2
from imagerec_worker.openapi_schemas import COUNT, FILE, SHARE, TEXT, Json, answered, asked, described, listed, refer
from imagerec_worker.preprocess import FORMATS
from imagerec_worker.recognition import TOP, TOP_DEFAULT, TOP_MAX, Timing
from imagerec_worker.service import Service

BOTH, WORKER, BALANCER = openapi_v2.BOTH, ["worker"], ["balancer"]
# A worker and the balancer have other types for one status.
_PROBLEM = answered("A problem; its type says which.", refer("Problem"), "application/problem+json")


def document(service: Service) -> Json:
    """Return the description of the API of the application that answers."""
    bundle = service.classifier.bundle
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Image recognition",
            "version": service.version,
            "summary": "Classifies photographs over HTTP.",
            "description": (
                f"The model is {bundle.title}. Where the operator has set keys, send one with each request. "
                "A parameter of an address that is not described here is refused."
            ),
        },
        "servers": [{"url": "/"}],
        "security": [{}, {"key": []}, {"bearer": []}],
        "paths": {**_paths(service), **openapi_v2.paths(bundle)},
        "components": {
            "schemas": {**_schemas(), **openapi_v2.schemas(bundle)},
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def _operation(served_by: list[str], what: str, good: Json, *bad: int, **more: Any) -> Json:
    problems = {
        str(status): _PROBLEM for status in sorted({*bad, *(openapi_v2.PASSED_ON if served_by == BOTH else ())})
    }
    return {"summary": what, "x-served-by": served_by, **more, "responses": {"200": good, **problems}}


def _get(served_by: list[str], what: str, schema: Json, *bad: int, **more: Any) -> Json:
    return {"get": _operation(served_by, what, answered("As asked.", schema), *bad, **more)}


def _paths(service: Service) -> Json:
    images = {f"image/{kind.lower()}": {"schema": FILE} for kind in FORMATS}
    form = described({"image": FILE}) | {"additionalProperties": True}
    top: Json = {"type": "integer", "minimum": 1, "maximum": TOP_MAX, "default": TOP_DEFAULT}
    upload: Json = {
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": form}, **images}},
        "parameters": [asked("query", TOP, top, "How many of the most probable classes are wanted.")],
    }
    classified = answered("The classes, the most probable first.", refer("Classification"))
    classified["headers"] = {"Server-Timing": {"description": "Where the time went.", "schema": TEXT}}
    what = f"Classify one photograph of at most {service.settings.max_bytes} bytes"
    predict = _operation(BOTH, f"{what}.", classified, *(413, 415, 422), **upload)
    paged = {
        status: answer | {"content": answer["content"] | {"text/html": {"schema": TEXT}}}
        for status, answer in predict["responses"].items()
    }
    submit = predict | {"summary": f"{what}; a browser's form gets a page.", "responses": paged}
    status = described({"status": TEXT})
    hours = {"enum": openapi_figures.HOURS, "default": openapi_figures.HOURS[0]}
    return {
        "/predict": {"post": predict},
        "/submit": {"post": submit},
        "/version": _get(BOTH, "Say what runs and what it accepts.", refer("Version")),
        "/openapi.json": _get(BOTH, "Describe the API.", {"type": "object"}),
        "/healthz": _get(
            BOTH,
            "Say whether the balancer can serve; on a worker, that the process lives.",
            {**status, "properties": {"status": TEXT, "workers": COUNT}},
        ),
        "/workers": _get(BALANCER, "Tell the state of each worker.", refer("Pool"), 400, 429, 503),
        "/autoscaler": _get(BALANCER, "Tell how many workers serve, and why.", _scaling(), 400, 429, 503),
        "/live-figures": _get(
            BALANCER,
            "Tell what became of the requests of the last minutes, by the second.",
            refer("LiveFigures"),
            *(400, 429, 503),
            parameters=[asked("query", "since", COUNT, "The last second that is known already, since 1970.")],
        ),
        "/history": _get(
            BALANCER,
            "Tell what became of the requests of the last hours, where Prometheus watches, or that none does.",
            refer("History"),
            *(400, 429, 503),
            parameters=[asked("query", "hours", hours, "How many hours are wanted.")],
        ),
        "/status": _get(BALANCER, "Tell how requests are spread.", refer("Balancing"), 400),
        "/readyz": _get(WORKER, "Say whether new work is welcome.", status, 400, 503),
        "/metrics": {
            "get": _operation(WORKER, "Give the metrics.", answered("Prometheus' text.", TEXT, "text/plain"), 400)
        },
    }


def _scaling() -> Json:
    names, numbers = ("minimum", "maximum", "active", "target"), {"type": ["integer", "null"]}
    decision = described(
        {**dict.fromkeys(("time", "reason"), TEXT), "from": COUNT, "to": COUNT, "metrics": {"type": "object"}}
    )
    second = dict.fromkeys(("arrivals", "answers", "refused"), COUNT)
    second |= {name: {"type": "number", "minimum": 0} for name in ("busy_s", "waited_s")}
    second |= {"in_flight": {"type": ["integer", "null"]}}
    rest = {
        "acts": {"type": "boolean"},
        "objective_s": {"type": "number"},
        "asleep": listed(TEXT),
        "seen": described(second) | {"type": ["object", "null"]},
        "notices": listed(TEXT),
    }
    fields = {**dict.fromkeys(names, numbers), **rest, "decisions": listed(decision)}
    return described({"on": {"type": "boolean"}, **fields}, *fields)


def _schemas() -> Json:
    prediction = {"label": TEXT, "wnid": TEXT, "probability": SHARE}
    model = {"name": TEXT, "version": TEXT}
    versioned = {
        **model,
        **dict.fromkeys(("title", "quantisation", "notice"), TEXT),
        "digest": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        "classes": COUNT,
        "labels": listed(TEXT),
        "input_size": COUNT,
        "unsure_below": SHARE,
    }
    worker = {
        **dict.fromkeys(("name", "state", "since", "why"), TEXT),
        "asked": {"type": "boolean"},
        "under_way": {"type": ["integer", "null"]},
    }
    return {
        "Problem": described(
            {
                **dict.fromkeys(("type", "title", "detail", "instance", "worker"), TEXT),
                "status": {"type": "integer", "minimum": 400, "maximum": 599},
            },
            *("instance", "worker"),
        ),
        "Classification": described(
            {
                "predictions": listed(described(prediction), 1, TOP_MAX),
                "model": described(model),
                "worker": TEXT,
                "image": described(
                    {
                        "format": {"enum": list(FORMATS)},
                        "width": {**COUNT, "minimum": 1},
                        "height": {**COUNT, "minimum": 1},
                    }
                ),
                "timing_ms": described({phase: {"type": "number", "minimum": 0} for phase in Timing._fields}),
            }
        ),
        "Version": described(
            {
                **dict.fromkeys(("service", "version", "worker"), TEXT),
                "model": described(versioned, "labels"),
                "limits": described({"max_bytes": COUNT, "max_pixels": COUNT}),
                "formats": listed(TEXT),
                "batch": described({"max": COUNT, "window_ms": {"type": "number", "minimum": 0}}),
            },
            "batch",
        ),
        "Pool": described({"serving": COUNT, "workers": listed(described(worker))}),
        "LiveFigures": openapi_figures.live_figures(),
        "History": openapi_figures.history(),
        "Balancing": described(
            {
                "policy": TEXT,
                "pool_size": COUNT,
                "workers": listed(TEXT),
                "limits": described(dict.fromkeys(("max_conns", "address_rate_hz", "address_connections"), COUNT)),
                "configuration": TEXT,
            }
        ),
    }
