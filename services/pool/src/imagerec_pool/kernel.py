"""TCP connections to a worker, asked of the kernel (sock_diag, Linux 4.9): how many, what arrives, and their end."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

_SOCK_DIAG = 4  # NETLINK_SOCK_DIAG
_BY_FAMILY, _DESTROY = 20, 21
_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300
_ERROR, _DONE = 2, 3
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ASK = struct.Struct("=BBBBI48s")  # family, protocol, extensions, padding, states, socket
_TOLD = struct.Struct("=BBBB48sIIIII")  # family, state, timer, retransmits, socket, expires, queues, user, inode
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_INFO = 2  # INET_DIAG_INFO, a struct tcp_info
_ACKED = struct.Struct("=120xQ")  # its tcpi_bytes_acked
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
            for found in _connections(kernel, family, min(ports) if len(ports) == 1 else 0):
                if found.server in wanted:
                    counts[wanted[found.server]] += 1
    return counts


def arrived(address: str, port: int) -> dict[bytes, int]:
    """Return how many bytes ``address:port`` has acknowledged on each connection of this host that has more for it.

    The keys are the kernel's names of the connections. A worker that is being sent a large photograph over a slow link
    acknowledges ever more; one that stands still does not.
    """
    with _opened() as kernel:
        wanted = _packed(address, port)
        found = _connections(kernel, _family(address), port)
        return {each.identity: each.acknowledged for each in found if each.server == wanted and each.unsent}


def cut_off(address: str, port: int) -> int:
    """End the connections of this host to ``address:port``, but this process's own; return how many were ended.

    Who waits for an answer on one of them gets ECONNABORTED at once.

    Raises:
        NotAllowedError: CAP_NET_ADMIN is missing, or the kernel was built without INET_DIAG_DESTROY.
    """
    with _opened() as kernel:
        wanted = _packed(address, port)
        found = [each.identity for each in _connections(kernel, _family(address), port) if each.server == wanted]
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
    body = _ASK.pack(family, socket.IPPROTO_TCP, 1 << _INFO - 1, 0, 1 << _ESTABLISHED | 1 << _SYN_SENT, identity)
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, 1, 0) + body


@dataclass(frozen=True, slots=True)
class _Connection:
    """A connection: where it leads, what the kernel knows it by, its bytes that are acknowledged, and the others."""

    server: tuple[bytes, int]
    identity: bytes
    acknowledged: int
    unsent: int


def _connections(kernel: socket.socket, family: int, port: int) -> Iterator[_Connection]:
    """Yield each connection to a port, or to any (0), but this process's own."""
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
                yield _Connection((there[3], there[1]), identity, _acknowledged(data[:length]), unsent=told[7])
            data = data[(length + 3) // 4 * 4 :]


def _acknowledged(message: bytes) -> int:
    """Return the bytes that the other side has acknowledged; 0 where the kernel is too old to say."""
    at = _HEADER.size + _TOLD.size
    while at + _ATTRIBUTE.size <= len(message):
        length, kind = _ATTRIBUTE.unpack_from(message, at)
        if kind == _INFO and length >= _ATTRIBUTE.size + _ACKED.size:
            return int(_ACKED.unpack_from(message, at + _ATTRIBUTE.size)[0])
        at += max(_ATTRIBUTE.size, (length + 3) // 4 * 4)
    return 0


def _own_inodes() -> set[int]:
    inodes = set()
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            target = str(entry.readlink())
            if target.startswith("socket:["):
                inodes.add(int(target[8:-1]))
    return inodes
