"""A service of known service time that speaks the real one's HTTP, to measure the generator and the theory against.

Each worker is a FIFO queue in virtual time: a request that comes at t starts at max(t, when the one before it ends)
and is answered when its service time is over. Nothing is computed, so the wait of every request is known exactly, and
with a service time of 0 it is a null server. Start it with `python -m loadtest.generate.knownserver`; the first line on
standard output is its port.
"""

import argparse
import asyncio
import itertools
import json
import random
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TextIO

from aiohttp import web

from loadtest.experiments.checks import POLICIES
from loadtest.generate.parent import end_of_input


class Pool:
    """Workers as queues in virtual time.

    Args:
        services_s: Mean service time of each worker, in seconds.
        policy: How the balancer chooses: one of POLICIES.
        exponential: Draw service times from the exponential law instead of taking the mean each time.
        seed: Seed of the draws.
        max_conns: Requests that a worker may have at a time; 0: no limit.
    """

    def __init__(
        self, services_s: list[float], policy: str, *, exponential: bool, seed: int, max_conns: int = 0
    ) -> None:
        self.policy = policy
        self.max_conns = max_conns
        self.names = [f"worker{number}" for number in range(1, len(services_s) + 1)]
        self._services_s = services_s
        self._exponential = exponential
        self._random = random.Random(seed)  # noqa: S311 — simulation
        self._turn = itertools.cycle(range(len(services_s)))
        self._free_at = [0.0] * len(services_s)
        self.in_flight = [0] * len(services_s)

    def admit(self, now: float) -> tuple[int, float, float] | None:
        """Take one request: the worker's number, when its service starts and how long it takes, in seconds.

        None where every worker has as many requests as it may have.
        """
        worker = self._choose()
        if worker is None:
            return None
        mean_s = self._services_s[worker]
        service_s = self._random.expovariate(1.0 / mean_s) if self._exponential and mean_s > 0 else mean_s
        start = max(now, self._free_at[worker])
        self._free_at[worker] = start + service_s
        self.in_flight[worker] += 1
        return worker, start, service_s

    def _choose(self) -> int | None:
        everyone = [one for one, count in enumerate(self.in_flight) if not self.max_conns or count < self.max_conns]
        if not everyone:
            return None
        if self.policy == "round_robin":
            return next(one for one in self._turn if one in everyone)
        if self.policy == "random" or len(everyone) == 1:
            return self._random.choice(everyone)
        asked = self._random.sample(everyone, 2) if self.policy == "random_two" else everyone
        least = min(self.in_flight[worker] for worker in asked)
        return self._random.choice([worker for worker in asked if self.in_flight[worker] == least])


def application(pool: Pool, model: str = "none", log: TextIO | None = None) -> web.Application:
    """Build the service around a pool; it says that it serves `model`, and logs requests as the balancer does."""

    async def predict(request: web.Request) -> web.Response:
        came_s = time.time()
        await request.read()
        admitted = pool.admit(now := time.perf_counter())
        if admitted is None:
            _log(log, request, came_s, 429)
            return web.json_response({"type": "/problems/busy"}, status=429, headers={"Retry-After": "1"})
        worker, start, service_s = admitted
        try:
            if start + service_s > now:
                await asyncio.sleep(start + service_s - time.perf_counter())
        finally:
            pool.in_flight[worker] -= 1
            _log(log, request, came_s, 200)
        name = pool.names[worker]
        timing = (
            f"queue;dur={(start - now) * 1e3:.3f}, decode;dur=0, inference;dur={service_s * 1e3:.3f}, "
            f"total;dur={service_s * 1e3:.3f}"
        )
        return web.Response(
            text='{"predictions": [], "worker": "' + name + '"}',
            content_type="application/json",
            headers={"X-Worker": name, "Server-Timing": timing},
        )

    async def version(_: web.Request) -> web.Response:
        return web.json_response(
            {
                "service": "imagerec-worker",
                "version": "known-service-time",
                "worker": pool.names[0],
                "model": {"name": model, "version": "0", "title": "no model: a known service time", "digest": "0"},
            }
        )

    async def status(_: web.Request) -> web.Response:
        told: dict[str, object] = {"policy": pool.policy, "pool_size": len(pool.names), "workers": pool.names}
        return web.json_response(told | ({"limits": {"max_conns": pool.max_conns}} if pool.max_conns else {}))

    app = web.Application(client_max_size=32 << 20)
    app.router.add_post("/predict", predict)
    app.router.add_get("/version", version)
    app.router.add_get("/status", status)
    return app


def _log(log: TextIO | None, request: web.Request, came_s: float, status: int) -> None:
    if log is None:
        return
    head = len(f"{request.method} {request.path_qs} HTTP/1.1\r\n\r\n")
    head += sum(len(name) + len(value) + 4 for name, value in request.raw_headers)
    ended_s = time.time()
    entry = {
        "msec": round(ended_s, 6),
        "method": request.method,
        "path": request.path,
        "status": status,
        "request_bytes": head + (request.content_length or 0),
        "request_s": round(ended_s - came_s, 6),
    }
    log.write(json.dumps(entry) + "\n")


async def serve(pool: Pool, model: str, log: TextIO | None = None) -> None:
    """Listen on a free port of 127.0.0.1, print it, and serve until standard input closes; what is due then is left."""
    runner = web.AppRunner(application(pool, model, log), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=4096)
    await site.start()
    print(runner.addresses[0][1], flush=True)  # noqa: T201 — the port is this program's output
    await end_of_input()
    await runner.cleanup()


def main(arguments: list[str] | None = None) -> None:
    """Run the service from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=1, help="number of workers (default 1)")
    parser.add_argument("--service-ms", type=float, default=0.0, help="mean service time (default 0: a null server)")
    parser.add_argument("--exponential", action="store_true", help="exponential service times, not constant ones")
    parser.add_argument("--policy", choices=POLICIES, default="random")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--max-conns", type=int, default=0, help="requests a worker may have; 0: no limit (default)")
    parser.add_argument("--access-log", type=Path, help="write a line a request there, as the balancer does")
    parser.add_argument("--model", default="none", help="name of the model that it says it serves")
    options = parser.parse_args(arguments)
    services_s = [options.service_ms / 1e3] * options.workers
    draws = {"exponential": options.exponential, "seed": options.seed}
    pool = Pool(services_s, options.policy, **draws, max_conns=options.max_conns)
    with options.access_log.open("a", buffering=1) if options.access_log else nullcontext() as log:
        asyncio.run(serve(pool, options.model, log))


if __name__ == "__main__":
    main()
