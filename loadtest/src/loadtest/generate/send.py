"""Send one load from this machine for a program on another one: `python -m loadtest.generate.send`.

The first line on standard output is `{"origin": …}`, the time of day at which the clock of the samples begins; the rest
is the samples file. When standard input ends, so does the load, also where the one who asked for it is gone.
"""

import argparse
import asyncio
import json
import mimetypes
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from loadtest.generate import arrivals, punctual
from loadtest.generate.client import Client
from loadtest.generate.effort import Effort, raise_file_limit
from loadtest.generate.parent import end_of_input
from loadtest.generate.payload import Payload, encode
from loadtest.generate.recording import record_load
from loadtest.generate.runner import Runner
from loadtest.generate.samples import IDENTIFIED

_WITHOUT_LIMIT = 10**9


def main(arguments: list[str] | None = None) -> None:
    """Read what to send, send it, and write what happened."""
    options = _parser().parse_args(arguments)
    raise_file_limit()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "samples"
        punctual.run(_send(options, path))
        sys.stdout.buffer.write(path.read_bytes())


async def _send(options: argparse.Namespace, path: Path) -> None:
    payloads = [_payload(image, form=options.form) for image in options.images]
    draw, choose = (np.random.default_rng(seed) for seed in np.random.SeedSequence(options.seed).spawn(2))

    async def load(runner: Runner) -> Effort:
        stop = asyncio.create_task(_stop_at_end_of_input(runner, options.at_least))
        try:
            if options.users:
                return await runner.closed_loop(options.users, requests=options.requests, duration_s=options.seconds)
            return await runner.open_loop(_offsets(options, draw))
        finally:
            stop.cancel()

    client = Client(
        options.target,
        timeout_s=options.timeout,
        keep_alive=not options.new_connections,
        want_answer=True,
        path=options.path,
        verify=not options.insecure,
    )
    async with client:
        await record_load(
            client,
            path,
            {},
            iter(lambda: payloads[int(choose.integers(len(payloads)))], None),
            load,
            columns=IDENTIFIED,
            max_in_flight=_WITHOUT_LIMIT,
            started=lambda: print(json.dumps({"origin": time.time()}), flush=True),  # noqa: T201  the protocol
        )


def _offsets(options: argparse.Namespace, draw: np.random.Generator) -> Iterator[float]:
    start_s = 0.0
    for length_s, rate_hz in options.phase:
        within = arrivals.constant(rate_hz, length_s) if options.constant else arrivals.poisson(rate_hz, length_s, draw)
        for offset in within:
            yield start_s + offset
        start_s += length_s


async def _stop_at_end_of_input(runner: Runner, at_least: int) -> None:
    await end_of_input()
    while runner.sent < at_least:
        await asyncio.sleep(0.05)
    runner.stop()


def _payload(image: Path, *, form: bool) -> Payload:
    media_type = mimetypes.guess_type(image)[0] or "image/jpeg"
    return encode(image.stem, image.read_bytes(), media_type, multipart=form)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m loadtest.generate.send", description=__doc__)
    parser.add_argument(
        "images", nargs="+", type=Path, metavar="IMAGE", help="what is sent, one drawn for each request"
    )
    parser.add_argument("--target", required=True, metavar="URL", help="the service, such as http://127.0.0.1:8080")
    parser.add_argument("--path", default="/predict", help="where images are sent to (%(default)s)")
    parser.add_argument("--form", action="store_true", help="as the file of a browser's form, not as the body")
    load = parser.add_mutually_exclusive_group(required=True)
    load.add_argument(
        "--phase", nargs=2, type=float, action="append", metavar=("SECONDS", "HZ"), help="open loop; may be repeated"
    )
    load.add_argument("--users", type=int, help="closed loop of so many users, with --requests or --seconds")
    parser.add_argument("--constant", action="store_true", help="equal gaps between requests, not a Poisson process")
    parser.add_argument("--requests", type=int, help="of all users together")
    parser.add_argument("--seconds", type=float, help="for which users send")
    parser.add_argument("--at-least", type=int, default=0, metavar="REQUESTS", help="also when input ends before")
    parser.add_argument("--seed", type=int, default=1, help="of arrivals and images (%(default)s)")
    parser.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS", help="of a request (%(default)s)")
    parser.add_argument("--new-connections", action="store_true", help="a connection for each request")
    parser.add_argument("--insecure", action="store_true", help="whoever signed the target's certificate")
    return parser


if __name__ == "__main__":
    main()
