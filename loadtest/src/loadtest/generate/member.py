"""One of several clients that send a load together: `python -m loadtest.generate.member`, started by `together`.

It reads a JSON document a line on standard input and answers so on standard output. It says when it is ready, tells its
clock when asked, begins when told (by its own clock), and gives its samples file at the end. When standard input ends,
it stops.
"""

import asyncio
import base64
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from loadtest.errors import LoadtestError
from loadtest.experiments.host import HostWatch
from loadtest.generate import punctual, shapes
from loadtest.generate.attack import Attack
from loadtest.generate.client import Client
from loadtest.generate.effort import Effort, raise_file_limit
from loadtest.generate.payload import Payload
from loadtest.generate.recording import record_load
from loadtest.generate.runner import Runner

MOST_LINE = 1 << 30  # bytes of a line: photographs and samples come in one


def job_of(attack: Attack, part: int, parts: int, *, alone: bool = True) -> dict[str, Any]:
    """What a client is told of a load, of which it sends one part of so many; `alone` on its host, or not."""
    payloads = [[one.key, base64.b64encode(one.body).decode(), one.content_type] for one in attack.payloads]
    return {
        "target": attack.target,
        "payloads": payloads,
        "rate_hz": attack.rate_hz,
        "duration_s": attack.duration_s,
        "constant": attack.constant,
        "seed": attack.seed,
        "timeout_s": attack.timeout_s,
        "part": part,
        "parts": parts,
        "alone": alone,
    }


def attack_of(job: dict[str, Any]) -> Attack:
    """The load that a job is a part of."""
    payloads = tuple(Payload(key, base64.b64decode(body), kind) for key, body, kind in job["payloads"])
    fields = {key: job[key] for key in ("target", "rate_hz", "duration_s", "constant", "seed", "timeout_s")}
    return Attack(**fields, payloads=payloads)


def offsets_of(attack: Attack, part: int, parts: int) -> Iterator[float]:
    """When one client of several sends: its share of the arrivals that a single client would send."""
    who = np.random.default_rng([attack.seed, parts])
    return shapes.share(attack.offsets(), part, parts, who)


def bodies_of(attack: Attack, part: int, parts: int) -> Iterator[Payload]:
    """What one client of several sends: the photographs that a single client would send at its moments."""
    who = np.random.default_rng([attack.seed, parts])  # as above, so that both stay together
    return shapes.share(attack.bodies(), part, parts, who)


def _tell(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)  # noqa: T201 — the protocol


async def _send(job: dict[str, Any], begin_s: float, runners: list[Runner]) -> None:
    attack, part, parts = attack_of(job), job["part"], job["parts"]
    started_by = os.getppid()  # `loadtest attack` with its view, or the end of a connection
    host = HostWatch(attack.target, [started_by] if started_by > 1 else [])
    # Another client on this host is no other program, and its time is not known here.
    hidden = {} if job["alone"] else {"others": None}
    with tempfile.TemporaryDirectory(prefix="loadtest-") as folder:
        path = Path(folder) / "part.jsonl.gz"

        async def load(runner: Runner) -> Effort:
            runners.append(runner)
            return await runner.open_loop(offsets_of(attack, part, parts))

        try:
            async with Client(attack.target, timeout_s=attack.timeout_s) as client:
                await record_load(
                    client,
                    path,
                    attack.header() | {"part": part + 1, "parts": parts},
                    bodies_of(attack, part, parts),
                    load,
                    begin_s=time.perf_counter() + begin_s - time.time(),
                    more=lambda: host.facts() | hidden,
                    watch=lambda glimpse: _tell({"glimpse": glimpse}),
                )
        finally:
            _tell({"origin": begin_s, "samples": base64.b64encode(path.read_bytes()).decode()})


async def _obey() -> None:
    reader = asyncio.StreamReader(limit=MOST_LINE)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    job: dict[str, Any] = {}
    runners: list[Runner] = []
    sending: asyncio.Task[None] | None = None
    while line := await reader.readline():
        message = json.loads(line)
        if "job" in message:
            job = message["job"]
            _tell({"ready": True})
        elif "ask" in message:
            _tell({"asked": message["ask"], "clock": time.time()})
        elif "begin" in message:
            sending = asyncio.create_task(_send(job, message["begin"], runners))
    for runner in runners:
        runner.stop()
    if sending:
        await sending


def main() -> None:
    """Do as told."""
    raise_file_limit()
    try:
        punctual.run(_obey())
    except (LoadtestError, BrokenPipeError) as error:
        sys.exit(f"a client of the load test: {error}")


if __name__ == "__main__":
    main()
