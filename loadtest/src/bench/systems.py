"""What is measured: whatever answers HTTP, and how a peer is started."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import requests

from bench import processes
from bench.peers.known import PROCESSES, Form, Peer
from bench.sender import Sent, send
from bench.trials import Load
from deployed.checkout import REPOSITORY
from deployed.local import free_ports
from loadtest.errors import LoadtestError
from loadtest.generate.payload import encode

_PATHS = os.pathsep.join(str(REPOSITORY / part) for part in ("services/worker/src", "loadtest/src"))
_NOT_THEIRS = ("PYTHON", "MAKE", "MFLAGS", "MOSEC", "LIT", "UVICORN", "GUNICORN", "FLASK")
_STARTS_S = 120.0
_ENDS_S = 20.0


class Spent(NamedTuple):
    """Processor seconds of the serving processes, and of nginx with its own processes where it is one of them."""

    all_s: float
    nginx_s: float | None


@dataclasses.dataclass(frozen=True, slots=True)
class Served:
    """A system that answers HTTP on the loopback.

    Attributes:
        key: Its name in files.
        title: What the page calls it.
        port: on the loopback.
        path: where photographs are sent to.
        form: Whether they are sent as the file of a form.
        decoder: Of `bench.limit.DECODERS`; empty where the network is another one.
        roots: Process ids whose trees serve.
        python: Of its environment, whose packages the page lists.
        described: What runs, in a few words.
    """

    key: str
    title: str
    port: int
    path: str
    form: bool
    decoder: str
    roots: tuple[int, ...]
    python: Path
    described: str

    @property
    def alive(self) -> bool:
        """Whether all that was started is still there."""
        return all(map(processes.alive, self.roots))

    def run(
        self, photographs: Sequence[Path], load: Load, rate_hz: float, seconds: float, seed: int
    ) -> tuple[Sent, Spent]:
        """Send a load; return what came of it and the processor seconds of the serving processes."""
        before = self._spent()
        sent = send(
            self.port, self.path, photographs, load, rate_hz=rate_hz, seconds=seconds, seed=seed, form=self.form
        )
        after = self._spent()
        nginx_s = None if after.nginx_s is None else after.nginx_s - (before.nginx_s or 0.0)
        return sent, Spent(after.all_s - before.all_s, nginx_s)

    def _spent(self) -> Spent:
        nginx = processes.program(self.roots, "nginx")
        return Spent(processes.cpu_s(self.roots), None if nginx is None else processes.cpu_s([nginx]))

    def ask(self, photograph: Path) -> str:
        """Ask for one photograph and return the best class id; empty where the network is another one.

        Raises:
            LoadtestError: There is no answer, or it is not 200 or not like ours.
        """
        payload = encode(photograph.stem, photograph.read_bytes(), "image/jpeg", multipart=self.form)
        url, headers = f"http://127.0.0.1:{self.port}{self.path}", {"Content-Type": payload.content_type}
        try:
            answer = requests.post(url, data=payload.body, headers=headers, timeout=60)
        except requests.RequestException as error:
            raise LoadtestError(f"{self.title} gives no answer at {url} ({error})") from error
        said = " ".join(answer.text.split())[:200]
        if answer.status_code != 200:
            raise LoadtestError(f"{self.title} answers {answer.status_code}: {said}")
        try:
            return str(answer.json()["predictions"][0]["wnid"]) if self.decoder else ""
        except (ValueError, LookupError, TypeError) as error:
            raise LoadtestError(f"{self.title} names no class: {said}") from error

    def check(self, expected: dict[Path, str]) -> None:
        """Ask for each photograph once: the best class must be the one that the network finds after that decoder.

        Raises:
            LoadtestError: One is another.
        """
        for photograph, wnid in expected.items():
            found = self.ask(photograph)
            if found != wnid:
                raise LoadtestError(
                    f"{self.title} says {found} for {photograph.name}, the network says {wnid}: it does not serve the "
                    "same model, or not with the same decoder"
                )


@contextlib.contextmanager
def serving(peer: Peer, form: Form, bundle: Path, folder: Path, photograph: Path) -> Iterator[Served]:
    """Run a peer in one of its forms, in an empty folder; it ends with the block.

    Raises:
        LoadtestError: It does not start; the message has the last line that it wrote.
    """
    ports = free_ports(peer.ports)
    commands = peer.commands(peer.python, ports, folder)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_THEIRS)} | {
        "PYTHONPATH": _PATHS,
        "PYTHONDONTWRITEBYTECODE": "1",
        "BENCH_BUNDLE": str(bundle),
        "BENCH_DECODER": form.decoder,
        "BENCH_PROCESSES": str(PROCESSES),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "",
    }
    started: list[subprocess.Popen[bytes]] = []
    log = folder / "log"
    try:
        for command, port in zip(commands, [*ports[1:], ports[0]], strict=True):  # who answers comes last
            if _connects(port):
                raise LoadtestError(f"127.0.0.1:{port} is taken; end the program that listens there, or try again")
            with log.open("ab") as output:
                process = subprocess.Popen(  # noqa: S603  our own programs
                    command, cwd=folder, env=environment, stdout=output, stderr=output, process_group=0
                )
            started.append(process)
            wait(functools.partial(_connects, port), started, f"{peer.title} at 127.0.0.1:{port}", log)
        key = f"{peer.name} {form.decoder}".strip()
        title = f"{peer.title}: {form.name}" if form.name else peer.title
        roots = tuple(process.pid for process in started)
        served = Served(key, title, ports[0], form.path, form.form, form.decoder, roots, peer.python, peer.described)
        wait(functools.partial(answers, served, photograph), started, f"{title} at 127.0.0.1:{served.port}", log)
        yield served
    finally:
        end(started)


def wait(ready: Callable[[], bool], started: list[subprocess.Popen[bytes]], what: str, log: Path) -> None:
    """Wait until something is ready.

    Raises:
        LoadtestError: A process has ended, or it takes too long; the message has the last line of the log.
    """
    deadline = time.monotonic() + _STARTS_S
    while all(process.poll() is None for process in started) and time.monotonic() < deadline:
        if ready():
            return
        time.sleep(0.1)
    said = log.read_text(errors="replace").strip().splitlines() or ["it wrote nothing"]
    raise LoadtestError(f"{what} does not serve: {said[-1].strip()[:300]}")


def _connects(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def answers(served: Served, photograph: Path) -> bool:
    """Tell whether a system answers a photograph as it should."""
    with contextlib.suppress(LoadtestError):
        served.ask(photograph)
        return True
    return False


def end(started: list[subprocess.Popen[bytes]]) -> None:
    """Ask each process to end, then end what is left of the groups that these processes began."""
    for process in started:
        process.terminate()
    for process in started:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_ENDS_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
