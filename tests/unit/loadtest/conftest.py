"""Fixtures of the load test's tests: real services of known service time, in processes of their own."""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from loadtest.cli import main
from tests.unit.loadtest.known import known_fork

DESIGN = """
name: small
goal: Does the whole chain run?
seed: 7
repetitions: 5
dirty: true
deployment: {pool_size: 2, policy: random}
calibration: {unloaded_requests: 12, saturated_s: 1.0, idle_requests: 0}
validity: {lag_of_service: 50, client_cpu: 64, other_cpu: 1, steal: 1}  # a busy test machine leaves no trial out
cells:
  - {arrivals: poisson, utilisation: [0.5, 1.2], image_px: 64, duration_s: 0.5, warmup_s: 0.1}
  - {arrivals: poisson, interval_s: 0.05, image_px: 64, duration_s: 0.3}
  - {arrivals: poisson, utilisation: 0.4, image_mix: {32: 1, 64: 1}, duration_s: 0.3}
  - {arrivals: original, interval_s: 0.01, measured_every: 5, requests: 20, image_px: 64}
  - {arrivals: closed, in_flight: 1, image_px: [32, 64], requests: 5}
figures: [resolution, rate, ccdf, shares, timeseries, method, mix]
"""


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Start a service of known service time with these options; gives its address."""
    with ExitStack() as stack:
        yield lambda *options: stack.enter_context(known_fork(*options))


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A run of DESIGN against two workers of 20 ms, made once for all of xdist; copy it before changing it."""
    own = tmp_path_factory.mktemp("measured")
    of_all = own.parent if worker_id == "master" else own.parent.parent
    folder = of_all / "measured"
    with (of_all / "measured.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # who comes second waits, and finds the run
        if not folder.exists():
            (own / "small.yml").write_text(DESIGN)
            with known_fork("--workers", "2", "--service-ms", "20", "--exponential") as target:
                assert main(["run", str(own / "small.yml"), "--target", target, "--out", str(own / "run")]) == 0
            own.rename(folder)
    return folder / "run"
