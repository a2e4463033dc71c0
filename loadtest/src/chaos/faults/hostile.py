"""Hostile clients beside good ones: the attacks of chaos.attacks, and what the good traffic felt."""

from __future__ import annotations

import io
import json
import subprocess
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chaos import attacks
from chaos.attacks.expected import is_failure
from chaos.bars import Bar, at_most, nothing_lost
from chaos.fault import Fault
from chaos.scene import Scene
from chaos.verdict import Marks, Row
from deployed.load import CLIENT_PYTHON
from loadtest.generate.samples import Sample

_ARCHIVE = "/tmp/attacks.zip"  # noqa: S108  on the client, whose only user is ours
# Attack → its arguments and what else its title says. All come from the address of the good traffic, whose limits
# they share.
ATTACKS = {
    "idle": ("", ""),
    "slow_headers": ("--count 500", ", 500 connections"),
    "slow_body": ("", ""),
    "slow_reader": ("", ""),
    "smuggling": ("", ""),
    "multipart": ("", ""),
    # All at once their 9 MB fill the client's link for most of a second.
    "bombs": ("--rate 1", ", one a second"),
    "mutated": ("", ""),  # 2,000 images
    "polyglots": ("", ""),
}


def program() -> bytes:
    """The package chaos.attacks as an archive that Python imports: all that a client needs for an attack."""
    packed = io.BytesIO()
    root = Path(attacks.__file__).parents[2]
    with zipfile.ZipFile(packed, "w") as archive:
        for path in (root / "chaos/__init__.py", *sorted((root / "chaos/attacks").glob("*.py"))):
            archive.write(path, path.relative_to(root))
    return packed.getvalue()


def _lives(scene: Scene) -> dict[str, str]:
    """Process ids of each worker's gunicorn, its workers, and how often systemd has restarted it."""
    command = (
        "m=$(systemctl show -p MainPID --value imagerec-worker); systemctl show -p NRestarts --value imagerec-worker; "
        "echo $m; cat /proc/$m/task/$m/children"
    )
    return {worker: scene.on(worker, command) for worker in scene.workers}


class _Attack:
    """Starts an attack when the fault is injected, and waits for its end."""

    def __init__(self, name: str, arguments: str) -> None:
        self._name, self._arguments = name, arguments
        self._process: subprocess.Popen[bytes] | None = None
        self._lives: dict[str, str] = {}
        self.said: dict[str, Any] = {}

    def begin(self, scene: Scene, _marks: Marks) -> None:
        """Send the program to the client and start it."""
        self._process, self.said = None, {}
        scene.system.on("client", f"cat > {_ARCHIVE}", program())
        self._lives = _lives(scene)
        attack = f"{CLIENT_PYTHON} -m chaos.attacks {self._name} balancer 80 {self._arguments}"
        command = f"ulimit -n 65536; PYTHONPATH={_ARCHIVE} {attack}"
        # As root, who may raise the number of open files.
        self._process = scene.system.start("client", f"sudo sh -c '{command}'")

    def end(self, scene: Scene, _marks: Marks) -> None:
        """Wait for it, and see whether every process still lives."""
        if self._process is None:
            return  # it did not begin
        printed, _ = self._process.communicate(timeout=600)
        if self._process.returncode != 0:
            raise RuntimeError(f"the attack {self._name} could not be carried out; its words stand above")
        self.said = json.loads(printed.splitlines()[-1]) | {"processes_died": _lives(scene) != self._lives}

    def bar(self, row: Row, samples: Sequence[Sample], scene: Scene) -> dict[str, bool]:
        """Good traffic lost nothing and kept its p99 within twice; no answer of 5xx, no death, nothing smuggled."""
        if not self.said:
            return nothing_lost(row, samples, scene) | {"what the attack was answered is missing": False}
        failures = sum(count for status, count in self.said["answers"].items() if is_failure(status))
        twice = None if row.quiet_p99_ms is None else 2 * row.quiet_p99_ms
        quick = at_most("p99 of the good within 2 × quiet p99:", row.p99_ms, twice, " ms", digits=0)
        return (
            nothing_lost(row, samples, scene)
            | quick
            | {
                f"0 answers of 5xx ({self._told()})": failures == 0,
                "no process died": not self.said["processes_died"],
                "nothing smuggled": not self.said.get("smuggled"),
                "as expected" + "".join(f", {each}" for each in self.said["unexpected"]): not self.said["unexpected"],
            }
        )

    def _told(self) -> str:
        answers = ", ".join(f"{count} × {status}" for status, count in sorted(self.said["answers"].items()))
        return f"{self.said.get('sent', 0)} sent: {answers or 'none answered'}, {self.said.get('closed', 0)} closed"


def _fault(name: str, arguments: str, further: str) -> Fault:
    attack = _Attack(name, arguments)
    bar: Bar = attack.bar
    words = f"hostile clients: {name.replace('_', ' ')}{further}"
    return Fault(
        f"hostile-{name.replace('_', '-')}", words, attack.begin, attack.end, bar, takes_s=45, hold_s=0, tail_s=5
    )


FAULTS = tuple(_fault(name, *words) for name, words in ATTACKS.items())
