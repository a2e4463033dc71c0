"""Read a manifest RSpec: what a testbed, or the local slice, granted."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

try:
    from lxml import etree
except ImportError:  # said when a manifest is read, with the remedy
    etree = None

_RSPEC = "{http://www.geni.net/resources/rspec/3}"
_EMULAB = "{http://www.protogeni.net/resources/rspec/ext/emulab/1}"
_LOCAL = "{urn:imagerec:rspec:ext:local-slice:1}"
_SSH_PORT = 22


class ManifestError(Exception):
    """The manifest cannot be used; the message lists every reason with its remedy."""


@dataclass(frozen=True, slots=True)
class Login:
    """How one user reaches a node."""

    user: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Node:
    """One node of a manifest; addresses are by the name of the link they are on, and by their IP version."""

    name: str
    logins: tuple[Login, ...]
    addresses: dict[str, dict[int, str]]
    cores: float | None = None
    identity_file: str | None = None
    known_hosts: str | None = None
    problems: tuple[str, ...] = ()


def _children(element: Any, tag: str) -> Iterator[Any]:
    yield from element.iterfind(f"{_RSPEC}{tag}")


def _read_logins(name: str, element: Any) -> tuple[list[Login], list[str]]:
    """The logins of a node, and what is wrong with those that cannot be used."""
    logins, problems = [], []
    for login in element.iterfind(f"{_RSPEC}services/{_RSPEC}login"):
        user, host, port = login.get("username"), login.get("hostname"), login.get("port") or str(_SSH_PORT)
        if not user or not host:
            problems.append(f"a login of node {name} lacks its {'hostname' if user else 'username'}")
        elif not port.isdecimal() or not 0 < int(port) < 65536:
            problems.append(f"the login of {user} on node {name} has the port {port!r}, which is none")
        else:
            logins.append(Login(user, host, int(port)))
    return logins, problems


def _read_addresses(name: str, interface: Any) -> tuple[dict[int, str], list[str]]:
    """The first address of each IP version that an interface has, and what is wrong with others."""
    found: dict[int, str] = {}
    problems = []
    for ip in _children(interface, "ip"):
        text, kind = ip.get("address"), (ip.get("type") or "").lower()
        if not text:
            continue
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            problems.append(f"node {name} has the address {text!r}, which is none")
            continue
        if kind not in ("", f"ipv{address.version}"):
            problems.append(f"node {name} has the address {text}, which is not of its type {kind}")
        elif not address.is_link_local:
            found.setdefault(address.version, address.compressed)
    return found, problems


def _read_cores(name: str, text: str | None) -> float | None:
    """The cores of a node, None where the manifest does not say."""
    if not text:
        return None
    try:
        cores = float(text)
    except ValueError:
        cores = math.nan
    if not 0 < cores < math.inf:
        raise ManifestError(f"node {name} has {text!r} cores, which is no number above zero: mend the manifest")
    return cores


def _read_node(element: Any, links: dict[str, str]) -> Node:
    name = element.get("client_id") or ""
    logins, problems = _read_logins(name, element)
    addresses: dict[str, dict[int, str]] = {}
    for interface in _children(element, "interface"):
        found, faults = _read_addresses(name, interface)
        problems += faults
        ids = (interface.get("sliver_id"), interface.get("client_id"))
        link = next((links[item] for item in ids if item in links), None)
        if found and link is not None:
            addresses[link] = found
    xen = element.find(f"{_RSPEC}sliver_type/{_EMULAB}xen")
    ssh = element.find(f"{_RSPEC}services/{_LOCAL}ssh")
    return Node(
        name=name,
        logins=tuple(logins),
        addresses=addresses,
        cores=None if xen is None else _read_cores(name, xen.get("cores")),
        identity_file=None if ssh is None else ssh.get("identity_file"),
        known_hosts=None if ssh is None else ssh.get("known_hosts"),
        problems=tuple(problems),
    )


def read_manifest(text: bytes, source: str) -> list[Node]:
    """Read the nodes of a manifest RSpec in any encoding that it declares; messages call it `source`.

    Returns:
        The nodes in the manifest's order, each with the addresses of the links it is on.

    Raises:
        ManifestError: it is not XML, or not a manifest RSpec, or has no node, or one with cores that are no number.
    """
    if etree is None:
        raise ManifestError("manifests are read with lxml, which Ansible's Python lacks: run `make setup`")
    try:
        root = etree.fromstring(text, etree.XMLParser(resolve_entities=False, no_network=True))
    except etree.XMLSyntaxError as error:
        raise ManifestError(f"{source} is not XML: {error}; save the manifest again, as it stands") from error
    if root.tag != f"{_RSPEC}rspec" or root.get("type") != "manifest":
        kind = f"an RSpec of type {root.get('type')!r}" if root.tag == f"{_RSPEC}rspec" else f"<{root.tag}>"
        raise ManifestError(f"{source} is {kind}, not a manifest RSpec: take the one the testbed answered with")
    links = {}
    for link in _children(root, "link"):
        for reference in _children(link, "interface_ref"):
            for key in ("sliver_id", "client_id"):
                links[reference.get(key)] = link.get("client_id")
    links.pop(None, None)
    nodes = [_read_node(element, links) for element in _children(root, "node")]
    if not nodes:
        raise ManifestError(f"{source} has no node: is the slice granted already?")
    return nodes
