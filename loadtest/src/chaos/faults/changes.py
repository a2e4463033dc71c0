"""Faults that are changes of the deployment: upgrades good and broken, another pool, a wrong clock."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from chaos.bars import barely_felt, of_enough, rolled, soon
from chaos.fault import VICTIM, Fault
from chaos.faults.workers import DROP_IN
from chaos.scene import Scene
from chaos.verdict import Marks, Row, answered
from deployed.checkout import REPOSITORY, run
from loadtest.generate.samples import Sample

_ROLL = ("playbooks/build.yml", "playbooks/workers.yml")
_CLOCK_AHEAD_S = 3600
# An upgrade took 4 to 6 minutes of workers with 0.3 cores, and is quicker on more.
UPGRADE_S = 300.0


def copy_bundle(folder: Path, version: str, model: bytes | None = None) -> Path:
    """Copy the deployed bundle under another version, with another model file if one is given."""
    source = Path(json.loads((REPOSITORY / "dist/bundle.json").read_text())["path"])
    target = folder / f"bundle-{version}"
    shutil.copytree(source, target)
    description: dict[str, Any] = json.loads((target / "bundle.json").read_text()) | {"version": version}
    if model is not None:
        (target / "model.tflite").write_bytes(model)
        description["files"]["model.tflite"] = hashlib.sha256(model).hexdigest()
    (target / "bundle.json").write_text(json.dumps(description))
    return target


def copy_checkout(folder: Path) -> Path:
    """Copy the checkout, with the worker's distribution under another version."""
    target = folder / "checkout"
    for name in run("git", "ls-files", "-z").stdout.split("\0"):
        if name and (REPOSITORY / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, target / name)
    shutil.copytree(REPOSITORY / "dist", target / "dist", symlinks=True)
    project = target / "services/worker/pyproject.toml"
    text, found = re.subn(r'(?m)^version = "(.*)"$', r'version = "\1.post1"', project.read_text(), count=1)
    assert found, "services/worker/pyproject.toml states no version"
    project.write_text(text)
    return target


def _roll(scene: Scene, *variables: str, checkout: Path = REPOSITORY, check: bool = True) -> None:
    shared = (f"virtual_address={scene.virtual_address}",) if scene.virtual_address else ()
    extra = [part for each in (*shared, *variables) for part in ("-e", each)]
    words = ["ansible-playbook", "-i", str(checkout / "inventory/slice"), *_ROLL, *extra]
    done = run(*words, folder=checkout, check=check, timeout_s=3600, GENI_MANIFEST=str(scene.system.names.manifest))
    if not check and done.returncode == 0:
        raise RuntimeError("an upgrade to a broken bundle went through")


def _deployed_bundle() -> str:
    return f"model={json.loads((REPOSITORY / 'dist/bundle.json').read_text())['path']}"


def upgrade_bundle(scene: Scene, _marks: Marks) -> None:
    """Roll the workers to another bundle, and back to theirs."""
    with another_bundle() as folder:
        _roll(scene, f"model={copy_bundle(folder, '2.0')}")
    _roll(scene, _deployed_bundle())


def _upgrade_wheel(scene: Scene, _marks: Marks) -> None:
    with tempfile.TemporaryDirectory() as folder:
        _roll(scene, _deployed_bundle(), checkout=copy_checkout(Path(folder)))
        _roll(scene, _deployed_bundle())


@contextlib.contextmanager
def another_bundle() -> Iterator[Path]:
    """Give a folder for another bundle; afterwards stands as built what the faults after this one start from.

    A bundle that is given by its path is built where the one of the same name stands that was given before.
    """
    built = REPOSITORY / "dist/bundle.json"
    before = built.read_text()
    source = Path(json.loads(before)["path"])
    with tempfile.TemporaryDirectory() as folder:
        kept = shutil.copytree(source, Path(folder) / "kept")
        try:
            yield Path(folder)
        finally:
            shutil.rmtree(source)
            shutil.copytree(kept, source)
            built.write_text(before)


def _upgrade_to_broken(scene: Scene, _marks: Marks) -> None:
    with another_bundle() as folder:
        broken = copy_bundle(folder, "3.0", b"no model" * 1000)
        _roll(scene, f"model={broken}", "service_ready_timeout_s=10", check=False)


def _roll_back(scene: Scene, _marks: Marks) -> None:
    scene.system.make("rollback", "INVENTORY=inventory/slice")


