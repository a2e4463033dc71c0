"""What the dashboard costs a balancer, and whether its figures are the access log's.

    python -m tests.dashboard_cost --into results/requests/README.md

A real nginx and a real agent, configured by the roles, stand before 64 workers that only answer. Requests come at a
steady rate. Pages ask for the figures once a second, as browsers do: none, one, twenty, and the same backwards. What
nginx and the agent take more than without pages is what those cost, by the kernel's count of processor time. The
figures that the pages were told are then compared with the lines of the log. The raw figures go into dashboard.json
beside the page; with --again the page is written anew from that file.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import textwrap
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np

from bench.machine import machine_here
from imagerec_pool.figures import WINDOW_S
from loadtest.draw.model_table import write_between
from loadtest.experiments.provenance import source_state
from tests.ansible.rendering import render
from tests.bombs_page import COLUMNS, marked, table
from tests.conftest import free_ports

BEGIN, END = "<!-- dashboard:begin -->", "<!-- dashboard:end -->"
RECORD = "dashboard.json"
WORKERS, RATE_HZ, PHASE_S, PAGES = 64, 100, 10.0, (0, 1, 20)
INFERENCE_S = 0.02
BAR = 0.01
Told = dict[str, Any]


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Be a worker that answers everything, a photograph as late as if it were recognised."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError), contextlib.closing(writer):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = re.search(rb"content-length: (\d+)", head)
            await reader.readexactly(int(length[1]) if length else 0)
            await asyncio.sleep(INFERENCE_S if head.startswith(b"post") else 0)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 3\r\n\r\n{}\n")


class Balancer:
    """nginx and the agent, and what they have taken of the processor."""

    def __init__(self, folder: Path, port: int) -> None:
        self.log, self.url = folder / "access.log", f"http://127.0.0.1:{port}"
        nginx = ["/usr/sbin/nginx", "-c", str(folder / "nginx-pool.conf"), "-g", "daemon off;"]
        self._nginx = subprocess.Popen(nginx)
        agent = [sys.executable, "-m", "imagerec_pool", str(folder / "pool.json")]
        self._agent = subprocess.Popen(agent, stdout=subprocess.DEVNULL)

    def processes(self) -> list[int]:
        """The ids of all of them; nginx's change where it is told to reload."""
        children = Path(f"/proc/{self._nginx.pid}/task/{self._nginx.pid}/children").read_text().split()
        return [self._agent.pid, self._nginx.pid, *map(int, children)]

    def cpu_s(self) -> float:
        """Seconds of a core that they have had."""
        tasks = [task for pid in self.processes() for task in Path(f"/proc/{pid}/task").iterdir()]
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9

    def stop(self) -> None:
        for process in (self._agent, self._nginx):
            process.terminate()
            process.wait()


@contextlib.contextmanager
def balancer(ports: Sequence[int]) -> Iterator[Balancer]:
    """Start both before workers at these ports, with the limits of one address off: all requests have one."""
    members = [
        {"name": f"worker{number}", "address": "127.0.0.1", "port": port, "processes": 1}
        for number, port in enumerate(ports, 1)
    ]
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory(prefix="dashboard-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        render(
            folder,
            state=name,
            user="root" if os.geteuid() == 0 else "",
            balancer_address="127.0.0.1",
            balancer_port=port,
            balancer_page_dir=f"{name}/page",
            balancer_workers=members,
            balancer_address_rate_hz=0,
            balancer_address_connections=0,
            balancer_pool_socket=f"{name}/pool.sock",
            pool_runtime_dir=name,
            pool_state_dir=name,
            pool_access_log=f"{name}/access.log",
            pool_nginx_pid=f"{name}/nginx.pid",
            variants=[{"name": "pool"}],
        )
        running = Balancer(folder, port)
        try:
            yield running
        finally:
            running.stop()


