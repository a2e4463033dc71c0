"""Structural checks of a request RSpec: what the schema and geni-lib let pass and a testbed would not grant."""

from __future__ import annotations

import ipaddress
import itertools
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from rspec.model import Interface, Link, Request, RSpecError, load_request

# A client_id becomes a host name (RFC 1123, one label).
_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


def _repeated(names: Iterable[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if name and count > 1]


def _check_names(request: Request) -> Iterator[str]:
    if not request.nodes:
        yield "the request has no node"
    for kind, names in (
        ("node", [node.client_id for node in request.nodes]),
        ("interface", [interface.client_id for interface in request.interfaces]),
        ("link", [link.client_id for link in request.links]),
    ):
        yield from (f"{kind} name {name!r} is used more than once" for name in _repeated(names))
        if any(not name for name in names):
            yield f"a {kind} has no client_id"
    for node in request.nodes:
        if node.client_id and not _HOST_NAME.fullmatch(node.client_id):
            yield f"node name {node.client_id!r} is not a host name: use letters, digits and hyphens"
        if node.cores is not None and not 0 < node.cores < math.inf:
            yield f"node {node.client_id} asks for {node.cores:g} cores"
        if node.ram_mb is not None and node.ram_mb <= 0:
            yield f"node {node.client_id} asks for {node.ram_mb} MB of memory"


def _check_references(request: Request) -> Iterator[str]:
    known = {interface.client_id for interface in request.interfaces}
    used = Counter(name for link in request.links for name in link.interfaces)
    for link in request.links:
        for name in link.interfaces:
            if name not in known:
                yield f"link {link.client_id} refers to interface {name!r}, which no node has"
        if len(set(link.interfaces)) < 2:
            yield f"link {link.client_id} joins fewer than two interfaces"
    for name in sorted(known):
        if used[name] != 1:
            yield f"interface {name} is on {used[name]} links; it must be on exactly one"


def _check_number(link: Link, text: str | None, what: str, lowest: float, below: float) -> Iterator[str]:
    if text is None:
        return
    try:
        value = float(text)
    except ValueError:
        yield f"link {link.client_id}: {what} {text!r} is not a number"
        return
    if not lowest <= value < below:
        yield f"link {link.client_id}: {what} {text} is out of range"


def _check_properties(request: Request) -> Iterator[str]:
    for link in request.links:
        ends = {*link.interfaces, link.client_id}
        for item in link.properties:
            for end in (item.source, item.dest):
                if end not in ends:
                    yield f"link {link.client_id} has a property of {end!r}, which is not on it"
            yield from _check_number(link, item.capacity_kbps, "capacity (kbps)", 1, float("inf"))
            yield from _check_number(link, item.latency_ms, "latency (ms)", 0, float("inf"))
            yield from _check_number(link, item.packet_loss, "packet loss", 0, 1)


def _check_address(interface: Interface) -> tuple[ipaddress.IPv4Interface | None, str | None]:
    if interface.address is None:
        return None, f"interface {interface.client_id} has no address"
    try:
        ip = interface.ip
    except ValueError:
        return None, (
            f"interface {interface.client_id}: {interface.address} with netmask {interface.netmask} "
            "is not a valid IPv4 address"
        )
    if ip.network.prefixlen <= 30 and ip.ip in {ip.network.network_address, ip.network.broadcast_address}:
        return None, (
            f"interface {interface.client_id}: {ip} is the network's own or its broadcast address, not a host's"
        )
    return ip, None


def _check_addresses(request: Request) -> Iterator[str]:
    addresses: dict[str, ipaddress.IPv4Interface] = {}
    for interface in request.interfaces:
        ip, problem = _check_address(interface)
        if problem:
            yield problem
        if ip is not None:
            addresses[interface.client_id] = ip
    owners: dict[ipaddress.IPv4Address, str] = {}
    for name, ip in addresses.items():
        if ip.ip in owners:
            yield f"address {ip.ip} is given to both {owners[ip.ip]} and {name}"
        owners.setdefault(ip.ip, name)
    subnets: dict[str, ipaddress.IPv4Network] = {}
    for link in request.links:
        networks = {addresses[name].network for name in link.interfaces if name in addresses}
        if len(networks) > 1:
            listed = ", ".join(sorted(map(str, networks)))
            yield f"link {link.client_id} joins several subnets: {listed}"
        elif networks:
            subnets[link.client_id] = networks.pop()
    for (one, first), (other, second) in itertools.combinations(subnets.items(), 2):
        if first.overlaps(second):
            yield f"links {one} and {other} have overlapping subnets: {first} and {second}"


def check_request(request: Request) -> list[str]:
    """Find everything that is wrong with a request.

    Returns:
        One sentence a problem, in the order: names, references, link properties, addresses; empty for a
        sound request.
    """
    checks = (_check_names, _check_references, _check_properties, _check_addresses)
    return [problem for check in checks for problem in check(request)]


def load_checked(path: Path) -> Request:
    """Read a request RSpec and refuse it unless it is sound.

    Raises:
        RSpecError: it cannot be read or fails a check; the message lists every problem.
    """
    request = load_request(path)
    problems = check_request(request)
    if problems:
        listed = "".join(f"\n  - {problem}" for problem in problems)
        raise RSpecError(f"{path} is not a sound request RSpec:{listed}")
    return request