def _upgrade_and_roll_back(scene: Scene, marks: Marks) -> None:
    with another_bundle() as folder:
        _roll(scene, f"model={copy_bundle(folder, '2.0')}")
        _roll_back(scene, marks)


def _drain(scene: Scene, marks: Marks) -> None:
    scene.system.make("drain", f"HOST={VICTIM}", "INVENTORY=inventory/slice")
    marks.drained = {VICTIM: (scene.load.now(), float("inf"))}


def _asked_again(scene: Scene, marks: Marks) -> None:
    until = scene.load.now()
    marks.drained = {worker: (since, until) for worker, (since, _) in marks.drained.items()}


def _undrain(scene: Scene, marks: Marks) -> None:
    _asked_again(scene, marks)
    scene.system.make("undrain", f"HOST={VICTIM}", "INVENTORY=inventory/slice")


def _reload(scene: Scene, _marks: Marks) -> None:
    """Reload nginx three times while one client takes 20 s to send its photograph."""
    with scene.slow_client(20) as slow:
        try:
            for _ in range(3):
                time.sleep(3)
                scene.on("balancer", "systemctl reload imagerec-balancer.service")
            status, _ = slow.communicate(timeout=90)
        finally:
            slow.kill()  # its command on the client ends by itself, within 80 s
    if status.strip() != b"200":
        raise RuntimeError(f"the slow client was answered by {status!r}")


def _stopped_at_the_first(row: Row, samples: Sequence[Sample], scene: Scene) -> dict[str, bool]:
    away = {each.worker for each in samples if answered(each) and each.worker}
    return soon(row, samples, scene) | {
        "the other workers served on": away >= set(scene.workers[1:]),
        "one command rolled back": row.back_after_s is not None,
    }


def _shrink(scene: Scene, marks: Marks) -> None:
    scene.balance(balancer_pool_size="2")
    marks.drained = {worker: (scene.load.now() + 1, float("inf")) for worker in scene.workers[2:]}


def _grow(scene: Scene, marks: Marks) -> None:
    _asked_again(scene, marks)
    scene.balance()


_FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"


def _jump_clock(scene: Scene, _marks: Marks) -> None:
    """Put the worker's clock an hour ahead; containers share the kernel's, so it is put before its eyes instead."""
    scene.on(VICTIM, "command -v faketime >/dev/null || apt-get install -y -qq faketime >/dev/null 2>&1")
    unit = f"[Service]\\nEnvironment=LD_PRELOAD={_FAKETIME} FAKETIME=+{_CLOCK_AHEAD_S}s\\n"
    scene.on(VICTIM, f"mkdir -p {DROP_IN}; printf '{unit}' > {DROP_IN}/clock.conf; systemctl daemon-reload")
    scene.on(VICTIM, "systemctl restart imagerec-worker.service")


def _set_clock(scene: Scene, _marks: Marks) -> None:
    scene.on(VICTIM, f"rm -r {DROP_IN}; systemctl daemon-reload; systemctl restart imagerec-worker.service")
    scene.until_ready(VICTIM)


def _not_shed(row: Row, samples: Sequence[Sample], scene: Scene) -> dict[str, bool]:
    return soon(row, samples, scene) | {"none refused": row.refused == 0}


_rolling = functools.partial(Fault, bar=rolled, takes_s=2 * UPGRADE_S, hold_s=0)
FAULTS = (
    _rolling("upgrade-bundle", "rolling upgrade to another bundle and back", upgrade_bundle),
    _rolling("upgrade-wheel", "rolling upgrade to another wheel and back", _upgrade_wheel),
    Fault(
        "broken-upgrade",
        "upgrade to a broken bundle",
        _upgrade_to_broken,
        _roll_back,
        _stopped_at_the_first,
        takes_s=UPGRADE_S,
        victim="worker1",
    ),
    _rolling("rollback", "upgrade to another bundle and rollback", _upgrade_and_roll_back, bar=of_enough(rolled)),
    Fault("drain", "a worker taken out and back", _drain, _undrain, of_enough(soon), hold_s=15, victim=VICTIM),
    Fault("reload-slow-client", "nginx reloads while a client is slow", _reload, bar=of_enough(soon), hold_s=0),
    # Half the capacity of the two that stay.
    Fault("scale", "the pool 4 → 2 → 4", _shrink, _grow, barely_felt, takes_s=75, hold_s=15, utilisation=0.25),
    Fault("clock", "a worker's clock an hour ahead", _jump_clock, _set_clock, _not_shed, takes_s=30, hold_s=15),
)
