"""A request RSpec as data: nodes, their interfaces, and the links that join them."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lxml import etree

RSPEC_NS = "http://www.geni.net/resources/rspec/3"
EMULAB_NS = "http://www.protogeni.net/resources/rspec/ext/emulab/1"


class RSpecError(Exception):
    """The file is not an RSpec of the wanted kind; the message names the file and the reason."""


@dataclass(frozen=True, slots=True)
class Interface:
    """One experiment interface of a node, with its address as written (None where the RSpec gives none)."""

    client_id: str
    node: str
    address: str | None
    netmask: str | None

    @property
    def ip(self) -> ipaddress.IPv4Interface:
        """The address with its prefix.

        Raises:
            ValueError: the address or the netmask is not a valid IPv4 one, or is missing.
        """
        if self.address is None or self.netmask is None:
            raise ValueError(f"interface {self.client_id} has no address")
        return ipaddress.IPv4Interface(f"{self.address}/{self.netmask}")


@dataclass(frozen=True, slots=True)
class Node:
    """One machine: its sliver type, the size asked for it (None: not said) and its interfaces."""

    client_id: str
    sliver_type: str
    cores: float | None
    ram_mb: int | None
    disk_image: str | None
    interfaces: tuple[Interface, ...]

    @property
    def exclusive(self) -> bool:
        """Whether a whole physical machine is asked for."""
        return self.sliver_type in {"raw", "raw-pc"}


@dataclass(frozen=True, slots=True)
class Property:
    """How one direction of a link behaves: from one interface to another, or to and from the LAN itself."""

    source: str
    dest: str
    capacity_kbps: str | None
    latency_ms: str | None
    packet_loss: str | None


@dataclass(frozen=True, slots=True)
class Link:
    """One link or LAN: the ids of the interfaces it joins and its properties."""

    client_id: str
    interfaces: tuple[str, ...]
    link_type: str | None
    properties: tuple[Property, ...]

    @property
    def is_lan(self) -> bool:
        """Whether the interfaces meet on a switch rather than on one wire."""
        return self.link_type == "lan" or len(self.interfaces) != 2


@dataclass(frozen=True, slots=True)
class Request:
    """A request RSpec."""

    nodes: tuple[Node, ...]
    links: tuple[Link, ...]

    @property
    def interfaces(self) -> tuple[Interface, ...]:
        """Every interface of every node, in the order of the file."""
        return tuple(interface for node in self.nodes for interface in node.interfaces)


def _name(tag: str) -> str:
    return f"{{{RSPEC_NS}}}{tag}"


def _attribute(element: Any, tag: str, attribute: str) -> str | None:
    child = element.find(_name(tag))
    return None if child is None else child.get(attribute)


def _read_node(element: Any) -> Node:
    client_id = element.get("client_id") or ""
    xen = element.find(f"{_name('sliver_type')}/{{{EMULAB_NS}}}xen")
    size = {} if xen is None else dict(xen.attrib)
    sliver = element.find(_name("sliver_type"))
    interfaces = []
    for interface in element.findall(_name("interface")):
        ip = interface.find(_name("ip"))
        interfaces.append(
            Interface(
                client_id=interface.get("client_id") or "",
                node=client_id,
                address=None if ip is None else ip.get("address"),
                netmask=None if ip is None else ip.get("netmask"),
            )
        )
    try:
        cores = float(size["cores"]) if "cores" in size else None
        ram = int(size["ram"]) if "ram" in size else None
    except ValueError:
        raise RSpecError(
            f"node {client_id!r}: cores and ram must be numbers, "
            f"not cores={size.get('cores')!r} ram={size.get('ram')!r}"
        ) from None
    return Node(
        client_id=client_id,
        sliver_type="" if sliver is None else sliver.get("name", ""),
        cores=cores,
        ram_mb=ram,
        disk_image=None if sliver is None else _attribute(sliver, "disk_image", "name"),
        interfaces=tuple(interfaces),
    )


def _read_link(element: Any) -> Link:
    return Link(
        client_id=element.get("client_id") or "",
        interfaces=tuple(ref.get("client_id") or "" for ref in element.findall(_name("interface_ref"))),
        link_type=_attribute(element, "link_type", "name"),
        properties=tuple(
            Property(
                source=item.get("source_id") or "",
                dest=item.get("dest_id") or "",
                capacity_kbps=item.get("capacity"),
                latency_ms=item.get("latency"),
                packet_loss=item.get("packet_loss"),
            )
            for item in element.findall(_name("property"))
        ),
    )


def parse_request(text: bytes, source: str) -> Request:
    """Read a request RSpec in any encoding that it declares; messages call it `source`.

    Raises:
        RSpecError: it is not XML, not an RSpec, or not a request.
    """
    parser = etree.XMLParser(resolve_entities=False, no_network=True, remove_comments=True)
    try:
        root = etree.fromstring(text, parser)
    except etree.XMLSyntaxError as error:
        raise RSpecError(f"{source} is not XML: {error}") from error
    if root.tag != _name("rspec"):
        raise RSpecError(f"{source} is not a GENI v3 RSpec: its root element is {root.tag}")
    if root.get("type") != "request":
        raise RSpecError(
            f"{source} is an RSpec of type {root.get('type')!r}, not a request; write one with `make rspec`"
        )
    try:
        nodes = tuple(_read_node(item) for item in root.findall(_name("node")))
    except RSpecError as error:
        raise RSpecError(f"{source}: {error}") from error
    return Request(nodes=nodes, links=tuple(_read_link(item) for item in root.findall(_name("link"))))


def load_request(path: Path) -> Request:
    """Read a request RSpec from a file.

    Raises:
        RSpecError: the file cannot be read, or is not a request RSpec.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise RSpecError(
            f"cannot read the request RSpec {path}: {error.strerror}; write one with `make rspec`"
        ) from error
    return parse_request(text, str(path))
