"""What happens to the one of two balancers that has their address."""

from __future__ import annotations

import time
from collections.abc import Callable

from chaos.bars import moved, nothing_lost, of_enough
from chaos.fault import Act, Fault
from chaos.faults.changes import UPGRADE_S, upgrade_bundle
from chaos.faults.network import link, switch_ports
from chaos.scene import Scene
from chaos.verdict import Marks
from rspec.local_slice.host import run
from rspec.local_slice.up import switch_on

# Does something to a machine; returns when that began and when it was done, in seconds of the epoch. A shutdown has no
# such end: it lasts until the address has left.
Strike = Callable[[Scene, str], tuple[float, float | None]]
_UNITS = ("imagerec-balancer", "imagerec-pool", "imagerec-virtual-address")
_PATIENCE_S = 30.0
_WATCHED_S = 0.02


def holders(scene: Scene) -> list[str]:
    """The balancers that have the address; seen from outside, so also of one that is cut off."""
    address = scene.virtual_address.partition("/")[0]
    show = ["-o", "-4", "address", "show", "to", address]
    return [name for name in scene.balancers if run(["ip", "-n", scene.namespace(name), *show]).strip()]


def _settled(scene: Scene) -> str:
    """Wait until one balancer has the address and the other one could have it; return the first."""
    ask = "curl -sf http://127.0.0.1/healthz"
    scene.until("both balancers serve", lambda: all(scene.on(name, ask) for name in scene.balancers))
    time.sleep(4)  # its keepalived asks twice, once a second, before it believes so
    scene.until("one balancer has the address", lambda: len(holders(scene)) == 1)
    return holders(scene)[0]


def _struck(strike: Strike) -> Act:
    """Let something happen to the balancer that has the address, and time the move."""

    def act(scene: Scene, marks: Marks) -> None:
        scene.moved_s = scene.struck_s = None
        marks.victim = _settled(scene)
        began_at, ended_at = strike(scene, marks.victim)
        marks.injected_s = began = began_at - scene.load.origin
        if ended_at is not None:
            scene.struck_s = (began, ended_at - scene.load.origin)
        while holders(scene) in ([], [marks.victim]):
            if scene.load.now() - began > _PATIENCE_S:
                raise RuntimeError(f"nobody takes the address from {marks.victim}")
            time.sleep(_WATCHED_S)
        scene.moved_s = scene.load.now() - began
        scene.struck_s = scene.struck_s or (began, began + scene.moved_s)

    return act


def _back(mend: Callable[[Scene, str], None]) -> Act:
    """Take the cause away; the return of a balancer must be no second interruption."""

    def act(scene: Scene, marks: Marks) -> None:
        if not marks.victim:
            return  # nothing was struck
        mend(scene, marks.victim)
        holder = _settled(scene)
        if scene.moved_s is not None and holder == marks.victim:
            raise RuntimeError(f"{marks.victim} took the address back when it returned")

    return act


def _kill(scene: Scene, victim: str) -> tuple[float, float]:
    units = " ".join(f"{unit}.service" for unit in _UNITS)
    # The machines share this host's clock, and the way there by ssh takes half a second.
    said = scene.on(victim, f"date +%s.%N; systemctl kill --signal=KILL --kill-who=all {units}; date +%s.%N")
    began, ended = map(float, said.split())
    return began, ended


def _from_outside(act: Callable[[Scene, str], None]) -> Strike:
    """Time what this host itself does to a machine."""

    def strike(scene: Scene, victim: str) -> tuple[float, float]:
        began = time.time()
        act(scene, victim)
        return began, time.time()

    return strike


def _reboot(scene: Scene, victim: str) -> tuple[float, None]:
    # The machine may end before its words are through; the date comes first.
    return float(scene.on(victim, "date +%s.%N; systemctl reboot", check=False)), None


def _unplug(scene: Scene, victim: str) -> None:
    link(scene, victim, "down")


def _power_off(scene: Scene, victim: str) -> tuple[float, float | None]:
    # The wire first: a machine without power says no goodbye, but the kernel would send one for its sockets.
    # With the wire it is gone for everybody, however long its end takes.
    struck = _from_outside(_unplug)(scene, victim)
    scene.limiter.kill(victim)
    return struck


def _power_on(scene: Scene, victim: str) -> None:
    address = scene.virtual_address.partition("/")[0]
    # The network of a machine outlives its power here.
    run(["ip", "-n", scene.namespace(victim), "address", "flush", "to", address])
    link(scene, victim, "up")
    switch_on(scene.system.names, victim)


def _plug(scene: Scene, machine: str, state: str) -> None:
    """Let the switch's port to a machine pass frames (3) or none (0); the machine sees nothing of it."""
    for device in switch_ports(scene, machine):
        words = f"bridge link set dev {device} state {state}"
        run(["ip", "netns", "exec", scene.system.names.mark, *words.split()])


def _cut(scene: Scene, victim: str) -> None:
    _plug(scene, victim, "0")


def _mend(scene: Scene, victim: str) -> None:
    _plug(scene, victim, "3")


def _of_itself(_scene: Scene, _victim: str) -> None:
    """Leave it to systemd to start what was killed, and to a machine to boot."""


def _roll_all(scene: Scene, marks: Marks) -> None:
    """Give both balancers another nginx, as a package's update does it, and all workers another bundle and back."""
    _settled(scene)
    before = _main_pids(scene)
    for name in scene.balancers:
        scene.on(name, "cd /usr/sbin && cp -p nginx nginx.new && mv nginx.new nginx")
    scene.balance()
    kept = [name for name, pid in _main_pids(scene).items() if pid == before[name]]
    if kept:
        raise RuntimeError(f"nginx was not replaced on {', '.join(kept)}")
    upgrade_bundle(scene, marks)


def _main_pids(scene: Scene) -> dict[str, str]:
    show = "systemctl show --property=MainPID --value imagerec-balancer.service"
    return {name: scene.on(name, show).strip() for name in scene.balancers}


FAULTS = (
    *(
        Fault(name, what, _struck(strike), _back(mend), moved, pair=True)
        for name, what, strike, mend in (
            (
                "kill-balancer",
                "kill -9 of nginx, agent and keepalived of the balancer with the address",
                _kill,
                _of_itself,
            ),
            ("balancer-off", "power off the balancer with the address", _power_off, _power_on),
            ("balancer-cut", "cut off the balancer with the address", _from_outside(_cut), _mend),
            ("balancer-reboot", "reboot the balancer with the address", _reboot, _of_itself),
        )
    ),
    Fault(
        "upgrade-all",
        "rolling upgrade of both balancers, and of all workers to another bundle and back",
        _roll_all,
        bar=of_enough(nothing_lost),
        takes_s=2.5 * UPGRADE_S,
        hold_s=0,
        pair=True,
    ),
)
