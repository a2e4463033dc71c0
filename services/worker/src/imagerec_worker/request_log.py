"""Following a request: its id, its trace, and one JSON line for each on the standard error stream.

The line holds numbers and names of our own: no photograph, no name of a file, no address that a client made up.
"""

from __future__ import annotations

import json
import re
import sys
import time
import uuid
from collections.abc import Mapping

from flask import Request, Response, g

HEADER = "X-Request-Id"
LEVELS = ("debug", "info", "warning", "error")
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
# W3C Trace Context, version 00; whatever else the header holds is ignored, as the standard says.
_TRACE = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_PROBES = frozenset({"/healthz", "/readyz", "/metrics"})


def id_of(request: Request) -> str:
    """Return the id that the balancer or a client gave the request, or one made here when it is none or not valid."""
    given = request.headers.get(HEADER, "")
    return given if _ID.fullmatch(given) else uuid.uuid4().hex


def remember_phases(phases_ms: Mapping[str, float]) -> None:
    """Keep the duration of each phase, in milliseconds, for the request's line."""
    g.phases_ms = phases_ms


def write(request: Request, response: Response, route: str, worker: str, least: str) -> None:
    """Write the request's line, unless its level is below ``least``, one of :data:`LEVELS`."""
    status = response.status_code
    level = "error" if status >= 500 else "warning" if status >= 400 else "debug" if route in _PROBES else "info"
    if LEVELS.index(level) < LEVELS.index(least):
        return
    line: dict[str, object] = {
        "time": round(time.time(), 3),
        "level": level,
        "id": response.headers[HEADER],
        "worker": worker,
        "method": request.method if request.method in {"GET", "HEAD", "POST", "OPTIONS"} else "other",
        "route": route,
        "status": status,
        "request_bytes": request.content_length,
        "response_bytes": response.content_length,
    }
    trace = _TRACE.fullmatch(request.headers.get("traceparent", ""))
    if trace is not None:
        line["trace"] = trace[1]
    line.update((f"{phase}_ms", duration) for phase, duration in g.get("phases_ms", {}).items())
    sys.stderr.write(json.dumps(line) + "\n")
