"""The wires of a slice: network namespaces, LANs, direct wires, their rates, and the way out."""

from __future__ import annotations

import ipaddress
import shlex
from pathlib import Path

from rspec.local_slice.host import SliceError, run, run_json, succeeds
from rspec.local_slice.naming import Names
from rspec.local_slice.plan import CONTROL_DEVICE, Machine, Plan, Port, Shape, Wiring

_NAMESPACES = Path("/run/netns")
CONTROL_BRIDGE = "control"
_UPLINK = "uplink"
_TABLES = {"nat": "POSTROUTING", "filter": "FORWARD"}


def namespaces(names: Names) -> list[str]:
    """Network namespaces of the slice that exist: the switch first, then its machines."""
    if not _NAMESPACES.is_dir():
        return []
    ours = [path.name for path in _NAMESPACES.iterdir()]
    return sorted(name for name in ours if name == names.mark or name.startswith(f"{names.mark}."))


def _add_namespace(name: str) -> bool:
    if (_NAMESPACES / name).exists():
        return False
    run(["ip", "netns", "add", name])
    run(["ip", "-n", name, "link", "set", "lo", "up"])
    return True


def _has(namespace: str, device: str) -> bool:
    return succeeds(["ip", "-n", namespace, "link", "show", "dev", device])


def _drop(namespace: str, device: str) -> None:
    """Remove what may be left of an interface; removing one end of a veth removes both."""
    if _has(namespace, device):
        run(["ip", "-n", namespace, "link", "delete", "dev", device])


def host_networks() -> list[tuple[ipaddress.IPv4Network, str]]:
    """Networks that this host has a route to, each with its interface; the default route is not one."""
    found = []
    for route in run_json(["ip", "-j", "-4", "route", "show", "table", "all"]):
        if route["dst"] == "default" or route.get("type") in {"local", "broadcast"}:
            continue
        found.append((ipaddress.IPv4Network(route["dst"], strict=False), route.get("dev", "?")))
    return found


