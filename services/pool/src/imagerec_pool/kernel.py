"""TCP connections to a worker, asked of the kernel (sock_diag, Linux 4.10): how many, what arrives, and their end."""

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
_SENT = struct.Struct("=120xQ40xQQ")  # its tcpi_bytes_acked, tcpi_busy_time and tcpi_rwnd_limited, in microseconds
_IDENTITY = struct.Struct(">HH16s16s4s8s")  # ports, addresses, interface, cookie
_ESTABLISHED, _SYN_SENT = 1, 2
# No listener has less room for what it has not read yet, so a worker that is only busy acknowledges as much.
_MUCH = 32 * 1024
# The kernel walks through all its connections for each question; what it tells of them costs more.
_FEW = 8


class NotAllowedError(Exception):
    """This process may not end connections, or this kernel cannot."""


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection of this host.

    Attributes:
        server: Where it leads, as the kernel writes it.
        identity: What the kernel knows it by.
        acknowledged: Bytes that the other side has acknowledged.
        unsent: Bytes that it has not, sent or not.
        sending_s: Seconds for which there was something to acknowledge, without those for which the other side had no
            room for it: so long the way has taken. 0 where the kernel is too old to say.
    """

    server: tuple[bytes, int]
    identity: bytes
    acknowledged: int
    unsent: int
    sending_s: float

    @property
    def begun(self) -> bool:
        """Whether much has arrived, and there is more: a large photograph is on its way, however slowly."""
        return self.unsent > 0 and self.acknowledged >= _MUCH


def under_way(servers: Collection[tuple[str, int]]) -> dict[tuple[str, int], list[Connection]]:
    """Return the connections of this host to each ``(address, port)`` that are under way.

    This process's own are not among them. The kernel is asked once for each port while these are few, else for all that
    it has; that is thousands on a balancer, with those of its clients.
    """
    told: dict[tuple[str, int], list[Connection]] = {server: [] for server in servers}
    for family in {_family(address) for address, _ in servers}:
        wanted = {_packed(address, port): (address, port) for address, port in servers if _family(address) == family}
        ports = {port for _, port in wanted}
        with _opened() as kernel:
            for port in ports if len(ports) <= _FEW else {0}:
                for found in _connections(kernel, family, port):
                    if found.server in wanted:
                        told[wanted[found.server]].append(found)
    return told


def arrived(address: str, port: int) -> dict[bytes, int]:
    """Return how many bytes ``address:port`` has acknowledged on each connection of this host that has more for it.

    The keys are the kernel's names of the connections. A worker that is being sent a large photograph over a slow link
    acknowledges ever more; one that stands still does not.
    """
    with _opened() as kernel:
        wanted = _packed(address, port)
        found = _connections(kernel, _family(address), port)
        return {each.identity: each.acknowledged for each in found if each.server == wanted and each.unsent}


def cut_off(address: str, port: int, *, spare_begun: bool) -> int:
    """End the connections of this host to ``address:port``, but this process's own; return how many were ended.

    With ``spare_begun`` those by which a large photograph is on its way stay.

    Who waits for an answer on one of them gets ECONNABORTED at once.

    Raises:
        NotAllowedError: CAP_NET_ADMIN is missing, or the kernel was built without INET_DIAG_DESTROY.
    """
    with _opened() as kernel:
        wanted = _packed(address, port)
        there = [each for each in _connections(kernel, _family(address), port) if each.server == wanted]
        found = [each.identity for each in there if not (spare_begun and each.begun)]
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


def _connections(kernel: socket.socket, family: int, port: int) -> Iterator[Connection]:
    """Yield each connection to a port, or to any (0), but this process's own.

    Raises:
        OSError: The kernel does not tell.
    """
    own = _own_inodes()
    anything = _IDENTITY.pack(0, port, bytes(16), bytes(16), bytes(4), bytes(8))
    kernel.send(_message(_BY_FAMILY, _REQUEST | _DUMP, family, anything))
    while True:
        data = kernel.recv(65536)
        while data:
            length, kind, *_ = _HEADER.unpack_from(data)
            if kind in {_DONE, _ERROR}:
                code = -struct.unpack_from("=i", data, _HEADER.size)[0]
                if code:
                    raise OSError(code, os.strerror(code))
                return
            told = _TOLD.unpack_from(data, _HEADER.size)
            identity, inode = told[4], told[-1]
            if inode not in own:
                there = _IDENTITY.unpack(identity)
                acknowledged, sending_s = _sent(data[:length])
                yield Connection((there[3], there[1]), identity, acknowledged, told[7], sending_s)
            data = data[(length + 3) // 4 * 4 :]


def _sent(message: bytes) -> tuple[int, float]:
    """Return the bytes that the other side has acknowledged, and the seconds for which the way was busy with them."""
    at = _HEADER.size + _TOLD.size
    while at + _ATTRIBUTE.size <= len(message):
        length, kind = _ATTRIBUTE.unpack_from(message, at)
        if kind == _INFO and length >= _ATTRIBUTE.size + _SENT.size:
            acknowledged, busy, no_room = _SENT.unpack_from(message, at + _ATTRIBUTE.size)
            return acknowledged, (busy - no_room) / 1e6
        at += max(_ATTRIBUTE.size, (length + 3) // 4 * 4)
    return 0, 0.0


def _own_inodes() -> set[int]:
    inodes = set()
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            target = str(entry.readlink())
            if target.startswith("socket:["):
                inodes.add(int(target[8:-1]))
    return inodes
