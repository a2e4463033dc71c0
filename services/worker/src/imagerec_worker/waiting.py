"""How long a request has waited for this worker, by the kernel of this host.

The balancer says when it passed a request on, by its own clock, which may be hours off. The kernel counts for each
connection how long ago its last data came, by no clock that anybody sets; read when the connection is accepted, that
is how long a request which was sent at once has waited in the listener's queue.
"""

from __future__ import annotations

import socket
import struct
import time
from contextvars import ContextVar

# Linux: the u32 `tcpi_last_data_recv` of `struct tcp_info` (linux/tcp.h), in milliseconds, follows 8 bytes and 11 u32.
_LAST_DATA_RECEIVED = struct.Struct("=52xI")
# The kernel counts in steps of up to 10 ms, and the balancer counts the way as well; more apart means another clock.
_AGREED_S = 0.1
# No balancer waits so long for an answer.
_OLDEST_S = 120.0

_waited_s: ContextVar[float | None] = ContextVar("waited_s", default=None)


def remember_wait(client: socket.socket) -> None:
    """Keep how long the request of a connection that was just accepted has waited."""
    waited_s = None
    if client.family in {socket.AF_INET, socket.AF_INET6}:
        information = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_DATA_RECEIVED.size)
        if len(information) == _LAST_DATA_RECEIVED.size:
            waited_s = _LAST_DATA_RECEIVED.unpack(information)[0] / 1000
    _waited_s.set(waited_s)


def queue_s(start: str) -> tuple[float, float]:
    """Return how long the present request has waited.

    Args:
        start: What the balancer says: ``t=<unix seconds>``, or anything else where there is none.

    Returns:
        Seconds that a budget may count, and seconds to tell. Both are the kernel's where it knows; what is told is the
        balancer's finer value as long as the two agree. Where the kernel knows nothing (a unix socket, another server)
        both are the balancer's, and 0 when that would be negative or longer than any balancer waits.
    """
    counted_s = _waited_s.get()
    try:
        stated_s = time.time() - float(start.removeprefix("t="))
    except ValueError:
        return (counted_s or 0.0,) * 2
    if counted_s is None:
        stated_s = stated_s if 0.0 <= stated_s <= _OLDEST_S else 0.0
        return stated_s, stated_s
    agreed = stated_s >= 0 and abs(stated_s - counted_s) <= _AGREED_S
    return counted_s, stated_s if agreed else counted_s
