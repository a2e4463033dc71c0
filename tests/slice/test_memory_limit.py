"""A worker under a real memory limit: the upload that reaches it is lost with its child, and nothing else."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.unit.worker.conftest import start_server, stop_server, write_colour_bundle
from tests.unit.worker.test_gunicorn_worker import head, picture

pytestmark = pytest.mark.slow

GROUPS = Path("/sys/fs/cgroup")
# Left above what the idle processes hold: enough for a photograph, not for what the costliest upload may take (140 MB).
ROOM_BYTES = 60_000_000


class Group:
    """A control group of memory, version 1 or 2."""

    def __init__(self, name: str) -> None:
        self.first = (GROUPS / "memory").is_dir()
        self.folder = GROUPS / ("memory" if self.first else "") / name
        try:
            if not self.first:
                (GROUPS / "cgroup.subtree_control").write_text("+memory")
            self.folder.mkdir()
        except OSError as error:
            pytest.skip(f"needs root and a memory controller of control groups: {error}")

    def take(self, *pids: int) -> None:
        for pid in pids:
            (self.folder / "cgroup.procs").write_text(str(pid))

    def pids(self) -> list[int]:
        return [int(line) for line in (self.folder / "cgroup.procs").read_text().split()]

    def limit(self, size: int) -> None:
        (self.folder / ("memory.limit_in_bytes" if self.first else "memory.max")).write_text(str(size))

    def held(self) -> int:
        """Bytes that the kernel cannot take back."""
        wanted = "total_rss" if self.first else "anon"
        lines = dict(line.split() for line in (self.folder / "memory.stat").read_text().splitlines())
        return int(lines[wanted])

    def remove(self) -> None:
        """Remove it once its last process is gone; processes that stay for a minute are killed."""
        deadline = time.monotonic() + 60
        while (left := self.pids()) and time.monotonic() < deadline:
            time.sleep(0.1)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until(self._removed, f"{self.folder} cannot be removed; it holds {left}")
        assert not left, f"{left} outlived the test and were killed"

    def _removed(self) -> bool:
        with contextlib.suppress(OSError):
            self.folder.rmdir()
        return not self.folder.exists()


@pytest.fixture
def group() -> Iterator[Group]:
    made = Group(f"imagerec-test-{os.getpid()}")
    yield made
    made.remove()


def until(condition: Any, what: str) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def test_an_upload_that_reaches_the_limit_is_lost_and_nothing_else(group: Group, tmp_path: Path) -> None:
    bundle = write_colour_bundle(tmp_path / "bundle")
    worker_class = "imagerec_worker.gunicorn_worker.ImageWorker"
    log = tmp_path / "gunicorn.log"
    server = start_server(bundle.path, worker_class, tmp_path, "--workers", "2")
    try:
        # The master enters, and forks processes anew that are counted from their first page on.
        group.take(server.process.pid)
        server.process.send_signal(signal.SIGHUP)
        until(lambda: len(group.pids()) == 3, "gunicorn has not replaced its processes")
        until(lambda: server.ask("GET", "/readyz").status == 200, "not ready")
        small = picture()
        for _ in range(10):
            assert server.exchange(head(len(small)) + small).startswith(b"HTTP/1.1 200 ")
        until(lambda: len(group.pids()) == 3, "a child of a late body has no end")
        before = set(group.pids())
        group.limit(group.held() + ROOM_BYTES)
        file = io.BytesIO()
        Image.new("RGB", (5600, 5600), "green").save(file, "PNG", compress_level=1)
        costly = file.getvalue()
        lost: list[bytes] = []

        def send_costly() -> None:
            with contextlib.suppress(OSError):
                lost.append(server.exchange(head(len(costly)) + costly))

        sender = threading.Thread(target=send_costly)
        sender.start()
        statuses = []
        deadline = time.monotonic() + 120
        while sender.is_alive() or len(statuses) < 20:
            assert time.monotonic() < deadline, "the costly upload has no end"
            statuses.append(server.exchange(head(len(small)) + small)[:12])
        sender.join()
        assert [answer[:12] for answer in lost] in ([], [b""])
        assert set(statuses) == {b"HTTP/1.1 200"}
        # One that ends closes its connections before it leaves the group.
        until(lambda: set(group.pids()) == before, f"the processes are not {before}, see {log}")

        def is_said() -> bool:
            """Whether its parent says it, which looks after its children when it is asked."""
            assert server.exchange(head(len(small)) + small).startswith(b"HTTP/1.1 200 ")
            return "which had one request, was ended by signal 9" in log.read_text()

        until(is_said, "nothing is said of it")
        for _ in range(10):
            assert server.exchange(head(len(small)) + small).startswith(b"HTTP/1.1 200 ")
    finally:
        stop_server(server)
