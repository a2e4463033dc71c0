"""What the description of the API says of numbers and lists: it takes what is asked and answered, and nothing else."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import jsonschema_rs
import pytest
from flask import Flask

from tests.unit.worker.test_v2 import MODEL, asking, images, picture

ABSENT = object()
TRIED = ("post", "get")


@pytest.fixture(scope="module")
def description(app: Flask) -> dict[str, Any]:
    found: dict[str, Any] = app.test_client().get("/openapi.json").get_json()
    return found


@pytest.fixture(scope="module")
def documents(app: Flask) -> dict[str, Any]:
    """A good document of each kind: the worker's own answers, and what the balancer's agent and autoscaler say."""
    client = app.test_client()
    some = {"rate_hz": 2.5, "p50_ms": 4, "p99_ms": 9}
    outcomes = dict.fromkeys(("answered", "refused", "errors", "lost"), 3)
    columns = ("serving", "members", *outcomes, "p50_ms", "p99_ms")
    worker = {"name": "worker1", "state": "serves", "busy": 1, "rate_hz": 2.5, "share": 0.5, "p99_ms": 9}
    history = ("serving", "members", "requests", "refused", "errors", "lost", "p50_ms", "p99_ms")
    second = dict.fromkeys(("arrivals", "answers", "refused", "busy_s", "waited_s", "in_flight"), 3)
    return {
        "Problem": client.get("/nowhere").get_json(),
        "Classification": client.post("/predict", data=picture("red"), content_type="image/png").get_json(),
        "Version": client.get("/version").get_json(),
        "Pool": {
            "serving": 1,
            "workers": [
                {**dict.fromkeys(("name", "state", "since", "why"), "x"), "asked": True, "under_way": None},
            ],
        },
        "LiveFigures": {
            "time": 9,
            "window_s": 60,
            "requests": {**outcomes, **some, "mean_ms": 4.5},
            "workers": [worker],
            "seconds": {"first": 8, **{name: [3] for name in columns}},
        },
        "History": {
            "on": True,
            "hours": 6,
            "points": {"first": 8, "step_s": 72, **{name: [None] * 300 for name in history}},
        },
        "Scaling": {
            "on": True,
            "acts": True,
            "objective_s": 0.5,
            "asleep": [],
            "notices": [],
            "seen": second,
            **dict.fromkeys(("minimum", "maximum", "active", "target"), 1),
            "decisions": [{"time": "now", "reason": "load", "from": 1, "to": 2, "metrics": {}}],
        },
        "V2Request": asking(parameters={"top": 2}, outputs=[{"name": "label"}]),
        "V2Files": images([b"a file"]),
        "V2Answer": client.post(f"{MODEL}/infer", json=asking()).get_json(),
    }


def schema_of(name: str, description: dict[str, Any]) -> dict[str, Any]:
    if name == "Scaling":
        answer = description["paths"]["/autoscaler"]["get"]["responses"]["200"]
        return {**answer["content"]["application/json"]["schema"], "components": description["components"]}
    known = "V2Request" if name == "V2Files" else name
    return {"$ref": f"#/components/schemas/{known}", "components": description["components"]}


def is_described(name: str, document: Any, description: dict[str, Any]) -> bool:
    return jsonschema_rs.Draft202012Validator(schema_of(name, description)).is_valid(document)


def changed(document: Any, path: tuple[str | int, ...], value: Any) -> Any:
    """A copy of the document with another value there; a function makes it of what stands there."""
    whole = copy.deepcopy(document)
    *way, last = path
    place = whole
    for step in way:
        place = place[step]
    if value is ABSENT:
        del place[last]
    else:
        place[last] = value(place[last]) if callable(value) else value
    return whole


def times(count: int) -> Callable[[list[Any]], list[Any]]:
    return lambda found: found[:1] * count


PIXELS, FILES, ASKED = ("inputs", 0, "shape"), ("inputs", 0, "data"), ("parameters", "top")
AT_THE_EDGE = [
    *(("Problem", ("status",), status) for status in (400, 599)),
    *(("Classification", ("predictions",), times(count)) for count in (1, 20)),
    *(("Classification", ("predictions", 0, "probability"), share) for share in (0, 1)),
    *(("Classification", ("image", side), 1) for side in ("width", "height")),
    ("Classification", ("timing_ms", "queue"), 0),
    *(("Version", ("model", "unsure_below"), share) for share in (0, 1)),
    ("Version", ("model", "labels"), ABSENT),
    ("Version", ("batch",), {"max": 0, "window_ms": 0}),
    ("Pool", ("serving",), 0),
    ("Pool", ("workers",), []),
    *(("LiveFigures", ("requests", name), 0) for name in ("rate_hz", "mean_ms", "p50_ms")),
    *(("History", ("hours",), hours) for hours in (1, 6, 24)),
    ("History", ("points", "lost", 0), 0),
    ("History", ("points",), ABSENT),
    *(("Scaling", ("seen", name), 0) for name in ("arrivals", "busy_s")),
    *(("V2Request", ("inputs", 0, "data"), [value]) for value in (0, 255)),
    *(("V2Request", PIXELS, [count, 16, 16, 3]) for count in (1, 16)),
    *(("V2Request", ASKED, top) for top in (1, 20)),
    ("V2Request", ("outputs",), []),
    ("V2Files", FILES, times(16)),
    ("V2Files", PIXELS, [16]),
    ("V2Answer", ("outputs", 0, "shape"), [1, 1]),
]
BEYOND = [
    *(("Problem", ("status",), status) for status in (399, 600)),
    *(("Classification", ("predictions",), times(count)) for count in (0, 21)),
    *(("Classification", ("predictions", 0, "probability"), share) for share in (-0.1, 1.1)),
    *(("Classification", ("image", side), 0) for side in ("width", "height")),
    ("Classification", ("timing_ms", "queue"), -0.1),
    ("Classification", ("more",), 1),
    ("Version", ("limits", "max_bytes"), -1),
    ("Version", ("batch",), {"max": 4, "window_ms": -1}),
    *(("LiveFigures", ("requests", name), -1) for name in ("rate_hz", "mean_ms", "p50_ms")),
    ("History", ("hours",), 2),
    *(("History", ("points", "lost"), times(count)) for count in (299, 301)),
    ("History", ("points", "lost", 0), -1),
    *(("Scaling", ("seen", name), -1) for name in ("arrivals", "busy_s", "waited_s")),
    *(("V2Request", ("inputs", 0, "data"), [value]) for value in (-1, 256)),
    *(("V2Request", PIXELS, shape) for shape in ([0, 16, 16, 3], [17, 16, 16, 3], [1, 16, 16, 4], [1, 16, 16])),
    ("V2Request", PIXELS, [1, 16, 16, 3, 1]),
    *(("V2Request", ("inputs",), times(count)) for count in (0, 2)),
    *(("V2Request", ASKED, top) for top in (0, 21)),
    ("V2Request", ("parameters", "more"), 1),
    *(("V2Files", FILES, times(count)) for count in (0, 17)),
    *(("V2Files", PIXELS, shape) for shape in ([0], [17], [1, 1])),
    *(("V2Answer", ("outputs", 0, "shape"), shape) for shape in ([0, 1], [1, 0], [1], [1, 1, 1])),
]


def test_what_is_answered_and_asked_is_as_described(documents: dict[str, Any], description: dict[str, Any]) -> None:
    assert [name for name, document in documents.items() if not is_described(name, document, description)] == []


@pytest.mark.parametrize(("name", "path", "value"), AT_THE_EDGE)
def test_a_value_at_the_edge_is_described(
    documents: dict[str, Any], description: dict[str, Any], name: str, path: tuple[str | int, ...], value: Any
) -> None:
    assert is_described(name, changed(documents[name], path, value), description)


@pytest.mark.parametrize(("name", "path", "value"), BEYOND)
def test_a_value_beyond_the_edge_is_not_described(
    documents: dict[str, Any], description: dict[str, Any], name: str, path: tuple[str | int, ...], value: Any
) -> None:
    assert not is_described(name, changed(documents[name], path, value), description)


PASSED_ON = "200 400 401 414 429 431 502 503"
STATUSES = {
    **dict.fromkeys(("/version", "/openapi.json", "/healthz", "/v2", "/v2/health/live", "/v2/health/ready"), PASSED_ON),
    **dict.fromkeys(("/predict", "/submit"), f"{PASSED_ON} 413 415 422"),
    **dict.fromkeys(("/workers", "/autoscaler", "/live-figures", "/history"), "200 400 429 503"),
    "/status": "200 400",
    "/readyz": "200 400 503",
    "/metrics": "200 400",
    **{
        f"/v2/models/{{name}}{version}{rest}": f"{PASSED_ON} 404{' 413' if rest == '/infer' else ''}"
        for version in ("", "/versions/{version}")
        for rest in ("", "/ready", "/config", "/infer")
    },
}


def test_each_status_of_an_address_is_told(description: dict[str, Any]) -> None:
    told = {
        path: {status for method in TRIED for status in entry.get(method, {"responses": {}})["responses"]}
        for path, entry in description["paths"].items()
    }
    assert told == {path: set(statuses.split()) for path, statuses in STATUSES.items()}


def test_the_type_of_a_problem_is_left_to_the_problem(description: dict[str, Any]) -> None:
    """A worker's 429 is `busy`, that of a limit of the balancer is not."""
    told = {
        answer["description"]
        for entry in description["paths"].values()
        for method in TRIED
        for answer in entry.get(method, {"responses": {}})["responses"].values()
        if "application/problem+json" in answer["content"]
    }
    assert told == {"A problem; its type says which."}