def shape_commands(namespace: str, device: str, shape: Shape, *, netem: bool) -> list[list[str]]:
    """The `tc` commands that give one end of a wire its rate and, where the kernel has netem, its delay and loss."""
    start = ["tc", "-n", namespace, "qdisc", "replace", "dev", device]
    commands = []
    delayed = netem and (shape.delay_ms or shape.loss)
    if delayed:
        # 10,000 packets: at 1 Gbit/s, 120 ms of full-sized packets in flight.
        words = [*start, "root", "handle", "1:", "netem", "limit", "10000"]
        words += ["delay", f"{shape.delay_ms:g}ms"] if shape.delay_ms else []
        words += ["loss", f"{shape.loss * 100:g}%"] if shape.loss else []
        commands.append(words)
    if shape.rate_kbps is not None:
        # The bucket holds 2 ms at the full rate, and at least ten full-sized packets.
        burst = max(15_140, shape.rate_kbps * 1000 // 8 * 2 // 1000)
        place = ["parent", "1:1", "handle", "10:"] if delayed else ["root"]
        commands.append(
            [*start, *place, "tbf", "rate", f"{shape.rate_kbps}kbit", "burst", f"{burst}b", "latency", "50ms"]
        )
    return commands


def can_shape(kind: str) -> bool:
    """Whether the kernel has a queueing discipline (tbf or netem); tried in a namespace of its own."""
    what = {"tbf": "tbf rate 1mbit burst 32kbit latency 50ms", "netem": "netem delay 1ms"}[kind]
    script = f"ip link add trial0 type veth peer name trial1 && tc qdisc add dev trial0 root {what}"
    return succeeds(["unshare", "--net", "sh", "-c", script])


def _connect(one: tuple[str, str], other: tuple[str, str]) -> None:
    """Lay a wire between two (namespace, device) ends and switch both on."""
    run(["ip", "-n", one[0], "link", "add", one[1], "type", "veth", "peer", "name", other[1], "netns", other[0]])
    for namespace, device in (one, other):
        run(["ip", "-n", namespace, "link", "set", "dev", device, "up"])


def _add_control(names: Names, plan: Plan) -> bool:
    """The control network: a bridge in the switch, joined to the host by the slice's one interface."""
    if _has(names.mark, _UPLINK) and succeeds(["ip", "link", "show", "dev", names.interface]):
        return False
    _drop(names.mark, _UPLINK)
    if succeeds(["ip", "link", "show", "dev", names.interface]):
        raise SliceError(
            f"this host already has an interface {names.interface}; remove it, or choose another slice name"
        )
    if not _has(names.mark, CONTROL_BRIDGE):
        run(["ip", "-n", names.mark, "link", "add", CONTROL_BRIDGE, "type", "bridge"])
    run(["ip", "-n", names.mark, "link", "set", "dev", CONTROL_BRIDGE, "up"])
    run(["ip", "link", "add", names.interface, "type", "veth", "peer", "name", _UPLINK, "netns", names.mark])
    run(["ip", "-n", names.mark, "link", "set", "dev", _UPLINK, "master", CONTROL_BRIDGE, "up"])
    prefix = ipaddress.IPv4Network(plan.control_subnet).prefixlen
    run(["ip", "address", "add", f"{plan.gateway}/{prefix}", "dev", names.interface])
    run(["ip", "link", "set", "dev", names.interface, "up"])
    return True


def _add_control_port(names: Names, plan: Plan, machine: Machine, port: str) -> bool:
    inside = names.machine(machine.name)
    if _has(inside, CONTROL_DEVICE) and _has(names.mark, port):
        return False
    _drop(inside, CONTROL_DEVICE)
    _drop(names.mark, port)
    _connect((names.mark, port), (inside, CONTROL_DEVICE))
    run(["ip", "-n", names.mark, "link", "set", "dev", port, "master", CONTROL_BRIDGE])
    run(["ip", "-n", inside, "link", "set", "dev", CONTROL_DEVICE, "address", machine.control_mac])
    prefix = ipaddress.IPv4Network(plan.control_subnet).prefixlen
    run(["ip", "-n", inside, "address", "add", f"{machine.control_address}/{prefix}", "dev", CONTROL_DEVICE])
    run(["ip", "-n", inside, "route", "replace", "default", "via", plan.gateway])
    return True


def _set_up_port(names: Names, port: Port, *, netem: bool) -> None:
    inside = names.machine(port.machine)
    run(["ip", "-n", inside, "link", "set", "dev", port.device, "address", port.mac])
    run(["ip", "-n", inside, "address", "add", port.address, "dev", port.device])
    for command in shape_commands(inside, port.device, port.sends, netem=netem):
        run(command)


def _add_lan(names: Names, number: int, wiring: Wiring, *, netem: bool) -> bool:
    bridge = f"lan{number}"
    changed = not _has(names.mark, bridge)
    if changed:
        run(["ip", "-n", names.mark, "link", "add", bridge, "alias", wiring.name, "type", "bridge"])
        run(["ip", "-n", names.mark, "link", "set", "dev", bridge, "up"])
    for index, port in enumerate(wiring.ports):
        inside, outer = names.machine(port.machine), f"{bridge}p{index}"
        if _has(inside, port.device) and _has(names.mark, outer):
            continue
        changed = True
        _drop(inside, port.device)
        _drop(names.mark, outer)
        _connect((names.mark, outer), (inside, port.device))
        run(["ip", "-n", names.mark, "link", "set", "dev", outer, "alias", port.interface, "master", bridge])
        for command in shape_commands(names.mark, outer, port.receives, netem=netem):
            run(command)
        _set_up_port(names, port, netem=netem)
    return changed


def _add_wire(names: Names, wiring: Wiring, *, netem: bool) -> bool:
    first, second = (((names.machine(port.machine), port.device), port) for port in wiring.ports)
    if _has(*first[0]) and _has(*second[0]):
        return False
    _drop(*first[0])
    _drop(*second[0])
    _connect(first[0], second[0])
    for _, port in (first, second):
        _set_up_port(names, port, netem=netem)
    return True


def _rules(names: Names, subnet: str) -> list[list[str]]:
    """The firewall rules of a slice: table, chain and match; the machines may go out, only answers come in."""
    mark = ["-m", "comment", "--comment", names.mark]
    answers = ["-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED"]
    return [
        ["nat", "POSTROUTING", "-s", subnet, "!", "-d", subnet, *mark, "-j", "MASQUERADE"],
        ["filter", "FORWARD", "-i", names.interface, *mark, "-j", "ACCEPT"],
        ["filter", "FORWARD", "-o", names.interface, *answers, *mark, "-j", "ACCEPT"],
    ]


def _add_way_out(names: Names, plan: Plan) -> bool:
    changed = False
    for table, chain, *match in _rules(names, plan.control_subnet):
        if not succeeds(["iptables", "-w", "-t", table, "-C", chain, *match]):
            run(["iptables", "-w", "-t", table, "-I", chain, *match])
            changed = True
    return changed


def add_network(names: Names, plan: Plan, *, netem: bool) -> bool:
    """Make every namespace, wire and rule of a slice that is not there yet; return whether any was missing.

    Raises:
        SliceError: a command of the host refused.
    """
    changed = _add_namespace(names.mark)
    changed |= _add_control(names, plan)
    for index, machine in enumerate(plan.machines):
        changed |= _add_namespace(names.machine(machine.name))
        changed |= _add_control_port(names, plan, machine, f"c{index}")
    for number, wiring in enumerate(plan.wirings):
        if wiring.lan:
            changed |= _add_lan(names, number, wiring, netem=netem)
        else:
            changed |= _add_wire(names, wiring, netem=netem)
    return _add_way_out(names, plan) or changed


def remove_network(names: Names) -> bool:
    """Remove every rule, interface and namespace of the slice, by name; return whether any was there."""
    changed = False
    for table, chain in _TABLES.items():
        for line in run(["iptables", "-w", "-t", table, "-S", chain]).splitlines():
            words = shlex.split(line)
            if "--comment" in words and words[words.index("--comment") + 1] == names.mark:
                run(["iptables", "-w", "-t", table, "-D", *words[1:]])
                changed = True
    if succeeds(["ip", "link", "show", "dev", names.interface]):
        run(["ip", "link", "delete", "dev", names.interface])
        changed = True
    for namespace in namespaces(names):
        run(["ip", "netns", "delete", namespace])
        changed = True
    return changed
