#!/usr/bin/python
"""Ansible module: who else speaks VRRP with an id on a network, and what machine has an address there."""

from __future__ import annotations

import ipaddress
import json
import selectors
import socket
import struct
import subprocess
import time
from contextlib import ExitStack

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: vrrp_neighbours
short_description: Listens who speaks VRRP on a network, and asks it who has an address
description:
  - Nothing is changed. The network sees a few ARP requests.
options:
  interface:
    description: Where to listen.
    type: str
    required: true
  vrrp_id:
    description: The VRRP id that is wanted.
    type: int
    required: true
  address:
    description: The IPv4 address that is wanted.
    type: str
    required: true
  own:
    description: This host's own address on the interface.
    type: str
    required: true
  peer:
    description: The address of the other host that may use both.
    type: str
    required: true
  seconds:
    description: How long to listen; most routers speak each second.
    type: float
    default: 1.5
author: imagerec
"""
RETURN = """
speakers:
  description: The addresses of others that speak with the id.
  returned: always
  type: list
owners:
  description: The hardware addresses of machines that answer for the address, and are neither this one nor the peer.
  returned: always
  type: list
"""
_PROTOCOL = 112
_GROUP = "224.0.0.18"
_ARP = 0x0806
_ASK, _ANSWER = 1, 2
_EVERYBODY = b"\xff" * 6
_EVERY_S = 0.3


def speaker(packet: bytes) -> tuple[str, int] | None:
    """Return from whom a VRRP packet comes, and its id; None for what is none. It begins with its IPv4 header."""
    header = (packet[0] & 0x0F) * 4 if packet else 0
    if len(packet) < header + 8 or header < 20 or packet[9] != _PROTOCOL or packet[header] & 0x0F != 1:
        return None
    return socket.inet_ntoa(packet[12:16]), packet[header + 1]


def question(hardware: bytes, own: str, address: str) -> bytes:
    """Return the Ethernet frame that asks everybody who has an address."""
    ethernet = _EVERYBODY + hardware + struct.pack("!H", _ARP)
    asks = struct.pack("!HHBBH", 1, 0x0800, 6, 4, _ASK) + hardware + socket.inet_aton(own)
    return ethernet + asks + bytes(6) + socket.inet_aton(address)


def answer(frame: bytes) -> tuple[str, str] | None:
    """Return whose address an ARP answer tells, and the hardware address; None for any other frame."""
    if (
        len(frame) < 42
        or struct.unpack("!H", frame[12:14])[0] != _ARP
        or struct.unpack("!H", frame[20:22])[0] != _ANSWER
    ):
        return None
    return socket.inet_ntoa(frame[28:32]), frame[22:28].hex(":")


def listen(
    interface: str, own: str, asked: list[str], seconds: float
) -> tuple[set[tuple[str, int]], dict[str, set[str]]]:
    """Listen on an interface.

    Returns:
        Who speaks VRRP, with its id, and the hardware addresses that answer for each address asked for.
    """
    speakers: set[tuple[str, int]] = set()
    owners: dict[str, set[str]] = {address: set() for address in asked}
    with ExitStack() as stack:
        vrrp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_RAW, _PROTOCOL))
        vrrp.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0")
        member = struct.pack("4s4si", socket.inet_aton(_GROUP), bytes(4), socket.if_nametoindex(interface))
        vrrp.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
        arp = stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ARP)))
        arp.bind((interface, _ARP))
        hardware = arp.getsockname()[4]
        selector = stack.enter_context(selectors.DefaultSelector())
        for one in (vrrp, arp):
            one.setblocking(False)
            selector.register(one, selectors.EVENT_READ)
        end_s, ask_s = time.monotonic() + seconds, 0.0
        while (now_s := time.monotonic()) < end_s:
            if now_s >= ask_s:
                ask_s = now_s + _EVERY_S
                for address in asked:
                    arp.send(question(hardware, own, address))
            for key, _ in selector.select(min(ask_s, end_s) - now_s):
                if key.fileobj is vrrp:
                    said = speaker(vrrp.recv(65535))
                    speakers |= {said} if said else set()
                elif (told := answer(arp.recv(65535))) and told[0] in owners:
                    owners[told[0]].add(told[1])
    return speakers, owners


def has(interface: str, address: str) -> bool:
    """Whether this host has an address now."""
    shown = subprocess.run(  # noqa: S603 - words of our own
        ["ip", "-json", "address", "show", "dev", interface],  # noqa: S607
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return any(each.get("local") == address for one in json.loads(shown) for each in one["addr_info"])


def main() -> None:
    """Run the module."""
    arguments = {name: {"type": "str", "required": True} for name in ("interface", "address", "own", "peer")}
    arguments |= {"vrrp_id": {"type": "int", "required": True}, "seconds": {"type": "float", "default": 1.5}}
    module = AnsibleModule(argument_spec=arguments, supports_check_mode=True)
    asked = module.params
    try:
        for name in ("address", "own", "peer"):
            ipaddress.IPv4Address(asked[name])
        speakers, owners = listen(asked["interface"], asked["own"], [asked["address"], asked["peer"]], asked["seconds"])
        mine = has(asked["interface"], asked["address"])
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        module.fail_json(msg=f"cannot listen on {asked['interface']}: {error}")
    strangers = {address for address, number in speakers if number == asked["vrrp_id"]} - {asked["own"], asked["peer"]}
    others = set() if mine else owners[asked["address"]] - owners[asked["peer"]]
    module.exit_json(changed=False, speakers=sorted(strangers), owners=sorted(others))


if __name__ == "__main__":
    main()
