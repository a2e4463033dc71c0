"""`make bench`: how much of what the machine can do reaches a client, in one run with interleaved rounds.

Every round measures each system once, so that whatever else the machine does meets all of them; figures are medians
over the rounds, and ratios are medians of the rounds' own ratios.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench import limit, systems
from bench.machine import commit_here, machine_here
from bench.photographs import LABELLED, typical
from bench.report import write
from deployed.local import Deployment, local_deployment
from imagerec_worker.bundle import load_bundle
from imagerec_worker.classifier import Classifier

Rounds = dict[str, list[systems.Measured]]
CONNECTIONS = (1, 4, 16)
SATURATED = CONNECTIONS[-1]
# All load comes from one address; a fast machine answers more than one address may ask.
UNLIMITED = "-e balancer_max_conns=0 -e balancer_address_rate_hz=0 -e balancer_address_connections=0"


def main() -> int:
    """Measure, print, and record where asked to."""
    parser = argparse.ArgumentParser(prog="make bench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (%(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement (%(default)s)")
    parser.add_argument("--record", type=Path, metavar="FOLDER", help="write throughput.json and throughput.md there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        try:
            result = _measure(Path(name), stack, options.rounds, options.seconds)
        except RuntimeError as error:
            sys.stderr.write(f"error: {error}\n")
            return 1
    print(write(result, options.record))
    return 0


def _deploy(stack: ExitStack, system: Deployment) -> tuple[systems.Served, systems.Served]:
    stack.callback(system.make, "down")
    system.make("up", f"ARGS={UNLIMITED}")
    return systems.served_by(system)


def _measure(folder: Path, stack: ExitStack, rounds: int, seconds: float) -> dict[str, Any]:
    for part in ("host", "local", "images"):
        (folder / part).mkdir()
    described = typical(folder / "images")
    images = [path.read_bytes() for path in sorted((folder / "images").iterdir())]
    one_host = systems.one_host(folder / "host")
    through, direct = _deploy(stack, one_host)
    pair, _ = _deploy(stack, local_deployment(folder / "local"))
    bundle = one_host.folder / ".run/worker1/models/current"
    in_process = systems.Limit(bundle.resolve(), folder / "images")
    stack.callback(in_process.close)
    old = stack.enter_context(systems.baseline())

    runs: Rounds = defaultdict(list)
    client_ms = []
    for number in range(rounds + 1):  # the first round warms everything up and is not counted
        sys.stderr.write(f"round {number} of {rounds}\n")
        this: dict[str, systems.Measured] = {
            f"limit {decoder}": in_process.run(decoder, seconds)
            for decoder in ("served", "served_pillow", "plain_pillow")
        }
        for connections in CONNECTIONS:
            this[f"gunicorn {connections}"] = direct.run(images, connections, seconds)
            this[f"nginx {connections}"] = through.run(images, connections, seconds)
            this[f"two workers {connections}"] = pair.run(images, connections, seconds)
        client_ms.append(this[f"nginx {SATURATED}"].client_cpu_ms)
        this[f"baseline {SATURATED}"] = old.run(images, SATURATED, max(seconds, 8.0))
        if number:
            for name, measured in this.items():
                runs[name].append(measured)
    return {
        "machine": machine_here(),
        "commit": commit_here(),
        "images": described,
        "model": load_bundle(bundle).title,
        "rounds": rounds,
        "seconds": seconds,
        "connections": list(CONNECTIONS),
        "rate_hz": {name: [round(one.rate_hz, 2) for one in each] for name, each in runs.items()},
        "cpu_ms": {name: [round(one.cpu_ms, 3) for one in each] for name, each in runs.items()},
        "client_cpu_ms": round(statistics.median(client_ms[1:]), 3),
        "resident_mb": [round(size / 1e6, 1) for size in direct.memory_bytes("VmRSS")],
        "private_mb": [round(size / 1e6, 1) for size in direct.memory_bytes("RssAnon")],
        "part_ms": _parts(bundle, images),
        "accuracy": _accuracy(bundle),
    }


def _parts(bundle_folder: Path, images: list[bytes]) -> dict[str, float]:
    """Median milliseconds of each decoder and of an inference, alone in this process."""
    classifier = Classifier(load_bundle(bundle_folder))
    parts: dict[str, list[float]] = defaultdict(list)
    for _ in range(5):
        for image in images:
            for name, decode in limit.DECODERS.items():
                start_s = time.perf_counter()
                pixels = decode(image, classifier.bundle)
                parts[name].append(time.perf_counter() - start_s)
            start_s = time.perf_counter()
            classifier.classify(pixels, 5)
            parts["inference"].append(time.perf_counter() - start_s)
    return {name: round(1e3 * statistics.median(each), 3) for name, each in parts.items()}


def _accuracy(bundle_folder: Path) -> dict[str, Any] | None:
    """Right answers of each decoder on the labelled photographs, and how often it agrees with the slow reference."""
    bundle = load_bundle(bundle_folder)
    if not LABELLED.is_dir() or len(bundle.classes) != 1000:
        return None
    classifier = Classifier(bundle)
    photographs = sorted(LABELLED.glob("*.JPEG"))
    answers = {
        name: [classifier.classify(decode(path.read_bytes(), bundle), 1)[0].wnid for path in photographs]
        for name, decode in limit.DECODERS.items()
    }
    truth = [path.name.partition("_")[0] for path in photographs]
    return {
        "photographs": len(photographs),
        "right": {name: sum(map(str.__eq__, each, truth)) for name, each in answers.items()},
        "as_reference": {name: sum(map(str.__eq__, each, answers["reference"])) for name, each in answers.items()},
    }


if __name__ == "__main__":
    sys.exit(main())
