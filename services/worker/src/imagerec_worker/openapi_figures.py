"""The part of the API's description that the dashboard reads: what the balancer's agent tells of the requests."""

from __future__ import annotations

from imagerec_worker.openapi_schemas import COUNT, SHARE, TEXT, Json, described, listed

# The windows of /history.
HOURS = [1, 6, 24]
_OUTCOMES = ("answered", "refused", "errors", "lost")


def live_figures() -> Json:
    """Return the schema of ``/live-figures``."""
    some: Json = {"type": ["integer", "null"], "minimum": 0}
    rate: Json = {"type": "number", "minimum": 0}
    columns = {**dict.fromkeys(("serving", "members", *_OUTCOMES), COUNT), "p50_ms": some, "p99_ms": some}
    worker = {"name": TEXT, "state": TEXT, "why": TEXT, "since": TEXT, "busy": some, "rate_hz": rate, "share": SHARE}
    return described(
        {
            "time": COUNT,
            "window_s": COUNT,
            "requests": described(
                {
                    **dict.fromkeys(_OUTCOMES, COUNT),
                    "rate_hz": rate,
                    "mean_ms": {"type": ["number", "null"], "minimum": 0},
                    "p50_ms": some,
                    "p99_ms": some,
                }
            ),
            "workers": listed(described({**worker, "p99_ms": some}, "why", "since")),
            "seconds": described({"first": COUNT, **{name: listed(each) for name, each in columns.items()}}),
        }
    )


def history() -> Json:
    """Return the schema of ``/history``."""
    some: Json = {"type": ["number", "null"], "minimum": 0}
    names = ("serving", "members", "requests", "refused", "errors", "lost", "p50_ms", "p99_ms")
    points = described({"first": COUNT, "step_s": COUNT, **{name: listed(some, 300, 300) for name in names}})
    return described({"on": {"type": "boolean"}, "hours": {"enum": HOURS}, "points": points}, "hours", "points")
