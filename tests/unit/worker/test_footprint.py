"""What a worker's process holds once it has served, and what it takes while nobody asks."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from bench.processes import exact_cpu_ms, memory
from tests.unit.worker.conftest import Server, start_server, stop_server

MOST_MB = 100
HEAP_BYTES = 64 * 1024 * 1024
ONE_PER_CENT_MS, WATCHED_S = 10, 1


@pytest.fixture(scope="module", params=["colours", "imagenet"])
def asked(
    request: pytest.FixtureRequest, chelsea: npt.NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A real gunicorn that has answered some photographs of each format; the second network is that of `make up`."""
    bundle, folder = request.getfixturevalue(request.param), tmp_path_factory.mktemp("gunicorn")
    server = start_server(bundle.path, "imagerec_worker.gunicorn_worker.ImageWorker", folder)
    try:
        for kind in ("JPEG", "PNG", "WEBP", "GIF") * 5:
            buffer = io.BytesIO()
            Image.fromarray(chelsea).save(buffer, kind)
            answer = server.ask("POST", "/predict", buffer.getvalue(), {"Content-Type": f"image/{kind.lower()}"})
            assert answer.status == 200
        yield server
    finally:
        stop_server(server)


@pytest.mark.slow
def test_a_process_holds_less_than_a_hundred_megabytes(asked: Server) -> None:
    """Private and shared, its libraries and the network among them."""
    deadline_s = time.monotonic() + 60
    while (held := memory([asked.worker_pid()])).processes > 1:  # a child lives a moment longer than its answer
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    assert held.processes == 1
    assert 0 < held.largest_mb <= MOST_MB


def test_a_process_has_one_heap_though_its_log_has_a_thread(asked: Server) -> None:
    """The C library reserves 64 MiB for each further heap; a limit of addresses does not see what is taken of them."""
    process = Path(f"/proc/{asked.worker_pid()}")
    assert len(list((process / "task").iterdir())) > 1
    reserved = re.findall(r"^(\w+)-(\w+) ---p ", (process / "maps").read_text(), re.MULTILINE)
    assert max(int(end, 16) - int(begin, 16) for begin, end in reserved) < HEAP_BYTES / 2


@pytest.mark.slow
def test_a_worker_that_nobody_asks_takes_no_processor(asked: Server) -> None:
    """It waits for a connection, and wakes seldom, to say that it lives."""
    before_ms = exact_cpu_ms(asked.process.pid)
    time.sleep(WATCHED_S)
    assert exact_cpu_ms(asked.process.pid) - before_ms < ONE_PER_CENT_MS * WATCHED_S
