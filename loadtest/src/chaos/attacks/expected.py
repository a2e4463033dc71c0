"""What is expected of a server that is attacked."""

from __future__ import annotations

from typing import Any

CLIENT_TIMEOUT_S = 15  # the balancer's balancer_client_timeout_s

# The longest that a server may keep a useless connection, in seconds. Besides: never more answers than requests, and
# none of 5xx but 501 and 505, which name a coding or a version that no server has to know. nginx has no bound for a
# body that drips, for it limits the time between two reads; that holds a connection of the balancer and no worker.
EXPECTED: dict[str, float] = dict.fromkeys(
    ("slow_headers", "slow_reader", "idle", "smuggling", "multipart", "bombs", "mutated", "polyglots"),
    CLIENT_TIMEOUT_S + 5,
) | {"slow_body": float("inf")}

Report = dict[str, Any]


def is_failure(status: str) -> bool:
    """Whether a status is one that no server should give, whatever it is sent."""
    return status.startswith("5") and status not in {"501", "505"}


def violations(report: Report) -> list[str]:
    """Return what in a report was not as expected, in words."""
    found = [f"{count} answers of {status}" for status, count in report["answers"].items() if is_failure(status)]
    if report["smuggled"]:
        found.append(f"smuggled: {', '.join(report['smuggled'])}")
    if report["held_s"] > EXPECTED[report["attack"]]:
        found.append(f"a connection was held for {report['held_s']} s")
    return found
