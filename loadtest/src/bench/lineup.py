"""Who takes part: what `make up` deploys, and the peers beside it."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import yaml

from bench.peers.known import PROCESSES, Peer
from bench.systems import Served, serving
from deployed.checkout import CommandError, run
from deployed.local import Deployment, local_deployment
from imagerec_model import lite
from imagerec_model.get import NAMES, get
from imagerec_worker.bundle import Bundle, load_bundle

# All load comes from one address; a fast machine answers more than one address may ask.
UNLIMITED = "-e balancer_max_conns=0 -e balancer_address_rate_hz=0 -e balancer_address_connections=0"


def one_host(folder: Path, model: str | None) -> Deployment:
    """Prepare inventory/local as one machine of a slice: a single worker host that has a process for every core."""
    system = local_deployment(folder, model)
    hosts = yaml.safe_load(system.inventory.read_text())
    workers = hosts["all"]["children"]["workers"]["hosts"]
    del workers["worker2"]
    system.inventory.write_text(yaml.safe_dump(hosts))
    return dataclasses.replace(system, workers={"worker1": system.workers["worker1"]})


OURS: dict[str, tuple[str, Callable[[Path, str | None], Deployment], str]] = {
    "listener": ("nginx, one listener of a process for each core", one_host, "random"),
    "random": ("`make up` as it is: nginx, random between two workers", local_deployment, "random"),
    "random_two": ("the same with `POLICY=random_two`", local_deployment, "random_two"),
}


def model_of(said: str, mirror: str = "") -> str | None:
    """Return the model that `make up` is to be told, none for its own choice; a path becomes absolute.

    Who names a mirror and no model means the one that is looked for there.

    Raises:
        ModelError: There is no such model.
        BundleError: It is the path of something that is no bundle.
    """
    if not said or said in NAMES or lite.choose(said):
        return said or ("imagenet" if mirror else None)
    with tempfile.TemporaryDirectory() as name:
        get(said, Path(name))
    return str(Path(said).resolve())


def processes_each(workers: int) -> int:
    """Return how many processes each of so many workers has, as inventory/local shares the cores among them."""
    return max(1, PROCESSES // workers)


def ours(folder: Path, stack: ExitStack, model: str | None, mirror: str) -> tuple[list[Served], Bundle]:
    """Deploy the three that are ours by `make up`; return them and the bundle that they serve."""
    served = []
    for key, (title, prepare, policy) in OURS.items():
        (folder / key).mkdir()
        system = prepare(folder / key, model)
        stack.callback(_down, system)
        sys.stderr.write(f"make up: {title}\n")
        each = processes_each(len(system.workers))
        words = [f"POLICY={policy}", f"ARGS={UNLIMITED} -e worker_processes={each}"]
        words += [f"MODEL_MIRROR={mirror}"] if mirror else []
        system.make("up", *words)
        served.append(_deployed(system, key, title, f"nginx, `{policy}`, {len(system.workers)} × {each} processes"))
    return served, load_bundle((folder / key / ".run/worker1/models/current").resolve())


def others(folder: Path, stack: ExitStack, peers: list[Peer], bundle: Bundle, photograph: Path) -> Iterator[Served]:
    """Start the peers, each in all its forms."""
    for peer in peers:
        for number, form in enumerate(peer.forms):
            own = folder / f"{peer.name}-{number}"
            own.mkdir()
            sys.stderr.write(f"starting {peer.title} {form.name}\n")
            yield stack.enter_context(serving(peer, form, bundle.path, own, photograph))


def _deployed(system: Deployment, key: str, title: str, described: str) -> Served:
    """Return a deployment that is up, as seen through nginx; all that supervisor keeps counts as serving."""
    supervisor = system.folder / ".run/supervisor/supervisord.conf"
    pid = int(run("supervisorctl", "-c", supervisor, "pid").stdout)
    port = int(system.url.rpartition(":")[2])
    python = system.folder / ".run/worker1/app/current/venv/bin/python"
    return Served(key, title, port, "/predict", False, "served", (pid,), python, described)


def _down(system: Deployment) -> None:
    """End a deployment; where that fails, what was measured is still worth having."""
    try:
        system.make("down")
    except (CommandError, subprocess.SubprocessError, OSError) as error:
        said = str(error).strip().splitlines()[-1:]
        sys.stderr.write(f"make down failed for {system.inventory}: {' '.join(said)}\n")
