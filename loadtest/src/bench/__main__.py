"""`make bench`: how much of what the machine can do reaches a client, beside other ways to serve the same network.

Every round measures each system under each load once, so that whatever else the machine does meets all of them. The
systems stay up between their trials; who is idle costs next to nothing, and the page says how much.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from bench import processes, report, trials
from bench.aims import what_random_costs
from bench.alone import accuracy, expected, parts
from bench.machine import autogroup_here, commit_here, cpu_flags_here, machine_here, nginx_version, packages_of
from bench.peers.environment import InstallError, install
from bench.peers.known import PEERS, PLAIN_FLASK, Peer, UnknownPeerError, chosen
from bench.photographs import typical
from bench.rounds import Rounds
from bench.sender import SenderError
from bench.systems import Limit, NotServingError, Served, deployed, one_host, serving
from deployed.checkout import CommandError
from deployed.local import Deployment, local_deployment
from imagerec_model.errors import ModelError
from imagerec_model.get import NAMES, get
from imagerec_worker.bundle import Bundle, BundleError, load_bundle
from loadtest.draw.model_table import write_between
from loadtest.errors import LoadtestError

# All load comes from one address; a fast machine answers more than one address may ask.
UNLIMITED = "-e balancer_max_conns=0 -e balancer_address_rate_hz=0 -e balancer_address_connections=0"
OURS: dict[str, tuple[str, Callable[[Path, str | None], Deployment], str]] = {
    "listener": ("nginx, one listener of a process for each core", one_host, "random"),
    "random": ("`make up` as it is: nginx, random between two workers", local_deployment, "random"),
    "random_two": ("the same with `POLICY=random_two`", local_deployment, "random_two"),
}
MARKS = ("<!-- random:begin -->", "<!-- random:end -->")
_REFUSALS = (UnknownPeerError, ModelError, BundleError, InstallError, CommandError, NotServingError, SenderError)


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, and record where asked to; or make the page of a recorded run again."""
    options = _parser().parse_args(arguments)
    if options.redraw:
        return _redraw(options.redraw, options.into)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is ended on the way out
    try:
        peers = chosen(options.peers)
        _refuse_unknown(options.model)
        for peer in peers:
            install(peer)
        with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
            result = _measure(Path(name), stack, [PLAIN_FLASK, *peers], options)
    except _REFUSALS as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    if options.record:
        trials.keep(result, options.record)
        (options.record / report.PAGE).write_text(report.page(result), encoding="utf-8")
    print(report.page(result))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make bench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--peers", default="", help=f"besides ours, with commas: {', '.join(PEERS)}")
    parser.add_argument("--model", default="", help="of all of them (default: imagenet, or lite0 without its file)")
    parser.add_argument("--rounds", type=_positive_int, default=5, help="interleaved rounds (%(default)s)")
    parser.add_argument("--seconds", type=_positive, default=5.0, help="of each trial (%(default)s)")
    parser.add_argument("--record", type=Path, metavar="FOLDER", help="write every request and the page there")
    parser.add_argument("--redraw", type=Path, metavar="FOLDER", help="only make the page of FOLDER again")
    parser.add_argument("--into", type=Path, metavar="FILE", help="with --redraw: say in FILE what random costs")
    return parser


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < 3600:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 3600")
    return value


def _positive_int(text: str) -> int:
    return int(_positive(str(int(text))))


def _redraw(folder: Path, into: Path | None) -> int:
    try:
        run = trials.read(folder)
        (folder / report.PAGE).write_text(report.page(run), encoding="utf-8")
        if into:
            write_between(into, what_random_costs(run), *MARKS)
    except (trials.RecordError, LoadtestError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def _refuse_unknown(model: str) -> None:
    """Refuse a model that nothing can serve, before anything is deployed."""
    if model and model not in NAMES:
        with tempfile.TemporaryDirectory() as name:
            get(model, Path(name))


def _measure(folder: Path, stack: ExitStack, peers: list[Peer], options: argparse.Namespace) -> trials.Run:
    (folder / "images").mkdir()
    described = typical(folder / "images")
    photographs = sorted((folder / "images").iterdir())
    model = options.model if options.model in NAMES else str(Path(options.model).resolve()) if options.model else None
    ours, bundle = _ours(folder, stack, model)
    answers = expected(bundle, photographs)
    limit = Limit(bundle.path, folder / "images")
    stack.callback(limit.close)
    systems = [*ours, *_others(folder, stack, peers, bundle, photographs[0])]
    for system in systems:
        if system.decoder:
            system.check(answers[system.decoder])
    rounds = Rounds(limit, systems, photographs, options.seconds)
    rounds.warm_up()
    idle_cores = rounds.idle_cores()
    measured: list[trials.Trial] = []
    for number in range(1, options.rounds + 1):
        sys.stderr.write(f"round {number} of {options.rounds}\n")
        measured += rounds.measure(number)
    facts = {
        "machine": machine_here(),
        "cpu_flags": cpu_flags_here(),
        "autogroup": autogroup_here(),
        "commit": commit_here(),
        "model": bundle.title,
        "bundle": bundle.digest,
        "images": described,
        "photographs": {path.name: path.stat().st_size for path in photographs},
        "rounds": options.rounds,
        "seconds": options.seconds,
        "limit_hz": round(rounds.limit_hz, 2),
        "idle_cores": round(idle_cores, 4),
        "systems": {system.key: system.title for system in systems},
        "forms": [system.key for system in systems if system.form],
        "memory_mb": {system.key: processes.memory_mb(system.roots) for system in systems},
        "nginx": nginx_version(),
        "packages": {system.key: packages_of(system.python) for system in systems},
        "part_ms": parts(bundle, photographs),
        "accuracy": accuracy(bundle),
    }
    return trials.Run(facts, tuple(measured))


def _ours(folder: Path, stack: ExitStack, model: str | None) -> tuple[list[Served], Bundle]:
    """Deploy the three that are ours by `make up`; return them and the bundle that they serve."""
    served = []
    for key, (title, prepare, policy) in OURS.items():
        (folder / key).mkdir()
        system = prepare(folder / key, model)
        stack.callback(system.make, "down")
        sys.stderr.write(f"make up: {title}\n")
        system.make("up", f"POLICY={policy}", f"ARGS={UNLIMITED}")
        served.append(deployed(system, key, title))
    return served, load_bundle((folder / key / ".run/worker1/models/current").resolve())


def _others(folder: Path, stack: ExitStack, peers: list[Peer], bundle: Bundle, photograph: Path) -> Iterator[Served]:
    for peer in peers:
        for number, form in enumerate(peer.forms):
            own = folder / f"{peer.name}-{number}"
            own.mkdir()
            sys.stderr.write(f"starting {peer.title} {form.name}\n")
            yield stack.enter_context(serving(peer, form, bundle.path, own, photograph))


if __name__ == "__main__":
    sys.exit(main())
