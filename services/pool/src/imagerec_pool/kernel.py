"""TCP connections to a worker, asked of the kernel: how many are under way, and their end (sock_diag, Linux 4.9)."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterator
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


def under_way(address: str, port: int) -> int:
    """Return how many connections of this host to ``address:port`` are under way, this process's own not counted."""
    with _opened() as kernel:
        return sum(1 for _ in _connections(kernel, address, port))


def cut_off(address: str, port: int) -> int:
    """End the connections of this host to ``address:port``, but this process's own; return how many were ended.

    Who waits for an answer on one of them gets ECONNABORTED at once.

    Raises:
        NotAllowedError: CAP_NET_ADMIN is missing, or the kernel was built without INET_DIAG_DESTROY.
    """
    with _opened() as kernel:
        found = list(_connections(kernel, address, port))
        for identity in found:
            kernel.send(_message(_DESTROY, _REQUEST | _ACK, address, identity))
            code = -struct.unpack_from("=i", kernel.recv(65536), _HEADER.size)[0]
            if code in {errno.EPERM, errno.EACCES, errno.EOPNOTSUPP}:
                raise NotAllowedError(os.strerror(code))
    return len(found)


@contextlib.contextmanager
def _opened() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as kernel:
        kernel.settimeout(1)
        yield kernel


def _message(kind: int, flags: int, address: str, identity: bytes) -> bytes:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    body = _ASK.pack(family, socket.IPPROTO_TCP, 0, 0, 1 << _ESTABLISHED | 1 << _SYN_SENT, identity)
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, 1, 0) + body


def _connections(kernel: socket.socket, address: str, port: int) -> Iterator[bytes]:
    """Yield what the kernel knows each connection by."""
    wanted = socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address).ljust(16, b"\0")
    own = _own_inodes()
    anything = _IDENTITY.pack(0, port, bytes(16), bytes(16), bytes(4), bytes(8))
    kernel.send(_message(_BY_FAMILY, _REQUEST | _DUMP, address, anything))
    while True:
        data = kernel.recv(65536)
        while data:
            length, kind, *_ = _HEADER.unpack_from(data)
            if kind in {_DONE, _ERROR}:
                return
            told = _TOLD.unpack_from(data, _HEADER.size)
            identity, inode = told[4], told[-1]
            if _IDENTITY.unpack(identity)[3] == wanted and inode not in own:
                yield identity
            data = data[(length + 3) // 4 * 4 :]


def _own_inodes() -> set[int]:
    inodes = set()
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            target = str(entry.readlink())
            if target.startswith("socket:["):
                inodes.add(int(target[8:-1]))
    return inodes
