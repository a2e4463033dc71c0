"""What an answer says about itself."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import aiohttp


@dataclass(frozen=True)
class Reply:
    """What came back: the part of a `Sample` that the service tells; None where it does not.

    `error` is the problem's slug, or the reason that the connection failed.
    """

    status: int | None
    error: str | None
    worker: str | None = None
    queue_s: float | None = None
    decode_s: float | None = None
    inference_s: float | None = None
    total_s: float | None = None
    upstream_s: float | None = None
    answer: str | None = None
    request_id: str | None = None
    retry_after: str | None = None


def reply_of(response: aiohttp.ClientResponse, content: bytes, *, want_answer: bool) -> Reply:
    """Read an HTTP answer; the predictions in it only where they are wanted, for that takes time."""
    status, headers = response.status, response.headers
    times = parse_server_timing(headers.getall("Server-Timing", ()))
    worker = headers.get("X-Worker")
    error = answer = None
    if status >= 400 or worker is None or want_answer:
        document = _json_object(content)
        worker = worker or _text(document.get("worker"))
        if status >= 400:
            error = _text(document.get("type")) or f"HTTP {status}"
            error = error.rpartition("/")[2][:80]
        elif want_answer:
            answer = _class_ids(document)
    return Reply(
        status=status,
        error=error,
        worker=worker,
        queue_s=times.get("queue"),
        decode_s=times.get("decode"),
        inference_s=times.get("inference"),
        total_s=times.get("total"),
        upstream_s=times.get("upstream"),
        answer=answer,
        request_id=headers.get("X-Request-Id"),
        retry_after=headers.get("Retry-After"),
    )


def parse_server_timing(values: Iterable[str]) -> dict[str, float]:
    """Read durations from Server-Timing headers (W3C Server Timing), in seconds by metric name."""
    times: dict[str, float] = {}
    for value in values:
        for metric in value.split(","):
            name, *parameters = metric.split(";")
            for parameter in parameters:
                key, _, number = parameter.partition("=")
                if key.strip().lower() == "dur":
                    try:
                        times[name.strip()] = float(number.strip().strip('"')) / 1000
                    except ValueError:
                        continue
    return times


def _json_object(content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _class_ids(document: dict[str, Any]) -> str:
    predictions = document.get("predictions")
    if not isinstance(predictions, list):
        return ""
    return " ".join(str(entry.get("wnid")) for entry in predictions if isinstance(entry, dict))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
