"""A worker that sleeps: `python -m imagerec_worker.on_demand ADDRESS PORT BACKLOG PROGRAM …`.

The program is started by the first connection and ends by itself when nobody has asked it anything for a while, with
the status :data:`ASLEEP`. Under systemd the socket unit holds the listener and starts the service; then the program
is started at once. Where nobody holds it (supervisor), this module opens the listener, waits, and becomes the program,
which finds the listener as systemd would have given it. Meanwhile it is a small process that waits in the kernel.
After the program's end the port refuses connections until supervisor has started this module again, a second or so.
Nobody is sent to a worker that sleeps, and the agent of a balancer that wakes one asks again.
"""

from __future__ import annotations

import os
import select
import socket
import sys

# Of sd_listen_fds(3).
_FIRST = 3
# systemd and supervisor know by it that a worker has ended because nobody asked it.
ASLEEP = 77


def opened(address: str, port: int, backlog: int) -> socket.socket:
    """Return a listener; of `::` it takes IPv4 as well, as gunicorn's and systemd's do.

    Raises:
        OSError: The address cannot be had.
    """
    family, kind, _, _, place = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    listener = socket.socket(family, kind)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.bind(place)
    listener.listen(backlog)
    return listener


def main(arguments: list[str]) -> None:
    """Wait for the first connection, and become the program."""
    address, port, backlog, *program = arguments
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        try:
            listener = opened(address, int(port), int(backlog))
        except OSError as error:
            sys.exit(f"error: {address}:{port} cannot be listened at: {error}")
        select.select([listener], [], [])
        os.dup2(listener.fileno(), _FIRST)
        os.set_inheritable(_FIRST, True)  # where the listener is already the third, dup2 does nothing
        os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
    os.execv(program[0], program)  # noqa: S606  our own command


if __name__ == "__main__":
    main(sys.argv[1:])
