"""From a request RSpec to the plan of a local slice, and how two plans differ."""

from __future__ import annotations

import dataclasses
import ipaddress
import re

from rspec.local_slice.cores import LEAST_CORES, too_few
from rspec.local_slice.host import SliceError
from rspec.local_slice.naming import Names
from rspec.local_slice.plan import Machine, Plan, Port, Shape, Wiring
from rspec.model import Interface, Link, Node, Request

_FIRST_HOST = 10  # machines start at .10 of the control subnet; the host itself is .1
_MOST_MACHINES = 200


def _shape(link: Link, source: str, *, halve_delay: bool) -> Shape:
    """What the RSpec says of packets that leave `source` over this link."""
    for item in link.properties:
        if item.source == source:
            delay_ms = float(item.latency_ms or 0)
            return Shape(
                rate_kbps=round(float(item.capacity_kbps)) if item.capacity_kbps else None,
                delay_ms=delay_ms / 2 if halve_delay else delay_ms,
                loss=float(item.packet_loss or 0),
            )
    return Shape()


def _wire(names: Names, link: Link, interfaces: dict[str, Interface], devices: dict[str, str]) -> Wiring:
    ports = []
    for name in link.interfaces:
        # On a LAN a packet passes two ends, its sender's and its receiver's: each adds half of the delay, so
        # that the latency between two machines is the one asked for. Loss is applied once, by the sender.
        sends = _shape(link, name, halve_delay=link.is_lan)
        receives = dataclasses.replace(sends, loss=0.0) if link.is_lan else Shape()
        ports.append(
            Port(
                interface=name,
                machine=interfaces[name].node,
                device=devices[name],
                mac=names.mac_address(name),
                address=str(interfaces[name].ip),
                sends=sends,
                receives=receives,
            )
        )
    return Wiring(name=link.client_id, lan=link.is_lan, ports=tuple(ports))


def scaled_cores(node: Node, cpu_scale: float, cpu_scaled: str) -> float | None:
    """Host cores that a node may use; None where the request sets no limit."""
    if node.cores is None:
        return None
    return node.cores * (cpu_scale if re.fullmatch(cpu_scaled, node.client_id) else 1.0)


def make_plan(
    names: Names,
    request: Request,
    control_subnet: ipaddress.IPv4Network,
    base: str,
    *,
    cpu_scale: float = 1.0,
    cpu_scaled: str = ".*",
) -> Plan:
    """Plan the slice that a sound request asks for.

    Args:
        names: the slice's names.
        request: a request that passed `rspec.checks`.
        control_subnet: the /24 for SSH and the way out.
        base: name of the base image's folder.
        cpu_scale: share of a host core that stands for one core of a scaled machine.
        cpu_scaled: regular expression of the names of the machines that are scaled.

    Raises:
        SliceError: more machines than one control subnet holds, or less of a core than the kernel can deal out.
    """
    if len(request.nodes) > _MOST_MACHINES:
        raise SliceError(f"the request has {len(request.nodes)} nodes; a local slice has at most {_MOST_MACHINES}")
    hosts = control_subnet.network_address
    machines = tuple(
        Machine(
            name=node.client_id,
            control_address=str(hosts + _FIRST_HOST + index),
            control_mac=names.mac_address(f"{node.client_id}:control"),
            cores=scaled_cores(node, cpu_scale, cpu_scaled),
            memory_mb=node.ram_mb,
            exclusive=node.exclusive,
        )
        for index, node in enumerate(request.nodes)
    )
    small = [f"{each.name} {each.cores:g}" for each in machines if each.cores is not None and too_few(each.cores)]
    if small:
        raise SliceError(
            f"{LEAST_CORES:g} cores are the least that a machine can have, and some would have less: "
            f"{', '.join(small)}; raise CPU_SCALE (local_slice_cpu_scale), or ask for more cores in the request"
        )
    devices = {
        interface.client_id: f"eth{number}"
        for node in request.nodes
        for number, interface in enumerate(node.interfaces, start=1)
    }
    interfaces = {interface.client_id: interface for interface in request.interfaces}
    return Plan(
        slice_name=names.slice_name,
        control_subnet=str(control_subnet),
        gateway=str(hosts + 1),
        machines=machines,
        wirings=tuple(_wire(names, link, interfaces, devices) for link in request.links),
        base=base,
    )


def differences(old: Plan, new: Plan) -> list[str]:
    """Say in words how two plans of one slice differ; empty where they do not."""
    before = {machine.name: machine for machine in old.machines}
    after = {machine.name: machine for machine in new.machines}
    found = [] if old.release == new.release else [f"the machines run {old.release}, not {new.release}"]
    found += [f"{name} is new" for name in after if name not in before]
    found += [f"{name} is gone" for name in before if name not in after]
    found += [
        f"{name} has another size"
        for name in after
        if name in before and (after[name].cores, after[name].memory_mb) != (before[name].cores, before[name].memory_mb)
    ]
    if not found and old.wirings != new.wirings:
        found.append("the links, their addresses or their rates differ")
    if old.control_subnet != new.control_subnet:
        found.append(f"the control network is {new.control_subnet}, not {old.control_subnet}")
    return found
