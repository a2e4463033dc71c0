"""The commands of the generator alone: `loadtest attack`, `trace` and `bench`."""

import argparse
import gzip
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from loadtest.arguments import number_of, whole_of
from loadtest.errors import LoadtestError
from loadtest.experiments.checks import number, whole
from loadtest.generate.traces import trace_of_log

_RATE = number_of(number(0, 100_000, above=True))
_CLIENTS = whole_of(whole(0, 64))
_BYTES = whole_of(whole(0, 100_000_000))
_WHOLE = whole_of(whole(0, 2**63 - 1))
_SECONDS = number_of(number(0, 86_400, above=True))


def add_generate(add: Callable[..., Any]) -> None:
    """Add the commands; `add` makes the parser of one."""
    one = add(
        "attack",
        "send photographs at a rate for a quick look, without a design, and print one table",
        _attack,
        "attack http://127.0.0.1:8080 --rate 20 --duration 10 photo.jpg",
        "attack http://127.0.0.1:8080 --rate 100 --duration 60 *.jpg --save look.jsonl.gz",
    )
    one.add_argument("target", metavar="URL", help="the service, such as http://127.0.0.1:8080")
    one.add_argument("photos", nargs="+", type=Path, metavar="PHOTO", help="what is sent, one drawn for each request")
    one.add_argument("--rate", type=_RATE, default=10.0, metavar="HZ", help="requests a second (default %(default)g)")
    one.add_argument(
        "--duration", type=_SECONDS, default=10.0, metavar="SECONDS", help="for how long (default %(default)g)"
    )
    one.add_argument("--constant", action="store_true", help="equal gaps between requests, not a Poisson process")
    one.add_argument(
        "--seed",
        type=_WHOLE,
        default=1,
        help="of arrivals and photographs (default %(default)s)",
    )
    one.add_argument(
        "--timeout", type=_SECONDS, default=60.0, metavar="SECONDS", help="of a request (default %(default)g)"
    )
    one.add_argument("--clients", type=_CLIENTS, default=0, metavar="N", help="so many processes here send it")
    one.add_argument(
        "--client",
        action="append",
        default=[],
        metavar="COMMAND",
        help="and this one, by what starts its Python, such as 'ssh client2 python3'; may be repeated",
    )
    one.add_argument("--save", type=Path, metavar="FILE", help="keep every request in this new file (.jsonl.gz)")

    trace = add(
        "trace",
        "make a trace, for a design's trace arrivals, of the balancer's access log",
        _trace,
        "trace .run/balancer/log/access.log > morning.csv",
        "trace access.log.2.gz access.log.1 access.log > yesterday.csv",
    )
    trace.add_argument("logs", nargs="+", type=Path, metavar="LOG", help="the log, and parts that were rotated away")
    trace.add_argument("--times-only", action="store_true", help="without the requests' sizes")

    self_bench = add("bench", "measure the generator itself against a null server", _bench, "bench --rate 1000")
    self_bench.add_argument("--rate", type=_RATE, default=1000.0, metavar="HZ", help="requests a second (default 1000)")
    self_bench.add_argument("--seconds", type=_SECONDS, default=10.0, help="for how long (default 10)")
    self_bench.add_argument("--bytes", type=_BYTES, default=20_000, help="size of the image (default 20000)")


def _attack(options: argparse.Namespace) -> int:
    from rich.console import Console  # noqa: PLC0415 — no other command here prints a table

    from loadtest.generate.attack import (  # noqa: PLC0415 — aiohttp takes a third of a second
        Attack,
        ask_limits,
        read_payloads,
        run_attack,
        table,
    )
    from loadtest.generate.merged import run_together  # noqa: PLC0415
    from loadtest.generate.together import HERE  # noqa: PLC0415

    attack = Attack(
        options.target,
        read_payloads(options.photos),
        options.rate,
        options.duration,
        constant=options.constant,
        seed=options.seed,
        timeout_s=options.timeout,
    )
    commands = [HERE] * options.clients + options.client
    limits = ask_limits(attack, commands)
    send = partial(run_together, commands=commands) if commands else run_attack
    trial = send(attack, options.save, terminal=sys.stderr.isatty())
    Console(highlight=False).print(table(trial, limits))
    if options.save:
        print(f"samples: {options.save}")
    return 0 if any(sample.ok for sample in trial.samples) else 1


def _trace(options: argparse.Namespace) -> int:
    name = ", ".join(str(log) for log in options.logs)
    trace, notes = trace_of_log(_lines(options.logs), name, sizes=not options.times_only)
    for note in notes:
        print(f"loadtest: {note}", file=sys.stderr)
    for line in trace.lines():
        print(line)
    return 0


def _lines(logs: list[Path]) -> Iterator[str]:
    for log in logs:
        try:
            with gzip.open(log, "rt") if log.suffix == ".gz" else log.open(encoding="utf-8", errors="replace") as file:
                yield from file
        except (OSError, EOFError, UnicodeDecodeError) as error:
            raise LoadtestError(f"cannot read the log {log}: {error}") from error


def _bench(options: argparse.Namespace) -> int:
    from loadtest.generate.bench import bench  # noqa: PLC0415 — aiohttp takes a third of a second

    result = bench(options.rate, options.seconds, options.bytes)
    effort = result.effort
    print(f"asked {result.rate_hz:g}/s of {options.bytes} bytes for {options.seconds:g} s")
    print(f"sent {result.achieved_hz:.1f}/s, {result.failures} failed, at most {effort.peak_in_flight} in flight")
    print(f"CPU {effort.cpu_share:.2f} of one core, {effort.spin_share:.2f} of it spent awake until the moment to send")
    p99 = "– (needs 1,000 requests)" if result.lag_p99_s is None else f"{result.lag_p99_s * 1e3:.2f} ms"
    print(f"lag p50 {result.lag_p50_s * 1e3:.2f} ms, p99 {p99}, max {result.lag_max_s * 1e3:.2f} ms")
    return 0
