"""What happens to a worker's link: it is cut, drops packets or is slow."""

from __future__ import annotations

from chaos.fault import VICTIM, Fault, loss
from chaos.scene import Scene
from chaos.verdict import Marks
from rspec.local_slice.host import run
from rspec.local_slice.network import shape_commands


def link(scene: Scene, machine: str, state: str) -> None:
    """Set a machine's interface to the slice's links down or up."""
    run(["ip", "-n", scene.namespace(machine), "link", "set", "dev", scene.device(machine), state])


def switch_ports(scene: Scene, machine: str) -> list[str]:
    """The switch's ports to a machine."""
    return [
        f"lan{number}p{index}"
        for number, wiring in enumerate(scene.plan.wirings)
        for index, port in enumerate(wiring.ports)
        if port.machine == machine and wiring.lan
    ]


def _link_down(scene: Scene, _marks: Marks) -> None:
    link(scene, VICTIM, "down")


def _link_up(scene: Scene, _marks: Marks) -> None:
    link(scene, VICTIM, "up")
    scene.until_ready(VICTIM)


def _firewall(scene: Scene, action: str) -> None:
    rule = ["INPUT", "--in-interface", scene.device(VICTIM), "--jump", "DROP"]
    words = ["ip", "netns", "exec", scene.namespace(VICTIM), "iptables", "--wait", action, *rule]
    run(words)


def _drop_packets(scene: Scene, _marks: Marks) -> None:
    _firewall(scene, "--insert")


def _pass_packets(scene: Scene, _marks: Marks) -> None:
    _firewall(scene, "--delete")
    scene.until_ready(VICTIM)


def _ends(scene: Scene) -> list[tuple[str, str, str]]:
    """Both ends of the victim's wire: namespace, device, and whose packets it sends."""
    (port,) = scene.plan.ports(VICTIM)
    outer = [(scene.system.names.mark, device, "receives") for device in switch_ports(scene, VICTIM)]
    return [(scene.namespace(VICTIM), port.device, "sends"), *outer]


def _slow_link(scene: Scene, _marks: Marks) -> None:
    for namespace, device, _ in _ends(scene):
        words = ["tc", "-n", namespace, "qdisc", "replace", "dev", device, "root", "tbf"]
        run([*words, "rate", "1mbit", "burst", "15140", "latency", "400ms"])


def _full_link(scene: Scene, _marks: Marks) -> None:
    (port,) = scene.plan.ports(VICTIM)
    for namespace, device, whose in _ends(scene):
        run(["tc", "-n", namespace, "qdisc", "del", "dev", device, "root"])
        for command in shape_commands(namespace, device, getattr(port, whose), netem=False):
            run(command)


FAULTS = (
    loss("link-down", "a worker's link down", _link_down, _link_up),
    loss("drop", "a worker's packets dropped", _drop_packets, _pass_packets),
    Fault("slow-link", "a worker's link at 1 Mbit/s", _slow_link, _full_link, hold_s=20, victim=VICTIM),
)
