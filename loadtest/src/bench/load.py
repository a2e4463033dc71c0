"""A small closed-loop HTTP client: raw sockets in threads, so that its own CPU time stays out of the picture."""

from __future__ import annotations

import resource
import socket
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Load:
    """What a run of the client saw.

    Attributes:
        duration_s: Time from the first request to the end of the last answer.
        client_cpu_s: CPU time of the client itself.
        latencies_s: Service time of every answer.
        statuses: Answers by status.
        workers: Answers by X-Worker.
    """

    duration_s: float = 0.0
    client_cpu_s: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    workers: Counter[str] = field(default_factory=Counter)

    @property
    def rate_hz(self) -> float:
        """Answers per second."""
        return len(self.latencies_s) / self.duration_s


def form_request(path: str, image: bytes, field_name: str = "image") -> bytes:
    """Return a whole POST request that sends ``image`` as the file of a form, as a browser would."""
    boundary = "----imagerecbenchboundary7MA4YWxkTrZu0gW"
    head = (
        f"--{boundary}\r\n"
        f'Content-Disposition: form-data; name="{field_name}"; filename="photograph.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    ).encode()
    tail = f"\r\n--{boundary}--\r\n".encode()
    body = head + image + tail
    header = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n"
        f"Content-Type: multipart/form-data; boundary={boundary}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return header.encode() + body


def run_load(address: tuple[str, int], requests: Sequence[bytes], connections: int, duration_s: float) -> Load:
    """Send ``requests`` in turn over ``connections`` connections, each waiting for its answer, for ``duration_s``.

    A connection is kept for the next request unless the server closes it.
    """
    load = Load()
    lock = threading.Lock()
    next_request = iter(range(10**9))
    started_s = time.perf_counter()
    cpu_s = _cpu_s()

    def loop() -> None:
        connection: socket.socket | None = None
        latencies_s: list[float] = []
        statuses: Counter[int] = Counter()
        workers: Counter[str] = Counter()
        while time.perf_counter() < started_s + duration_s:
            with lock:
                request = requests[next(next_request) % len(requests)]
            sent_s = time.perf_counter()
            if connection is None:
                connection = socket.create_connection(address)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(request)
            status, headers = _read_answer(connection)
            latencies_s.append(time.perf_counter() - sent_s)
            statuses[status] += 1
            workers[headers.get("x-worker", "")] += 1
            if headers.get("connection") == "close":
                connection.close()
                connection = None
        if connection is not None:
            connection.close()
        with lock:
            load.latencies_s += latencies_s
            load.statuses += statuses
            load.workers += workers

    threads = [threading.Thread(target=loop) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    load.duration_s = time.perf_counter() - started_s
    load.client_cpu_s = _cpu_s() - cpu_s
    return load


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _read_answer(connection: socket.socket) -> tuple[int, dict[str, str]]:
    answer = b""
    while (end := answer.find(b"\r\n\r\n")) < 0:
        answer += _receive(connection)
    status_line, *lines = answer[:end].decode("latin-1").split("\r\n")
    headers = {key.lower(): value for key, _, value in (line.partition(": ") for line in lines)}
    missing = int(headers["content-length"]) - (len(answer) - end - 4)
    while missing > 0:
        missing -= len(_receive(connection))
    return int(status_line.split(" ", 2)[1]), headers


def _receive(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    if not data:
        raise ConnectionError("the server closed the connection before it had answered")
    return data
