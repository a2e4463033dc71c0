"""What happens to the one of two balancers that has their address."""

from __future__ import annotations

import time

from chaos.bars import moved, stood_in
from chaos.fault import Act, Fault
from chaos.scene import Scene
from chaos.verdict import Marks
from rspec.local_slice.host import run
from rspec.local_slice.up import switch_on

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


def _struck(strike: Act, *, moves: bool) -> Act:
    """Let something happen to the balancer that has the address, and time the move."""

    def act(scene: Scene, marks: Marks) -> None:
        marks.victim = _settled(scene)
        scene.moved_s = None
        scene.struck_s = marks.injected_s = scene.load.now()
        strike(scene, marks)
        while moves and holders(scene) in ([], [marks.victim]):
            if scene.load.now() - scene.struck_s > _PATIENCE_S:
                raise RuntimeError(f"nobody takes the address from {marks.victim}")
            time.sleep(_WATCHED_S)
        scene.moved_s = scene.load.now() - scene.struck_s if moves else None

    return act


def _kill(scene: Scene, marks: Marks) -> None:
    units = " ".join(f"{unit}.service" for unit in _UNITS)
    scene.on(marks.victim, f"systemctl kill --signal=KILL --kill-who=all {units}")


def _link(scene: Scene, machine: str, state: str) -> None:
    run(["ip", "-n", scene.namespace(machine), "link", "set", "dev", scene.device(machine), state])


def _power_off(scene: Scene, marks: Marks) -> None:
    # The wire first: a machine without power says no goodbye, but the kernel would send one for its sockets.
    _link(scene, marks.victim, "down")
    scene.limiter.kill(marks.victim)


def _power_on(scene: Scene, marks: Marks) -> None:
    address = scene.virtual_address.partition("/")[0]
    # The network of a machine outlives its power here.
    run(["ip", "-n", scene.namespace(marks.victim), "address", "flush", "to", address])
    _link(scene, marks.victim, "up")
    switch_on(scene.system.names, marks.victim)
    _stays(scene, marks)


def _plug(scene: Scene, machine: str, state: str) -> None:
    """Let the switch's port to a machine pass frames (3) or none (0); the machine sees nothing of it."""
    for number, wiring in enumerate(scene.plan.wirings):
        for index, port in enumerate(wiring.ports):
            if port.machine == machine and wiring.lan:
                device = f"lan{number}p{index}"
                run(
                    [
                        "ip",
                        "netns",
                        "exec",
                        scene.system.names.mark,
                        "bridge",
                        "link",
                        "set",
                        "dev",
                        device,
                        "state",
                        state,
                    ]
                )


def _cut(scene: Scene, marks: Marks) -> None:
    _plug(scene, marks.victim, "0")


def _mend(scene: Scene, marks: Marks) -> None:
    _plug(scene, marks.victim, "3")
    _stays(scene, marks)


def _stays(scene: Scene, marks: Marks) -> None:
    """The return of a balancer must be no second interruption."""
    if _settled(scene) == marks.victim:
        raise RuntimeError(f"{marks.victim} took the address back when it returned")


def _back(scene: Scene, _marks: Marks) -> None:
    _settled(scene)


FAULTS = (
    Fault(
        "kill-balancer",
        "kill -9 of nginx, agent and keepalived of the balancer with the address",
        _struck(_kill, moves=False),
        _back,
        stood_in,
        pair=True,
    ),
    Fault(
        "balancer-off",
        "power off the balancer with the address",
        _struck(_power_off, moves=True),
        _power_on,
        moved,
        pair=True,
    ),
    Fault("balancer-cut", "cut off the balancer with the address", _struck(_cut, moves=True), _mend, moved, pair=True),
)