LENGTH: dict[str, Any] = {"type": "integer", "minimum": 1}
TOP: dict[str, Any] = {"type": "integer", "minimum": 1, "maximum": 20, "default": 5}
PARAMETERS: dict[tuple[str, str], dict[str, Any]] = {
    **{(path, "post"): {"top": TOP} for path in ("/predict", "/submit")},
    ("/live-figures", "get"): {"since": {"type": "integer", "minimum": 0}},
    ("/history", "get"): {"hours": {"enum": [1, 6, 24], "default": 1}},
    ("/v2/models/{name}/infer", "post"): {"Inference-Header-Content-Length": LENGTH},
    ("/v2/models/{name}/versions/{version}/infer", "post"): {"Inference-Header-Content-Length": LENGTH},
}


def test_each_parameter_has_its_range(description: dict[str, Any]) -> None:
    told = {
        (path, method): {each["name"]: each["schema"] for each in entry[method]["parameters"]}
        for path, entry in description["paths"].items()
        for method in TRIED
        if "parameters" in entry.get(method, {})
    }
    assert told == PARAMETERS
    of_request = description["components"]["schemas"]["V2Request"]["properties"]["parameters"]["properties"]
    assert (of_request["top"], of_request["binary_data_output"]["default"]) == (TOP, False)


def test_a_photograph_is_needed_and_a_form_may_hold_more(description: dict[str, Any]) -> None:
    for path, entry in description["paths"].items():
        assert all(each["required"] for each in entry.get("parameters", []))
        if "post" in entry:
            body = entry["post"]["requestBody"]
            assert body["required"], path
            form = body["content"].get("multipart/form-data", {"schema": {"additionalProperties": True}})
            assert form["schema"]["additionalProperties"], path
