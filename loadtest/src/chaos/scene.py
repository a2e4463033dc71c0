"""The stage of a fault: the slice, its pictures with their right labels, the load, and the balancer's log."""

from __future__ import annotations

import base64
import json
import shlex
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image
from skimage import data

from chaos.verdict import SETTLE_S, Sample, read_samples
from deployed.checkout import CommandError
from deployed.slice import URL, Slice
from loadtest.generate.images import jpeg
from rspec.local_slice.limits import Limiter
from rspec.local_slice.plan import Plan, need_plan

PHOTOGRAPHS = ("chelsea", "coffee", "rocket", "astronaut")
SIDE_PX = 128
CALIBRATION_S = 12.0
# Requests at a worker, waiting ones included: what is accepted waits for two others at most,
# and a worker that answers has the next at hand.
PLACES = 3
# The whole load comes from one address, so what one address may do is not limited.
SETTINGS = {"balancer_max_conns": str(PLACES), "balancer_address_rate_hz": "0", "balancer_address_connections": "0"}
PYTHON = "/opt/imagerec-loadtest/current/venv/bin/python"
_LOG = "/var/log/imagerec-balancer/access.log"
_STOP = "/tmp/stop-chaos"  # noqa: S108  on the client, whose only user is ours


class Load:
    """A sender that runs on the client."""

    def __init__(self, scene: Scene, task: dict[str, Any]) -> None:
        self._scene = scene
        program = Path(__file__).with_name("sender.py").read_text()
        scene.system.on("client", f"rm -f {_STOP}; cat > /tmp/sender.py", program)
        command = f"ulimit -n $(ulimit -Hn); {PYTHON} /tmp/sender.py"
        self._process = scene.system.start("client", command, stdin=subprocess.PIPE)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.close()
        self._process.stdin = None
        # The machines share this host's clock.
        self.origin = float(json.loads(self._process.stdout.readline())["origin"])

    def now(self) -> float:
        """Seconds on the sender's clock."""
        return time.time() - self.origin

    def stop(self) -> list[Sample]:
        """End it, and return every request it sent, once the last has its answer."""
        self._scene.system.on("client", f"touch {_STOP}")
        return self.wait()

    def wait(self) -> list[Sample]:
        """Return every request that it sent, once it has ended by itself."""
        printed, _ = self._process.communicate(timeout=300)
        if self._process.returncode != 0:
            raise RuntimeError("the sender on the client failed; its words stand above")
        return read_samples(printed.splitlines())


@dataclass(slots=True)
class Scene:
    """What faults act on.

    Attributes:
        system: the slice, deployed.
        seed: of the arrivals and of the order of the pictures.
        capacity_hz: answers a second at saturation; measured by `calibrate`.
        service_s: a worker's own time for a request, workers / capacity.
        load: the Load under way.
    """

    system: Slice
    seed: int = 1
    capacity_hz: float = 0.0
    service_s: float = 0.0
    workers: list[str] = field(default_factory=list)
    load: Load = field(init=False)
    _pictures: dict[str, bytes] = field(default_factory=dict)
    _labels: dict[str, str] = field(default_factory=dict)

    @property
    def plan(self) -> Plan:
        """The slice's machines and links."""
        return need_plan(self.system.names)

    @property
    def limiter(self) -> Limiter:
        """The slice's control groups."""
        return Limiter(self.system.name)

    def prepare(self) -> dict[str, Any]:
        """Learn the pool and the right labels; return what is deployed (the answers of /version and /status)."""
        status = json.loads(self.system.on("client", f"curl -sf {URL}/status"))
        self.workers = list(status["workers"])
        for name in PHOTOGRAPHS:
            pixels = getattr(data, name)()
            side = min(pixels.shape[:2])
            square = Image.fromarray(pixels[:side, :side]).resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)
            self._pictures[name] = jpeg(square)
            # One worker by itself, at rest, says what is right: all serve the same model.
            url = f"http://{self.workers[0]}:5000/predict?top=1"
            command = f"curl -sf -H 'Content-Type: image/jpeg' --data-binary @- {url}"
            answer = json.loads(self.system.on("client", command, self._pictures[name]))
            self._labels[name] = answer["predictions"][0]["label"]
        version = json.loads(self.system.on("client", f"curl -sf {URL}/version"))
        return {"status": status, "version": version, "labels": self._labels}

    def send(self, **task: Any) -> Load:
        """Start sending: `phases` or `users` and `seconds`, see sender.py."""
        pictures = {name: base64.b64encode(body).decode() for name, body in self._pictures.items()}
        return Load(
            self,
            {"url": URL, "seed": self.seed, "pictures": pictures, "labels": self._labels, "stop": _STOP} | task,
        )

    def calibrate(self) -> None:
        """Measure the pool's capacity by a closed loop that fills every worker's places."""
        samples = self.send(users=PLACES * len(self.workers), seconds=CALIBRATION_S).wait()
        answered = [each for each in samples if each.answered and SETTLE_S <= each.done_s < CALIBRATION_S]
        self.capacity_hz = len(answered) / (CALIBRATION_S - SETTLE_S)
        self.service_s = len(self.workers) / self.capacity_hz

    def slow_client(self, seconds: float) -> subprocess.Popen[str]:
        """Let one client send a photograph at its leisure; it prints the status of the answer."""
        body = self._pictures[PHOTOGRAPHS[0]]
        self.system.on("client", "cat > /tmp/slow.jpg", body)
        command = (
            f"curl -s -o /dev/null -w '%{{http_code}}' -m 80 --limit-rate {max(1, int(len(body) / seconds))} "
            f"-H 'Content-Type: image/jpeg' --data-binary @/tmp/slow.jpg {URL}/predict"
        )
        return self.system.start("client", command)

    def balance(self, **settings: str) -> None:
        """Deploy the balancer with SETTINGS and these, and the inventory's for all others."""
        self.system.play("playbooks/balancers.yml", variables=SETTINGS | settings)

    def log_size(self) -> int:
        """Bytes of the balancer's access log."""
        return int(self.system.on("balancer", f"sudo stat -c %s {_LOG}"))

    def log_since(self, offset: int) -> str:
        """What the balancer has logged since its log had so many bytes."""
        return self.system.on("balancer", f"sudo tail -c +{offset + 1} {_LOG}")

    def on(self, machine: str, command: str, *, check: bool = True) -> str:
        """Run a shell command as root on a machine."""
        return self.system.on(machine, f"sudo sh -c {shlex.quote(command)}", check=check)

    def namespace(self, machine: str) -> str:
        """Network namespace of a machine."""
        return self.system.names.machine(machine)

    def device(self, machine: str) -> str:
        """A machine's interface to the slice's links."""
        return self.plan.ports(machine)[0].device

    def until(self, what: str, probe: Callable[[], object], patience_s: float = 90) -> None:
        """Wait until a probe returns something true; one that fails counts as false."""
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            try:
                if probe():
                    return
            except (CommandError, subprocess.TimeoutExpired):
                pass
            time.sleep(0.2)
        raise RuntimeError(f"not within {patience_s:.0f} s: {what}")

    def until_ready(self, worker: str) -> None:
        """Wait until the client sees a worker ready by itself."""
        self.until(f"{worker} is ready", lambda: self.system.on("client", f"curl -sf -m 2 http://{worker}:5000/readyz"))
