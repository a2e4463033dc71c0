"""What a worker process costs beyond decode and inference, for one checkout or several against each other.

``python tools/hotpath.py BUNDLE PHOTOGRAPHS CHECKOUT [CHECKOUT...]``, for example with a worktree of main as the first
checkout and ``.`` as the second. A profile of Python in a loop lies about a worker: each inference empties the caches,
and the same lines then cost three to five times as much. So whole workers are measured in place: gunicorn with one
process for each checkout, fed over the loopback as a balancer does it, and beside them a process that only decodes and
infers. All of them run on one core, in rounds of few photographs that take turns; the kernel counts their time.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

MAX_PIXELS = 50_000_000
CORE = 1
WORKER = "imagerec_worker.gunicorn_worker.ImageWorker"
FIELDS = "Host: worker\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nUser-Agent: curl/8.0\r\nAccept: */*"


def infer(bundle_folder: str, photographs: list[bytes]) -> None:
    """Decode and classify as many photographs as each line of standard input says; then answer with a line."""
    from imagerec_worker.bundle import load_bundle  # noqa: PLC0415
    from imagerec_worker.classifier import Classifier  # noqa: PLC0415
    from imagerec_worker.preprocess import preprocess, warm_up  # noqa: PLC0415

    bundle = load_bundle(bundle_folder)
    classifier = Classifier(bundle)
    warm_up(bundle.input_size)
    print("ready", flush=True)
    for line in sys.stdin:
        for number in map(int, line.split()):
            pixels, _ = preprocess(photographs[number], bundle.input_size, MAX_PIXELS, bundle.crop)
            classifier.classify(pixels, 5)
        print("done", flush=True)


def cpu_ms(pid: int) -> float:
    """Return the processor time of all threads of a process."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e6


class Limit:
    """A process that decodes and infers."""

    def __init__(self, checkout: Path, bundle: Path, photographs: Path) -> None:
        command = [sys.executable, __file__, "--infer", str(bundle), str(photographs)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(  # noqa: S603
            command, env=_environment(checkout), stdin=pipe, stdout=pipe, text=True
        )
        self._wait()
        os.sched_setaffinity(self._process.pid, {CORE})

    def round_ms(self, numbers: Sequence[int]) -> float:
        """Return the processor time of a photograph."""
        before_ms = cpu_ms(self._process.pid)
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(map(str, numbers)) + "\n")
        self._process.stdin.flush()
        self._wait()
        return (cpu_ms(self._process.pid) - before_ms) / len(numbers)

    def stop(self) -> None:
        """End the process."""
        self._process.communicate()

    def _wait(self) -> None:
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            raise SystemExit("the process that decodes and infers has ended; see above")


class Worker:
    """gunicorn with one process."""

    def __init__(self, checkout: Path, bundle: Path, photographs: list[bytes], folder: Path) -> None:
        self._photographs = photographs
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        command = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{self._port}", "--worker-class", WORKER]
        more = {"IMAGEREC_BUNDLE": str(bundle), "PROMETHEUS_MULTIPROC_DIR": str(folder), "PYTHONUNBUFFERED": "1"}
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603
                [*command, "--no-control-socket", "imagerec_worker.wsgi:app"],
                env=_environment(checkout) | more,
                stderr=log,
            )
        for _ in range(300):
            with contextlib.suppress(ConnectionError):
                self._ask(photographs[0])
                break
            time.sleep(0.1)
        else:
            raise SystemExit(f"the worker of {checkout} does not answer: {(folder / 'log').read_text()[-500:]}")
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        self._pid = int(children)
        os.sched_setaffinity(self._pid, {CORE})

    def round_ms(self, numbers: Sequence[int]) -> float:
        """Return the processor time of a photograph."""
        before_ms = cpu_ms(self._pid)
        for number in numbers:
            self._ask(self._photographs[number])
        time.sleep(0.02)  # what follows the answer counts too
        return (cpu_ms(self._pid) - before_ms) / len(numbers)

    def stop(self) -> None:
        """End gunicorn."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait()

    def _ask(self, photograph: bytes) -> None:
        boundary = f"----------------{random.getrandbits(64):016x}"
        part = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
        body = part.encode() + photograph + f"\r\n--{boundary}--\r\n".encode()
        head = (
            f"POST /predict HTTP/1.1\r\n{FIELDS}\r\nX-Request-Id: {os.urandom(16).hex()}\r\n"
            f"X-Request-Start: t={time.time():.3f}\r\nContent-Length: {len(body)}\r\n"
            f"Content-Type: multipart/form-data; boundary={boundary}\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", self._port)) as connection:
            connection.sendall(head.encode() + body)
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        if not answer.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"a worker refused a photograph: {answer[-300:]!r}")


def interval(values: Sequence[float]) -> str:
    """Return the median and its 95 % interval, by bootstrap."""
    draw = random.Random(1)  # noqa: S311
    medians = sorted(statistics.median(draw.choices(values, k=len(values))) for _ in range(2000))
    return f"{statistics.median(values):.3f} [{medians[50]:.3f}, {medians[1949]:.3f}]"


@contextlib.contextmanager
def running(options: argparse.Namespace, photographs: list[bytes]) -> Iterator[list[Limit | Worker]]:
    """Start the processes; end them afterwards."""
    systems: list[Limit | Worker] = []
    with tempfile.TemporaryDirectory() as scratch:
        try:
            systems.append(Limit(options.checkouts[0], options.bundle, options.photographs))
            for number, checkout in enumerate(options.checkouts):
                folder = Path(scratch) / str(number)
                folder.mkdir()
                systems.append(Worker(checkout, options.bundle, photographs, folder))
            yield systems
        finally:
            for system in systems:
                system.stop()


def main() -> int:
    """Measure and print a line for each checkout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("photographs", type=Path, help="folder of photographs, all of which are sent in turn")
    parser.add_argument("checkouts", type=Path, nargs="*", default=[Path()])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--each", type=int, default=8, help="photographs a round (default 8)")
    parser.add_argument("--infer", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    photographs = [path.read_bytes() for path in sorted(options.photographs.iterdir())]
    if options.infer:
        infer(options.bundle, photographs)
        return 0
    spent_ms: list[list[float]] = []
    with running(options, photographs) as systems:
        for turn in range(options.rounds + 3):
            numbers = [number % len(photographs) for number in range(turn * options.each, (turn + 1) * options.each)]
            order = random.Random(turn).sample(range(len(systems)), len(systems))  # noqa: S311
            found = {index: systems[index].round_ms(numbers) for index in order}
            if turn >= 3:  # the first rounds warm up
                spent_ms.append([found[index] for index in range(len(systems))])
    print(f"decode and inference: {interval([each[0] for each in spent_ms])} ms of CPU a photograph")
    for index, checkout in enumerate(options.checkouts, 1):
        beyond = interval([each[index] - each[0] for each in spent_ms])
        share = interval([each[index] / each[1] for each in spent_ms])
        print(f"{checkout}: {beyond} ms beyond; {share} of all that {options.checkouts[0]} takes")
    return 0


def _environment(checkout: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(checkout.absolute() / "services/worker/src"), "OPENBLAS_NUM_THREADS": "1"}


if __name__ == "__main__":
    raise SystemExit(main())
