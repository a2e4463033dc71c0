"""A link that drops long packets and passes short ones, like a slow link or one of a smaller MTU."""

from __future__ import annotations

import ctypes
import socket
import struct

_ATTACH_FILTER, _DETACH_FILTER = 26, 27  # SO_ATTACH_FILTER and SO_DETACH_FILTER, which Python does not name
_LONG = 1000
# Classic BPF: load the length; is it above _LONG? then keep nothing; else keep all.
_PROGRAM = b"".join(
    struct.pack("=HBBI", *instruction)
    for instruction in ((0x80, 0, 0, 0), (0x25, 0, 1, _LONG), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))
)


def swallow(listener: socket.socket) -> None:
    """Let the kernel drop long packets to the connections that a listener gets from now on, before TCP sees them."""
    program = ctypes.create_string_buffer(_PROGRAM, len(_PROGRAM))
    given = struct.pack("@HP", len(_PROGRAM) // 8, ctypes.addressof(program))
    listener.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, given)


def pass_on(listener: socket.socket) -> None:
    """Let connections that a listener gets from now on have every packet."""
    listener.setsockopt(socket.SOL_SOCKET, _DETACH_FILTER, 0)
