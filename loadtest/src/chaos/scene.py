"""The stage of a fault: the slice, its pictures with their right labels, the load, and the balancer's log."""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image
from skimage import data

from chaos.verdict import SETTLE_S
from deployed.checkout import CommandError
from deployed.load import Load
from deployed.slice import URL, Slice
from loadtest.errors import LoadtestError
from loadtest.experiments.awake import at_its_least
from loadtest.experiments.calibration import estimate
from loadtest.generate.images import jpeg
from loadtest.generate.samples import Sample
from rspec.local_slice.limiter import Limiter
from rspec.local_slice.limits import limiter_of
from rspec.local_slice.plan import Plan, need_plan

PHOTOGRAPHS = ("chelsea", "coffee", "rocket", "astronaut")
SIDE_PX = 128
ALONE = 20  # requests of one user
CALIBRATION_S = 12.0
SHRINKS_S = 180.0  # about, until an autoscaler has woken all for the calibration and lets all but its minimum sleep
_WAKES_S, _PATIENCE_S = 120, 600.0
# The whole load comes from one address, so what one address may do is not limited.
SETTINGS = {"balancer_address_rate_hz": "0", "balancer_address_connections": "0"}
_USERS = 3  # for each worker, so that one that answers has the next request at hand
_LOG = "/var/log/imagerec-balancer/access.log"
_FOLDER = "/tmp"  # noqa: S108  on the client, whose only user is ours


