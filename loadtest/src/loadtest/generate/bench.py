"""Measure the generator itself: how late it sends, against a null server on the loopback."""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import numpy as np

from loadtest.errors import LoadtestError
from loadtest.experiments.precision import least_for
from loadtest.generate import arrivals, punctual
from loadtest.generate.client import Client
from loadtest.generate.effort import Effort
from loadtest.generate.payload import encode
from loadtest.generate.recording import record_load
from loadtest.generate.samples import read_trial


@dataclass(frozen=True, slots=True)
class BenchResult:
    """What the generator reached.

    Attributes:
        rate_hz: Requests a second that were asked for.
        achieved_hz: Requests a second that were sent.
        failures: Requests without a good answer.
        lag_p50_s: Median of how late requests left.
        lag_p99_s: 99th percentile of the same; None of fewer than 1,000 requests.
        lag_max_s: The latest of all.
        effort: CPU and requests under way.
    """

    rate_hz: float
    achieved_hz: float
    failures: int
    lag_p50_s: float
    lag_p99_s: float | None
    lag_max_s: float
    effort: Effort


@contextlib.contextmanager
def known_server(*options: str) -> Iterator[str]:
    """Run `python -m loadtest.generate.knownserver` in a process of its own during the block; gives its address.

    Raises:
        LoadtestError: It did not start.
    """
    command = [sys.executable, "-m", "loadtest.generate.knownserver", *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            port = process.stdout.readline().strip()
            if not port:
                raise LoadtestError("the null server did not start; its reason stands above")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.stdin.close()
            process.wait(timeout=30)


def bench(rate_hz: float, duration_s: float, body_bytes: int) -> BenchResult:
    """Send Poisson arrivals of body_bytes each to a null server for duration_s seconds.

    Where the machine has two cores or more, generator and server each get one, so that one core is what is measured.

    Raises:
        LoadtestError: Chance had no request in that time, or the server did not start.
    """
    cores = sorted(os.sched_getaffinity(0))
    with known_server() as target, tempfile.TemporaryDirectory() as folder:
        if len(cores) > 1:
            os.sched_setaffinity(0, {cores[-1]})
        try:
            path = Path(folder) / "bench.jsonl.gz"
            effort = punctual.run(_drive(target, path, rate_hz, duration_s, body_bytes))
        finally:
            os.sched_setaffinity(0, set(cores))
        samples = read_trial(path).samples
    if not samples:
        raise LoadtestError("no request was due in so short a time; give a higher --rate or more --seconds")
    lags = np.array([sample.lag_s for sample in samples])
    return BenchResult(
        rate_hz=rate_hz,
        achieved_hz=len(samples) / duration_s,
        failures=sum(not sample.ok for sample in samples),
        lag_p50_s=float(np.quantile(lags, 0.5)),
        lag_p99_s=float(np.quantile(lags, 0.99)) if len(lags) >= least_for(0.99) else None,
        lag_max_s=float(lags.max()),
        effort=effort,
    )


async def _drive(target: str, path: Path, rate_hz: float, duration_s: float, body_bytes: int) -> Effort:
    payload = encode("bench", bytes(body_bytes), "image/jpeg", multipart=True)
    offsets = list(arrivals.poisson(rate_hz, duration_s, np.random.default_rng(1)))
    async with Client(target) as client:
        warm_up = path.with_suffix(".warm")
        await record_load(client, warm_up, {}, repeat(payload), lambda runner: runner.closed_loop(8, requests=100))
        return await record_load(
            client, path, {"cell": "bench"}, repeat(payload), lambda runner: runner.open_loop(offsets)
        )
