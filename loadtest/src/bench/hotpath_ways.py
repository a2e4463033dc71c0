"""The ways to serve that `make hotpath` holds against each other, and the processes that serve them."""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import requests

from bench import processes
from bench.peers.known import nginx
from bench.systems import Served, answers, end, wait
from deployed.checkout import REPOSITORY
from deployed.local import free_ports
from loadtest.errors import LoadtestError

BARE = "decode and inference"
LEAST = "the least that a worker in Python does"
CORE = max(os.sched_getaffinity(0))
# What the balancer sends with every photograph.
_HEADERS = (
    'proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host; '
    "proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme; "
    'proxy_set_header X-Request-Id $request_id; proxy_set_header X-Request-Start "t=$msec";'
)


class Way(NamedTuple):
    """One worker process behind nginx: what it lacks, who runs it, how nginx reaches it, whose code it is."""

    without: str = ""
    worker_class: str = "imagerec_worker.gunicorn_worker.ImageWorker"
    application: str = "bench.hotpath_app:app"
    socket: bool = False
    kept: bool = False
    checkout: Path = REPOSITORY


WAYS = {
    "as it is": Way(),
    "all by Flask": Way(without="layer"),
    "without ids and lines": Way(without="lines"),
    "through a unix socket": Way(socket=True),
    LEAST: Way(worker_class="bench.hotpath_least.LeastWorker", application="bench.hotpath_least:app"),
    "gunicorn's gthread": Way(worker_class="gthread"),
    "gunicorn's gthread, connections kept": Way(worker_class="gthread", kept=True),
}


class Serving:
    """Ways that serve, all on one core, and a process beside them that only decodes and infers."""

    def __init__(
        self, served: Mapping[str, Served], nginx_pid: int, bare: subprocess.Popen[str], photographs: Sequence[bytes]
    ) -> None:
        self._served, self._nginx, self._bare, self._photographs = served, nginx_pid, bare, photographs
        self._client = requests.Session()

    def spent_ms(self, name: str) -> float:
        """Return the processor milliseconds that a way's worker has taken so far."""
        return processes.exact_cpu_ms(self._bare.pid if name == BARE else self._served[name].roots[0])

    def ask(self, name: str, numbers: Sequence[int]) -> float:
        """Send photographs to a way, one after the other; return the processor milliseconds that nginx took.

        Raises:
            LoadtestError: One is not answered 200, or the process that only decodes and infers has ended.
        """
        if name == BARE:
            self._infer(numbers)
            return 0.0
        before_ms = processes.exact_cpu_ms(self._nginx)
        for number in numbers:
            url = f"http://127.0.0.1:{self._served[name].port}/predict"
            headers = {"Content-Type": "image/jpeg"}
            answer = self._client.post(url, data=self._photographs[number], headers=headers, timeout=60)
            if answer.status_code != 200:
                raise LoadtestError(f"{name}: a photograph is answered {answer.status_code}: {answer.text[:200]}")
        return processes.exact_cpu_ms(self._nginx) - before_ms

    def _infer(self, numbers: Sequence[int]) -> None:
        assert self._bare.stdin is not None
        assert self._bare.stdout is not None
        self._bare.stdin.write(" ".join(map(str, ("served", 0, *numbers))) + "\n")
        self._bare.stdin.flush()
        if not self._bare.stdout.readline():
            raise LoadtestError("the process that decodes and infers has ended; its reason stands above")


@contextlib.contextmanager
def serving(ways: Mapping[str, Way], bundle: Path, images: Path, folder: Path) -> Iterator[Serving]:
    """Run all ways, nginx before them, and the process that only decodes and infers; they end with the block.

    Raises:
        LoadtestError: One does not start.
    """
    paths = sorted(images.iterdir())
    started: list[subprocess.Popen[bytes]] = []
    ports = free_ports(2 * len(ways))
    served, http = {}, []
    try:
        for (name, way), front, own in zip(ways.items(), ports[::2], ports[1::2], strict=True):
            place = folder / f"way{front}"
            place.mkdir()
            address = f"unix:{place}/socket" if way.socket else f"127.0.0.1:{own}"
            command = [sys.executable, "-m", "gunicorn", "--bind", address, "--worker-class", way.worker_class]
            command += ["--no-control-socket", way.application]
            started.append(_started(command, place, way, bundle))
            kept = "keepalive 1;" if way.kept else ""
            http.append(f"upstream {place.name} {{ server {address}; {kept} }}")
            location = f"location / {{ proxy_pass http://{place.name}; {_HEADERS} }}"
            http.append(f"server {{ listen 127.0.0.1:{front}; {location} }}")
            roots = (started[-1].pid,)
            served[name] = Served(name, name, front, "/predict", False, "", roots, Path(sys.executable), "")
        started.append(_started(nginx(folder, "\n    ".join(http)), folder, Way(), bundle))
        for one in served.values():
            wait(functools.partial(answers, one, paths[0]), started, one.title, folder / f"way{one.port}/log")
        for process in started:
            processes.pin(process.pid, CORE)
        with subprocess.Popen(  # noqa: S603  our own program
            [sys.executable, "-m", "bench.limit", str(bundle), str(images), str(CORE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as bare:
            if bare.stdout is None or bare.stdout.readline() != "ready\n":
                raise LoadtestError("the process that decodes and infers does not start; its reason stands above")
            yield Serving(served, started[-1].pid, bare, [path.read_bytes() for path in paths])
    finally:
        end(started)


def _started(command: Sequence[str], folder: Path, way: Way, bundle: Path) -> subprocess.Popen[bytes]:
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(
            str(path) for path in (way.checkout.resolve() / "services/worker/src", REPOSITORY / "loadtest/src")
        ),
        "IMAGEREC_BUNDLE": str(bundle),
        "PROMETHEUS_MULTIPROC_DIR": str(folder),
        "BENCH_WITHOUT": way.without,
        "BENCH_BUNDLE": str(bundle),
        "BENCH_DECODER": "served",
    }
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(  # noqa: S603  our own programs
            command, cwd=folder, env=environment, stdout=log, stderr=log, process_group=0
        )
