"""What is measured: processes of the limit, deployments by `make up`, the baseline; and what they cost."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import requests
import yaml

from deployed.checkout import REPOSITORY, run
from deployed.local import Deployment, free_ports, local_deployment
from loadtest.generate.client import Client, encode
from loadtest.generate.effort import Effort
from loadtest.generate.recording import record_load
from loadtest.generate.samples import read_trial

KERAS_PYTHON = REPOSITORY / ".venv-keras/bin/python"
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclasses.dataclass(frozen=True, slots=True)
class Measured:
    """One run of one system.

    Attributes:
        rate_hz: Images a second.
        cpu_ms: CPU milliseconds an image on the serving side.
        client_cpu_ms: The same of the load generator, where there is one.
    """

    rate_hz: float
    cpu_ms: float
    client_cpu_ms: float = 0.0


class Limit:
    """Two pinned processes without HTTP."""

    def __init__(self, bundle: Path, images: Path) -> None:
        cores = sorted(os.sched_getaffinity(0))[:2]
        self._processes = [
            subprocess.Popen(  # noqa: S603  our own program
                [sys.executable, "-m", "bench.limit", str(bundle), str(images), str(core)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=REPOSITORY,
            )
            for core in cores
        ]
        for process in self._processes:
            assert process.stdout is not None
            if process.stdout.readline().strip() != "ready":
                raise RuntimeError("a process of the in-process limit did not start; its reason stands above")

    def run(self, decoder: str, seconds: float) -> Measured:
        """Run all processes at once with a decoder for so many seconds."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(f"{decoder} {seconds}\n")
            process.stdin.flush()
        answers = [process.stdout.readline().split() for process in self._processes if process.stdout]
        images = sum(int(count) for count, _ in answers)
        return Measured(images / seconds, 1e3 * sum(float(cpu) for _, cpu in answers) / images)

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.communicate()


@dataclasses.dataclass(frozen=True, slots=True)
class Served:
    """An HTTP server to send load to.

    Attributes:
        port: on the loopback.
        path: of the form.
        roots: process ids whose trees serve.
    """

    port: int
    path: str
    roots: tuple[int, ...]

    def run(self, images: list[bytes], connections: int, seconds: float) -> Measured:
        """Send the images as forms, in turn, over so many connections; every answer must be 200."""
        before = self._cpu_s()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "samples"
            effort = asyncio.run(self._send(path, images, connections, seconds))
            samples = read_trial(path).samples
        spent = self._cpu_s() - before
        statuses = Counter(sample.status for sample in samples)
        if set(statuses) != {200}:
            raise RuntimeError(f"port {self.port} answered {dict(statuses)}; only 200 counts")
        client_s = effort.cpu_share * effort.wall_s
        return Measured(len(samples) / effort.wall_s, 1e3 * spent / len(samples), 1e3 * client_s / len(samples))

    async def _send(self, path: Path, images: list[bytes], connections: int, seconds: float) -> Effort:
        payloads = [encode("photograph", image, "image/jpeg", multipart=True) for image in images]
        async with Client(f"http://127.0.0.1:{self.port}", path=self.path, timeout_s=120) as client:
            return await record_load(
                client,
                path,
                {},
                itertools.cycle(payloads),
                lambda runner: runner.closed_loop(connections, duration_s=seconds),
            )

    def _cpu_s(self) -> float:
        return sum(_cpu_s(pid) for root in self.roots for pid in _tree(root))

    def memory_bytes(self, field: str) -> list[int]:
        """Memory of each process below the roots that has no children, the ones that work: VmRSS, or a part of it."""
        leaves = [pid for root in self.roots for pid in _tree(root) if not _children(pid)]
        return [_memory_bytes(pid, field) for pid in leaves]


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _tree(pid: int) -> list[int]:
    return [pid, *(below for child in _children(pid) for below in _tree(child))]


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _memory_bytes(pid: int, field: str) -> int:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def one_host(folder: Path) -> Deployment:
    """Prepare inventory/local as one machine of a slice: a single worker host that has a process for every core."""
    system = local_deployment(folder)
    hosts = yaml.safe_load(system.inventory.read_text())
    workers = hosts["all"]["children"]["workers"]["hosts"]
    del workers["worker2"]
    system.inventory.write_text(yaml.safe_dump(hosts))
    return dataclasses.replace(system, workers={"worker1": system.workers["worker1"]})


def served_by(system: Deployment) -> tuple[Served, Served]:
    """Return a deployment as seen through nginx, and its first worker seen directly."""
    pids = {name: _supervised(system.folder, name) for name in ("balancer", *system.workers)}
    first = next(iter(system.workers))
    through = Served(_port(system.url), "/predict", tuple(pids.values()))
    return through, Served(_port(system.workers[first]), "/predict", (pids[first],))


def _supervised(folder: Path, name: str) -> int:
    return int(run("supervisorctl", "-c", folder / ".run/supervisor/supervisord.conf", "pid", name).stdout)


def _port(url: str) -> int:
    return int(url.rpartition(":")[2])


@contextlib.contextmanager
def baseline() -> Iterator[Served]:
    """Run the baseline of two servers and a balancer; gives the balancer."""
    if not KERAS_PYTHON.exists():
        raise RuntimeError("the baseline needs TensorFlow; run `make setup-keras`")
    first, second, front = free_ports(3)
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    commands = [["server", str(first)], ["server", str(second)], ["balancer", str(front), str(first), str(second)]]
    processes = [
        subprocess.Popen(  # noqa: S603  our own program
            [KERAS_PYTHON, Path(__file__).with_name("baseline.py"), *command],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for command in commands
    ]
    try:
        for port in (first, second, front):
            _wait(f"http://127.0.0.1:{port}/")
        yield Served(front, "/submit", tuple(process.pid for process in processes))
    finally:
        for process in processes:
            process.terminate()
            process.wait(timeout=30)


def _wait(url: str) -> None:
    for _ in range(600):
        with contextlib.suppress(requests.RequestException):
            requests.get(url, timeout=60).raise_for_status()
            return
        time.sleep(0.2)
    raise RuntimeError(f"{url} did not answer within two minutes")
