"""What ids, traces and log lines cost a worker, in place: ``python -m bench.following BUNDLE``.

Whole requests are classified in one process, by the network of the bundle, so that each line is written with the caches
as an inference leaves them. Every second request is answered with ids and lines switched off. Two figures come of it:
the processor time spent inside the functions that make ids and lines, and the median difference between a request with
them and the next one without, which also holds what their callers do.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import operator
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from imagerec_worker import app as application
from imagerec_worker import request_log
from imagerec_worker.settings import Settings

HEADERS = {
    "X-Request-Id": "my-photo.7",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "Content-Type": "image/jpeg",
}
FUNCTIONS = ("id_of", "write", "remember_phases")


class Meter:
    """Counts the processor time that functions of this thread take, and can do without them."""

    def __init__(self) -> None:
        self.on = True
        self.spent_ns = 0
        self.real = {name: getattr(request_log, name) for name in FUNCTIONS}

    def wrap(self, name: str) -> Callable[..., Any]:
        """Return the function with its time counted, or left out while this is off."""

        def counted(*arguments: Any) -> Any:
            if not self.on:
                return "my-photo.7" if name == "id_of" else None
            started_ns = time.thread_time_ns()
            result = self.real[name](*arguments)
            self.spent_ns += time.thread_time_ns() - started_ns
            return result

        return counted


def main() -> int:
    """Measure and print one JSON object, in milliseconds."""
    parser = argparse.ArgumentParser(prog="python -m bench.following", description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--requests", type=int, default=600, help="of each kind (default 600)")
    options = parser.parse_args()
    meter = Meter()
    for name in FUNCTIONS:
        setattr(request_log, name, meter.wrap(name))
    client = application.create_app(Settings(bundle=options.bundle, worker_name="worker1")).test_client()
    buffer = io.BytesIO()
    Image.effect_noise((640, 480), 60).convert("RGB").save(buffer, "JPEG")
    inside: list[float] = []
    whole: dict[bool, list[float]] = {True: [], False: []}
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stderr(nowhere):
        for number in range(2 * options.requests + 40):
            meter.on, meter.spent_ns = number % 2 == 0, 0
            started_ns = time.thread_time_ns()
            answer = client.post("/predict", data=buffer.getvalue(), headers=HEADERS)
            taken_ms = (time.thread_time_ns() - started_ns) / 1e6
            assert answer.status_code == 200, answer.text
            if number < 40:
                continue
            whole[meter.on].append(taken_ms)
            if meter.on:
                inside.append(meter.spent_ns / 1e6)
    json.dump(
        {
            "inside_median_ms": round(statistics.median(inside), 4),
            "inside_p95_ms": round(statistics.quantiles(inside, n=20)[-1], 4),
            "paired_difference_ms": round(statistics.median(map(operator.sub, whole[True], whole[False])), 4),
            "whole_request_ms": round(statistics.median(whole[True]), 3),
            "requests_of_each_kind": options.requests,
        },
        sys.stdout,
    )
    print()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