async def _until_all_serve(session: aiohttp.ClientSession, url: str, workers: int) -> None:
    for _ in range(600):
        with contextlib.suppress(aiohttp.ClientError, ValueError, KeyError):
            async with session.get(f"{url}/workers") as answer:
                told = (await answer.json())["workers"]
            if [each["state"] for each in told] == ["up"] * workers and all(each["asked"] for each in told):
                return
        await asyncio.sleep(0.1)
    raise SystemExit("error: the workers do not all serve within a minute")


@contextlib.asynccontextmanager
async def _load(session: aiohttp.ClientSession, url: str, rate_hz: float) -> AsyncIterator[None]:
    """Send what stands for photographs at a steady rate; all must be answered."""
    statuses: Counter[int] = Counter()
    over = asyncio.Event()

    async def one() -> None:
        async with session.post(f"{url}/predict", data=b"image") as answer:
            await answer.read()
            statuses[answer.status] += 1

    async def send() -> None:
        async with asyncio.TaskGroup() as sent:
            due_s = time.monotonic()
            while not over.is_set():
                sent.create_task(one())
                due_s += 1 / rate_hz
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))

    sending = asyncio.create_task(send())
    try:
        yield
    finally:
        over.set()
        await sending
    if set(statuses) != {200}:
        raise SystemExit(f"error: workers' answers came as {dict(statuses)}")


async def _watch(session: aiohttp.ClientSession, url: str, late_s: float, until_s: float) -> list[Told]:
    """Ask as a page does that was opened so late; return what it was told."""
    await asyncio.sleep(late_s)
    told: list[Told] = []
    while (began_s := time.monotonic()) < until_s:
        since = f"?since={told[-1]['time']}" if told else ""
        async with session.get(f"{url}/live-figures{since}") as answer:
            answer.raise_for_status()
            told.append(await answer.json() | {"bytes": len(await answer.read())})
        await asyncio.sleep(max(0.0, began_s + 1 - time.monotonic()))
    return told


async def _measure(running: Balancer, names: dict[str, str], rate_hz: float, phase_s: float) -> dict[str, Any]:
    taken: dict[int, list[float]] = {pages: [] for pages in PAGES}
    told: list[Told] = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await _until_all_serve(session, running.url, len(names))
        async with _load(session, running.url, rate_hz):
            await asyncio.sleep(WINDOW_S + 1)
            same = running.processes()
            for pages in (*PAGES, *reversed(PAGES)):
                began_s, before_s = time.monotonic(), running.cpu_s()
                until_s = began_s + phase_s
                watching = (_watch(session, running.url, number / pages, until_s) for number in range(pages))
                told += [each for page in await asyncio.gather(*watching) for each in page]
                await asyncio.sleep(max(0.0, until_s - time.monotonic()))
                taken[pages].append((running.cpu_s() - before_s) / (time.monotonic() - began_s))
            if running.processes() != same:
                raise SystemExit("error: nginx was told to reload meanwhile, so its processor time is not known")
    entries = [json.loads(line) for line in running.log.read_text().splitlines()]
    entries = [entry for entry in entries if entry["method"] == "POST"]
    return {
        "requests": len(entries),
        "asks": len(told),
        "bytes": max(each["bytes"] for each in told),
        "cores": {str(pages): round(sum(parts) / len(parts), 5) for pages, parts in taken.items()},
        "difference": round(max(difference(each, entries, names) for each in told), 5),
    }


def difference(told: Told, entries: Sequence[dict[str, Any]], names: dict[str, str]) -> float:
    """Return by how much, as a share, that figure is off the log's entries which is farthest off.

    The last entry of a second may count in the next one: the agent may have closed its second before it was written.

    Args:
        told: What a page was told.
        entries: Of the access log, those of requests to classify, as they stand there; all were answered.
        names: Each worker's name by its address.
    """
    before = told["time"] - told["window_s"]
    late = [entry for entry in entries if int(entry["msec"]) == before][-1:]
    mine = [entry for entry in entries if before < int(entry["msec"]) <= told["time"]]
    return min(_off(told, each, names) for each in (mine, mine[:-1], late + mine, late + mine[:-1]) if each)


