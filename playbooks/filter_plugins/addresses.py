"""Ansible filters: addresses as they are written into URLs and configurations, and what is wrong with them."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable
from typing import Any

_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
# The last part of a name is never a number: 10.10.1.300 is no name.
_NAME = re.compile(rf"({_LABEL}\.)*(?![0-9]+$){_LABEL}")
# What people write besides, and its name.
_SURPLUS = {
    r"\[?(.*?)\]?/\d+": "a prefix",
    r"\[(.*)\]:\d+": "a port",
    r"([^:]*):\d+": "a port",
    r"\[(.*)\]": "brackets",
}
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  nobody listens here


def address_kind(address: object) -> str:
    """Return `ipv4`, `ipv6`, `name`, or nothing for what is none of them."""
    text = str(address)
    try:
        return f"ipv{ipaddress.ip_address(text).version}"
    except ValueError:
        return "name" if _NAME.fullmatch(text) else ""


def _canonical(address: str) -> str:
    """Write an IPv6 address as the kernel, nginx and systemd do; leave anything else as it is."""
    try:
        return socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, address))
    except OSError:
        return address


def host_port(address: object, port: object, reach: bool = False) -> str:
    """Join an address and a port, an IPv6 address in brackets.

    Args:
        address: An IPv4 or IPv6 address or a name.
        port: The TCP port.
        reach: Whether it is to be connected to; whoever listens on all addresses is reached by the loopback one.

    Returns:
        What may stand in a URL, in `listen` and `server` of nginx, in gunicorn's `bind` and in a socket unit.
    """
    text = _canonical(str(address))
    if reach:
        text = _LOOPBACK.get(text, text)
    return f"[{text}]:{port}" if ":" in text else f"{text}:{port}"


def address_fault(address: object) -> str:
    """Return what is wrong with an address and what to write instead; nothing where all is well."""
    text = str(address)
    kind = address_kind(text)
    if kind == "ipv6" and ("%" in text or ipaddress.ip_address(text).is_link_local):
        return f"{text} holds on one link alone; give a global or unique local address"
    if kind:
        return ""
    for pattern, surplus in _SURPLUS.items():
        if (match := re.fullmatch(pattern, text)) and address_kind(match[1]):
            return f"{text} is written without {surplus}: {match[1]}"
    return f"{text or 'is empty and'} is no address; give an IPv4 or IPv6 address or a name"


def network_fault(network: object) -> str:
    """Return what is wrong with an address or a network of proxies; nothing where all is well."""
    text = str(network)
    if text == "unix:":
        return ""
    try:
        ipaddress.ip_network(text)
    except ValueError as error:
        return f"{text!r} is no address or network ({error}); give one such as 10.0.0.0/8 or 2001:db8::/32"
    return ""


def shared_address_fault(address: object, network: object = "") -> str:
    """Return what is wrong with an address that two hosts share; nothing where all is well.

    Args:
        address: With the length of the prefix of its network, such as 10.10.1.100/24.
        network: An address of one of the hosts, likewise; empty where that is not known.
    """
    text = str(address)
    try:
        shared = ipaddress.ip_interface(text)
    except ValueError as error:
        return f"{text!r} is no address ({error}); write it with its prefix, such as 10.10.1.100/24"
    if shared.version != 4:
        return f"{text} is IPv6; give an IPv4 address such as 10.10.1.100/24"
    if "/" not in text:
        return f"{text} lacks the prefix of its network; write {text}/24, or what it has"
    own = ipaddress.ip_interface(str(network)) if network else shared
    if shared.network != own.network:
        return f"{text} is not of the data plane's network, {own.network}; choose an address of that"
    if shared.ip in (shared.network.network_address, shared.network.broadcast_address):
        return f"{text} is the network's own or its broadcast address; choose another one of {own.network}"
    return ""


class FilterModule:
    """The filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return them by their names."""
        return {
            "address_fault": address_fault,
            "address_kind": address_kind,
            "host_port": host_port,
            "network_fault": network_fault,
            "shared_address_fault": shared_address_fault,
        }
