"""`make bench`: how much of what the machine can do reaches a client, beside other ways to serve the same network.

Every round measures each system under each load once, so that whatever else the machine does meets all of them. The
systems stay up between their trials; who is idle costs next to nothing, and the page says how much.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench import processes, trials
from bench.aims import what_random_costs
from bench.alone import accuracy, expected, parts
from bench.inprocess import Limit
from bench.lineup import model_of, others, ours
from bench.machine import autogroup_here, facts_here, nginx_version, packages_of
from bench.peers.environment import install
from bench.peers.known import PEERS, PLAIN_FLASK, PROCESSES, Peer, chosen
from bench.photographs import typical
from bench.record import Record, redraw
from bench.rounds import Rounds
from bench.sender import CORES
from bench.systems import Served
from deployed.checkout import CommandError
from imagerec_model.errors import ModelError
from imagerec_worker.bundle import BundleError
from loadtest.arguments import number_of, whole_of
from loadtest.draw.model_table import write_between
from loadtest.errors import LoadtestError
from loadtest.experiments import checks

MARKS = ("<!-- random:begin -->", "<!-- random:end -->")
_REFUSALS = (ModelError, BundleError, CommandError, LoadtestError, subprocess.SubprocessError)


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, and record where asked to; or make the page of a recorded run again."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is ended on the way out
    try:
        if options.redraw:
            _redraw(options.redraw, options.into)
        else:
            _bench(options)
    except _REFUSALS as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make bench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--peers", default="", help=f"besides ours, with commas: {', '.join(PEERS)}")
    parser.add_argument("--model", default="", help="of all of them (default: imagenet with a mirror, else lite0)")
    parser.add_argument("--mirror", default="", help="folder or URL that the model is looked for before the network")
    parser.add_argument(
        "--rounds", type=whole_of(checks.whole(1, 3600)), default=5, help="interleaved rounds (%(default)s)"
    )
    seconds = number_of(checks.number(0, 3600, above=True))
    parser.add_argument("--seconds", type=seconds, default=5.0, help="of each trial (%(default)s)")
    parser.add_argument("--record", type=Path, metavar="FOLDER", help="write every request and the page there")
    parser.add_argument("--redraw", type=Path, metavar="FOLDER", help="only make the page of FOLDER again")
    parser.add_argument("--into", type=Path, metavar="FILE", help="with --redraw: say in FILE what random costs")
    return parser


def _redraw(folder: Path, into: Path | None) -> None:
    run = redraw(folder)
    if into:
        write_between(into, what_random_costs(run), *MARKS)


def _bench(options: argparse.Namespace) -> None:
    peers = chosen(options.peers)
    model = model_of(options.model, options.mirror)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        record = Record(options.record or folder / "record")
        for peer in peers:
            install(peer)
        try:
            with ExitStack() as stack:
                _measure(folder, stack, [PLAIN_FLASK, *peers], model, options, record)
        finally:
            record.show()


def _measure(  # noqa: PLR0917
    folder: Path, stack: ExitStack, peers: list[Peer], model: str | None, options: argparse.Namespace, record: Record
) -> None:
    """Start everything, and keep each round when it is measured."""
    (folder / "images").mkdir()
    described = typical(folder / "images")
    photographs = sorted((folder / "images").iterdir())
    deployed, bundle = ours(folder, stack, model, options.mirror)
    answers = expected(bundle, photographs)
    limit = Limit(bundle.path, folder / "images")
    stack.callback(limit.close)
    systems = [*deployed, *others(folder, stack, peers, bundle, photographs[0])]
    for system in systems:
        if system.decoder:
            system.check(answers[system.decoder])
    rounds = Rounds(limit, systems, answers, options.seconds)
    rounds.warm_up()
    facts = _facts(systems) | {
        "model": bundle.title,
        "bundle": bundle.digest,
        "images": described,
        "photographs": {path.name: path.stat().st_size for path in photographs},
        "rounds": options.rounds,
        "seconds": options.seconds,
        "limit_hz": round(rounds.limit_hz, 2),
        "idle_cores": round(rounds.idle_cores(), 4),
        "part_ms": parts(bundle, photographs),
        "accuracy": accuracy(bundle),
    }
    measured: list[trials.Trial] = []
    for number in range(1, options.rounds + 1):
        sys.stderr.write(f"round {number} of {options.rounds}\n")
        measured += rounds.measure(number)
        facts |= {"lost": dict(rounds.lost)}
        facts |= {"memory": {system.key: processes.memory(system.roots)._asdict() for system in systems}}
        record.keep(trials.Run(facts, tuple(measured)))


def _facts(systems: list[Served]) -> dict[str, Any]:
    """Return what is known of the machine and of the systems."""
    return facts_here() | {
        "machine_cores": CORES,
        "cores": PROCESSES,
        "autogroup": autogroup_here(),
        "systems": {system.key: system.title for system in systems},
        "described": {system.key: system.described for system in systems},
        "decoders": {system.key: system.decoder for system in systems},
        "forms": [system.key for system in systems if system.form],
        "nginx": {system.key: nginx_version(processes.program(system.roots, "nginx")) for system in systems},
        "packages": {system.key: packages_of(system.python) for system in systems},
    }


if __name__ == "__main__":
    sys.exit(main())
