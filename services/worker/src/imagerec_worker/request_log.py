"""Following a request: its id, its trace, and one JSON line for each on the standard error stream.

The line holds numbers and names of our own: no photograph, no name of a file, no address that a client made up.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from imagerec_worker import held_lines

HEADER = "X-Request-Id"
LEVELS = ("debug", "info", "warning", "error")
_AT_ONCE = ("warning", "error")
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
# W3C Trace Context: version 00, and later ones but ff, which may say more behind a dash. Whatever else the header holds
# is ignored, as the standard says.
_TRACE = re.compile(r"(?!ff|00.{53}.)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")
_METHODS = frozenset({"GET", "HEAD", "POST", "OPTIONS"})
_PHASES = "imagerec_worker.phases_ms"
_PROBES = frozenset({"/healthz", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"})


# Names and labels as JSON; there are as many as the model has classes.
quoted = lru_cache(maxsize=8192)(json.dumps)


class Outcome(NamedTuple):
    """What was answered: the rule that did it (``unknown`` where none), the status, the bytes of the body if known.

    ``problem`` says why gunicorn refused what the application never saw, as in ``/problems/<problem>``.
    """

    route: str
    status: int
    response_bytes: int | None
    problem: str | None = None


def id_of(environ: Mapping[str, Any]) -> str:
    """Return the id that the balancer or a client gave the request, or one made here when it is none or not valid."""
    given = environ.get("HTTP_X_REQUEST_ID", "")
    return given if _ID.fullmatch(given) else uuid.uuid4().hex


def remember_phases(environ: dict[str, Any], phases_ms: Mapping[str, float]) -> None:
    """Keep the duration of each phase, in milliseconds, for the request's line."""
    environ[_PHASES] = phases_ms


def write(environ: Mapping[str, Any], identity: str, outcome: Outcome, worker: str, least: str) -> None:
    """Write the request's line, unless its level is below ``least``, one of :data:`LEVELS`.

    Lines of warnings and errors are written at once, others within :data:`held_lines.HELD_S`.
    It reads the WSGI environment: the same by way of Flask's objects takes a tenth of a millisecond between inferences.
    """
    route, status, response_bytes, problem = outcome
    level = "error" if status >= 500 else "warning" if status >= 400 else "debug" if route in _PROBES else "info"
    if LEVELS.index(level) < LEVELS.index(least):
        return
    method = environ["REQUEST_METHOD"] if environ["REQUEST_METHOD"] in _METHODS else "other"
    trace = _TRACE.fullmatch(environ.get("HTTP_TRACEPARENT", ""))
    # Between inferences json.dumps takes twice as long for this as everything else here.
    line = (
        f'{{"time": {time.time():.3f}, "level": "{level}", "id": "{identity}", "worker": {quoted(worker)}, '
        f'"method": "{method}", "route": "{route}", "status": {status}, '
        f'"request_bytes": {_number(environ.get("CONTENT_LENGTH", ""))}, '
        f'"response_bytes": {"null" if response_bytes is None else response_bytes}'
    )
    if problem is not None:
        line += f', "problem": "{problem}"'
    if trace is not None:
        line += f', "trace": "{trace[1]}"'
    phases = "".join([f', "{phase}_ms": {duration}' for phase, duration in environ.get(_PHASES, {}).items()])
    held_lines.put(f"{line}{phases}}}\n", at_once=level in _AT_ONCE)


def _number(text: str) -> str:
    return str(int(text)) if text.isdecimal() else "null"