def _off(told: Told, mine: Sequence[dict[str, Any]], names: dict[str, str]) -> float:
    took_ms = [1000 * entry["request_s"] for entry in mine]
    given = Counter(names[entry["upstream_addr"].rpartition(", ")[2]] for entry in mine)
    requests, length = told["requests"], told["window_s"]
    pairs = [
        (requests["rate_hz"], len(mine) / length),
        (requests["answered"], len(mine)),
        (requests["mean_ms"], float(np.mean(took_ms))),
        *((requests[f"p{part}_ms"], float(np.percentile(took_ms, part, method="inverted_cdf"))) for part in (50, 99)),
    ]
    for worker in told["workers"]:
        count = given[worker["name"]]
        pairs += [(worker["rate_hz"], count / length), (worker["share"], count / len(mine))]
    return max(abs(found - true) / true if true else float(found) for found, true in pairs)


async def _run(workers: int, rate_hz: float, phase_s: float) -> dict[str, Any]:
    async with contextlib.AsyncExitStack() as stack:
        servers = [
            await stack.enter_async_context(await asyncio.start_server(_answer, "127.0.0.1", 0)) for _ in range(workers)
        ]
        ports = [server.sockets[0].getsockname()[1] for server in servers]
        names = {f"127.0.0.1:{port}": f"worker{number}" for number, port in enumerate(ports, 1)}
        with balancer(ports) as running:
            return await _measure(running, names, rate_hz, phase_s)


def measure(workers: int = WORKERS, rate_hz: float = RATE_HZ, phase_s: float = PHASE_S) -> dict[str, Any]:
    """Measure all of it; return the record."""
    record: dict[str, Any] = {"source": source_state(), "machine": machine_here()}
    record |= {"load": round(os.getloadavg()[0], 1), "workers": workers, "rate_hz": rate_hz, "phase_s": phase_s}
    return record | asyncio.run(_run(workers, rate_hz, phase_s))


def page(record: dict[str, Any]) -> str:
    """Write a record as a table."""
    state = "a checkout with changes" if record["source"]["dirty"] else "a clean checkout"
    intro = (
        f"At {str(record['source']['commit'])[:7]}, {state}: {record['machine']}; load before {record['load']}. "
        f"{record['workers']} workers, {record['rate_hz']:g} requests a second, {record['requests']:,} in all, and "
        f"twice {record['phase_s']:g} s for each number of pages. The bar is {100 * BAR:g} % of a core for a page."
    )
    none = record["cores"]["0"]
    costs = [[0, f"{100 * none:.2f}", "", ""]]
    for pages, cores in list(record["cores"].items())[1:]:
        more = 100 * (cores - none)
        costs.append([int(pages), f"{100 * cores:.2f}", f"{more:.2f}", marked(more / int(pages), 100 * BAR, 2)])
    figures = (
        f"The {record['asks']:,} answers had {record['bytes']:,} bytes at most. Of rate, answers, mean, p50, p99, and "
        f"each worker's rate and share, the figure that was farthest off the access log was "
        f"{marked(100 * record['difference'], 100 * BAR, 2)} % off. The bar is {100 * BAR:g} %."
    )
    parts = [
        textwrap.fill(intro, COLUMNS, break_on_hyphens=False),
        table(["pages that ask", "nginx and agent, % of a core", "more than without", "for each page"], *costs),
        textwrap.fill(figures, COLUMNS, break_on_hyphens=False),
    ]
    return "\n\n".join(parts)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, keep the raw figures, and write the page; see the module."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.dashboard_cost", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--into", type=Path, required=True, metavar="PAGE", help="page with the two marks")
    parser.add_argument("--again", action="store_true", help="write the page anew from dashboard.json beside it")
    options = parser.parse_args(argv)
    kept = options.into.parent / RECORD
    if not options.again:
        kept.write_text(json.dumps(measure(), indent=1) + "\n")
    write_between(options.into, page(json.loads(kept.read_text())), BEGIN, END)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
