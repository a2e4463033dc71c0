"""The line of a request: which level it has, and what stands in it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from imagerec_worker import request_log
from imagerec_worker.request_log import Outcome

TRACE = "0af7651916cd43dd8448eb211c80319c"


def line_of(logged: Callable[[], list[Any]], outcome: Outcome, least: str = "debug", **environ: Any) -> Any:
    """Write a line and return it, parsed; None where there is none."""
    request_log.write({"REQUEST_METHOD": "POST", **environ}, "id-1", outcome, 'a "worker"', least)
    (line,) = logged() or [None]
    return line


@pytest.mark.parametrize(
    ("route", "status", "level"),
    [
        ("/predict", 200, "info"),
        ("/predict", 399, "info"),
        ("/predict", 400, "warning"),
        ("/predict", 499, "warning"),
        ("/predict", 500, "error"),
        ("/healthz", 200, "debug"),
        ("/readyz", 200, "debug"),
        ("/metrics", 200, "debug"),
        ("/v2/health/live", 200, "debug"),
        ("/v2/health/ready", 200, "debug"),
        ("/readyz", 503, "error"),
    ],
)
def test_the_status_and_the_route_decide_the_level(
    logged: Callable[[], list[Any]], route: str, status: int, level: str
) -> None:
    outcome = Outcome(route, status, 1)
    assert line_of(logged, outcome)["level"] == level
    levels = request_log.LEVELS
    written = [least for least in levels if line_of(logged, outcome, least)]
    assert written == list(levels[: levels.index(level) + 1])


def test_a_line_has_what_was_asked_and_answered(logged: Callable[[], list[Any]]) -> None:
    environ: dict[str, Any] = {"CONTENT_LENGTH": "0012", "HTTP_TRACEPARENT": f"00-{TRACE}-b7ad6b7169203331-01"}
    request_log.remember_phases(environ, {"queue": 0.5, "total": 2.25})
    line = line_of(logged, Outcome("/predict", 200, 34), **environ)
    assert abs(line.pop("time") - time.time()) < 600
    assert line == {
        "level": "info",
        "id": "id-1",
        "worker": 'a "worker"',
        "method": "POST",
        "route": "/predict",
        "status": 200,
        "request_bytes": 12,
        "response_bytes": 34,
        "trace": TRACE,
        "queue_ms": 0.5,
        "total_ms": 2.25,
    }


@pytest.mark.parametrize(
    ("version", "rest", "valid"),
    [
        ("00", "", True),
        ("00", "-more", False),
        ("01", "", True),
        ("fe", "-more", True),
        ("01", "more", False),
        ("ff", "", False),
    ],
)
def test_of_a_later_trace_context_the_id_is_read(
    logged: Callable[[], list[Any]], version: str, rest: str, valid: bool
) -> None:
    context = f"{version}-{TRACE}-b7ad6b7169203331-01{rest}"
    assert ("trace" in line_of(logged, Outcome("/predict", 200, 1), HTTP_TRACEPARENT=context)) == valid


@pytest.mark.parametrize("length", ["", "many", "-1", "1.5"])
def test_what_is_not_known_is_null(logged: Callable[[], list[Any]], length: str) -> None:
    line = line_of(logged, Outcome("/predict", 200, None), CONTENT_LENGTH=length)
    assert (line["request_bytes"], line["response_bytes"]) == (None, None)
    assert "trace" not in line
    assert line_of(logged, Outcome("/predict", 200, 0))["response_bytes"] == 0


@pytest.mark.parametrize(
    ("method", "told"),
    [("GET", "GET"), ("HEAD", "HEAD"), ("POST", "POST"), ("OPTIONS", "OPTIONS"), ("DELETE", "other"), ('A"B', "other")],
)
def test_a_method_that_nobody_serves_is_not_written_down(
    logged: Callable[[], list[Any]], method: str, told: str
) -> None:
    assert line_of(logged, Outcome("/predict", 200, 1), REQUEST_METHOD=method)["method"] == told


@pytest.mark.parametrize(
    ("given", "kept"), [("a", True), ("a" * 64, True), ("a" * 65, False), ("", False), ("a b", False)]
)
def test_an_id_is_kept_where_it_is_a_plain_name(given: str, kept: bool) -> None:
    identity = request_log.id_of({"HTTP_X_REQUEST_ID": given})
    assert (identity == given) == kept
    assert kept or (len(identity) == 32 and identity != request_log.id_of({"HTTP_X_REQUEST_ID": given}))
