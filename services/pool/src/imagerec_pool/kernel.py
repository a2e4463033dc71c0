"""TCP connections to a worker, asked of the kernel: how many are under way, and their end (sock_diag, Linux 4.9)."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Collection, Iterator
from pathlib import Path

_SOCK_DIAG = 4  # NETLINK_SOCK_DIAG
_BY_FAMILY, _DESTROY = 20, 21
_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300
_ERROR, _DONE = 2, 3
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ASK = struct.Struct("=BBBBI48s")  # family, protocol, extensions, padding, states, socket
_TOLD = struct.Struct("=BBBB48sIIIII")  # family, state, timer, retransmits, socket, expires, queues, user, inode
_IDENTITY = struct.Struct(">HH16s16s4s8s")  # ports, addresses, interface, cookie
_ESTABLISHED, _SYN_SENT = 1, 2


class NotAllowedError(Exception):
    """This process may not end connections, or this kernel cannot."""


def under_way(servers: Collection[tuple[str, int]]) -> dict[tuple[str, int], int]:
    """Return how many connections of this host to each ``(address, port)`` are under way.

    This process's own are not counted. The kernel is asked once for each family of addresses, however many servers
    there are.
    """
    counts = dict.fromkeys(servers, 0)
    ports = {port for _, port in servers}
    for family in {_family(address) for address, _ in servers}:
        wanted = {_packed(address, port): (address, port) for address, port in servers if _family(address) == family}
        with _opened() as kernel:
            for server, _ in _connections(kernel, family, min(ports) if len(ports) == 1 else 0):
                if server in wanted:
                    counts[wanted[server]] += 1
    return counts


def cut_off(address: str, port: int) -> int:
    """End the connections of this host to ``address:port``, but this process's own; return how many were ended.

    Who waits for an answer on one of them gets ECONNABORTED at once.

    Raises:
        NotAllowedError: CAP_NET_ADMIN is missing, or the kernel was built without INET_DIAG_DESTROY.
    """
    with _opened() as kernel:
        wanted = _packed(address, port)
        found = [identity for server, identity in _connections(kernel, _family(address), port) if server == wanted]
        for identity in found:
            kernel.send(_message(_DESTROY, _REQUEST | _ACK, _family(address), identity))
            code = -struct.unpack_from("=i", kernel.recv(65536), _HEADER.size)[0]
            if code in {errno.EPERM, errno.EACCES, errno.EOPNOTSUPP}:
                raise NotAllowedError(os.strerror(code))
    return len(found)


@contextlib.contextmanager
def _opened() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as kernel:
        kernel.settimeout(1)
        yield kernel


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _packed(address: str, port: int) -> tuple[bytes, int]:
    """Return an address as the kernel writes it."""
    return socket.inet_pton(_family(address), address).ljust(16, b"\0"), port


def _message(kind: int, flags: int, family: int, identity: bytes) -> bytes:
    body = _ASK.pack(family, socket.IPPROTO_TCP, 0, 0, 1 << _ESTABLISHED | 1 << _SYN_SENT, identity)
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, 1, 0) + body


def _connections(kernel: socket.socket, family: int, port: int) -> Iterator[tuple[tuple[bytes, int], bytes]]:
    """Yield of each connection to a port, or to any (0), where it leads and what the kernel knows it by."""
    own = _own_inodes()
    anything = _IDENTITY.pack(0, port, bytes(16), bytes(16), bytes(4), bytes(8))
    kernel.send(_message(_BY_FAMILY, _REQUEST | _DUMP, family, anything))
    while True:
        data = kernel.recv(65536)
        while data:
            length, kind, *_ = _HEADER.unpack_from(data)
            if kind in {_DONE, _ERROR}:
                return
            told = _TOLD.unpack_from(data, _HEADER.size)
            identity, inode = told[4], told[-1]
            if inode not in own:
                there = _IDENTITY.unpack(identity)
                yield (there[3], there[1]), identity
            data = data[(length + 3) // 4 * 4 :]


def _own_inodes() -> set[int]:
    inodes = set()
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            target = str(entry.readlink())
            if target.startswith("socket:["):
                inodes.add(int(target[8:-1]))
    return inodes