@dataclass(slots=True)
class Scene:
    """What faults act on.

    Attributes:
        system: the slice, deployed.
        seed: of the arrivals and of the order of the pictures.
        virtual_address: what two balancers share, such as 10.10.1.100/24; empty where there is one.
        autoscaler: whether the pool follows its load.
        capacity_hz: answers a second of workers that always have work; measured by `calibrate`.
        service_s: a worker's own time for a request, workers / capacity.
        golden: class id of the right answer to each picture.
        load: the Load under way.
        moved_s: seconds from a fault until the other balancer had the address; None where nobody saw it.
        struck_s: from when to when that fault struck, on the clock of the samples; None before.
        served: workers that served without a dead one in the end, and that were wanted; None before.
        settings: what the balancers were deployed with; the inventory's are not among them.
    """

    system: Slice
    seed: int = 1
    virtual_address: str = ""
    autoscaler: bool = False
    capacity_hz: float = 0.0
    service_s: float = 0.0
    workers: list[str] = field(default_factory=list)
    golden: dict[str, str] = field(default_factory=dict)
    load: Load = field(init=False)
    moved_s: float | None = None
    struck_s: tuple[float, float] | None = None
    served: tuple[int, int] | None = None
    settings: dict[str, str] = field(default_factory=SETTINGS.copy)
    _alone: list[Sample] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where the load goes."""
        return f"http://{self.virtual_address.partition('/')[0]}" if self.virtual_address else URL

    @property
    def balancers(self) -> list[str]:
        """The balancers' machines."""
        return [machine.name for machine in self.plan.machines if machine.name.startswith("balancer")]

    @property
    def plan(self) -> Plan:
        """The slice's machines and links."""
        return need_plan(self.system.names)

    @property
    def limiter(self) -> Limiter:
        """The slice's control groups."""
        return limiter_of(self.system.name)

    def need(self) -> None:
        """Refuse, before anything changes, a slice that is not up, and a pool that does not follow its load.

        Raises:
            LoadtestError: The pool does not follow its load.
            CommandError: The slice does not answer.
        """
        self.system.on("client", "true")
        if self.autoscaler and not self.scaled()["on"]:
            raise LoadtestError("its pool does not follow its load")

    def prepare(self) -> dict[str, Any]:
        """Learn the pool and the right answers; return what is deployed (the answers of /version and /status)."""
        labels = {}
        status = json.loads(self.system.on("client", f"curl -sf {self.url}/status"))
        self.workers = list(status["workers"])
        for name in PHOTOGRAPHS:
            pixels = getattr(data, name)()
            side = min(pixels.shape[:2])
            square = Image.fromarray(pixels[:side, :side]).resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)
            self.system.on("client", f"cat > {_FOLDER}/{name}.jpg", jpeg(square))
            # One worker by itself, at rest, says what is right: all serve the same model.
            url = f"http://{self.workers[0]}:5000/predict?top=1"
            command = f"curl -sf -H 'Content-Type: image/jpeg' --data-binary @{_FOLDER}/{name}.jpg {url}"
            best = json.loads(self.system.on("client", command))["predictions"][0]
            self.golden[name], labels[name] = str(best["wnid"]), best["label"]
        self._alone = self.send("--users", "1", "--requests", str(ALONE)).wait()
        version = json.loads(self.system.on("client", f"curl -sf {self.url}/version"))
        return {"status": status, "version": version, "labels": labels, "golden": self.golden}

    def send(self, *options: str) -> Load:
        """Start sending the pictures; the options say when, see `python -m loadtest.generate.send`."""
        # A connection for each request: one that the balancer closed meanwhile must not look like a lost request.
        plain = ["--target", self.url, "--path", "/predict?top=1", "--seed", str(self.seed), "--timeout", "90"]
        images = [f"{_FOLDER}/{name}.jpg" for name in PHOTOGRAPHS]
        return Load(self.system, images, *plain, "--new-connections", *options)

    def send_phases(self, phases: Sequence[tuple[float, float]], *, at_least: int = 0) -> Load:
        """Start sending a Poisson process of phases [seconds, requests a second], and at least so many requests."""
        words = [word for phase in phases for word in ("--phase", *map(str, phase))]
        return self.send(*words, "--at-least", str(at_least))

    def calibrate(self) -> None:
        """Measure the pool's capacity by a closed loop that gives every worker work; an autoscaler's sleep then."""
        users = str(_USERS * len(self.workers))
        if self.autoscaler:
            self._wake_all(users)
        saturated = self.send("--users", users, "--seconds", str(CALIBRATION_S)).wait()
        self.capacity_hz = estimate(self._alone, [each for each in saturated if each.done_s >= SETTLE_S]).capacity_hz
        self.service_s = len(self.workers) / self.capacity_hz
        if self.autoscaler:
            self.until("the pool is at its minimum", lambda: at_its_least(self.scaled()), _PATIENCE_S)

    def scaled(self) -> dict[str, Any]:
        """What the autoscaler says of itself."""
        return dict(json.loads(self.on(self.balancers[0], "curl -sf http://127.0.0.1/autoscaler")))

    def _wake_all(self, users: str) -> None:
        load = self.send("--users", users, "--seconds", str(_WAKES_S))
        try:
            self.until("all workers serve", lambda: self.scaled()["active"] >= len(self.workers), _WAKES_S)
        finally:
            load.stop()

    def slow_client(self, seconds: float) -> subprocess.Popen[bytes]:
        """Let one client send a photograph at its leisure; it prints the status of the answer."""
        picture = f"{_FOLDER}/{PHOTOGRAPHS[0]}.jpg"
        command = (
            f"curl -s -o /dev/null -w '%{{http_code}}' -m 80 --limit-rate $(($(stat -c %s {picture}) / {seconds:.0f})) "
            f"-H 'Content-Type: image/jpeg' --data-binary @{picture} {self.url}/predict"
        )
        return self.system.start("client", command)

    def balance(self, **settings: str) -> None:
        """Deploy the balancers with the fault's settings and these, and the inventory's for all others."""
        self.deploy_balancers(self.settings | settings)

    def suit(self, settings: Mapping[str, str]) -> None:
        """Deploy the balancers with SETTINGS and a fault's own, where they have others."""
        wanted = SETTINGS | dict(settings)
        if self.settings != wanted:
            self.deploy_balancers(wanted)
            self.settings = wanted

    def deploy_balancers(self, settings: dict[str, str]) -> None:
        """Deploy the balancers with these settings, and the address that they share."""
        shared = {"virtual_address": self.virtual_address} if self.virtual_address else {}
        shared |= {"autoscaler": "true"} if self.autoscaler else {}
        self.system.play("playbooks/balancers.yml", variables=shared | settings)

    def log_places(self) -> dict[str, tuple[str, int]]:
        """Inode and bytes of each balancer's access log."""
        told = {name: self.on(name, f"stat -c '%i %s' {_LOG}").split() for name in self.balancers}
        return {name: (inode, int(size)) for name, (inode, size) in told.items()}

    def log_since(self, places: Mapping[str, tuple[str, int]]) -> str:
        """What the balancers have logged since; a log that was rotated meanwhile goes on in a new file."""
        return "".join(
            self.on(
                name,
                f'from={size + 1}; if [ "$(stat -c %i {_LOG})" != {inode} ]; then tail -c +$from {_LOG}.1; from=1; fi; '
                f"tail -c +$from {_LOG}",
            )
            for name, (inode, size) in places.items()
        )

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
