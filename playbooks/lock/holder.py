"""On a host: holds the host's lock for as long as a deployment's controller is heard on the standard input.

The lock is the name of a socket: the kernel gives it to one process alone and takes it back when that process ends, so
none is ever left behind. Whoever comes second asks there who holds it. Needs nothing but Python 3.8; runs as any user.

Arguments: NAME WHO, both text; WHO is a JSON object. Prints one line of JSON: {"held_by": {}} once the lock is
held, else the WHO of the other.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import sys
import time
from typing import Any

SILENCE_S = 30.0  # A controller that was not heard for so long is gone; it speaks every 5 s.
PATIENCE_S = 100.0  # So long the last tasks of a deployment that was killed may take.


def ask(name: str) -> dict[str, Any] | None:
    """Return who holds the lock; None where nobody does any more."""
    with socket.socket(socket.AF_UNIX) as other, contextlib.suppress(OSError, ValueError):
        other.settimeout(5)
        other.connect(name)
        said = b""
        while part := other.recv(4096):
            said += part
        answer: dict[str, Any] = json.loads(said)
        return answer
    return None


def take(name: str) -> socket.socket | dict[str, Any]:
    """Take the lock, or return who holds it; wait where that one is ending."""
    deadline = time.monotonic() + PATIENCE_S
    silent = 0
    while True:
        lock = socket.socket(socket.AF_UNIX)
        try:
            lock.bind(name)
        except OSError:
            lock.close()
            holder = ask(name)
            silent += holder is None
            if (holder and not holder.get("ending")) or silent > 50 or time.monotonic() > deadline:
                return holder or {"user": "a process that does not answer"}
            time.sleep(0.1)
        else:
            lock.listen()
            return lock


def hold(lock: socket.socket, who: dict[str, Any]) -> None:
    """Say who holds the lock to all that ask, until the controller is gone."""
    heard = time.monotonic()
    while (left := heard + SILENCE_S - time.monotonic()) > 0:
        ready, _, _ = select.select([lock.fileno(), 0], [], [], left)
        if lock.fileno() in ready:
            with contextlib.suppress(OSError), lock.accept()[0] as other:
                other.settimeout(1)
                other.sendall(json.dumps(who).encode())
        if 0 in ready:
            heard = time.monotonic()
            said = os.read(0, 4096)
            if not said:
                return
            if b"e" in said:  # the controller's run has ended; its last tasks have not
                who["ending"] = True


def main() -> None:
    """Take it, say so, hold it."""
    name, who = f"\0imagerec-deployment-{sys.argv[1]}", json.loads(sys.argv[2])
    taken = take(name)
    print(json.dumps({"held_by": taken if isinstance(taken, dict) else {}}), flush=True)
    if isinstance(taken, socket.socket):
        hold(taken, who)


if __name__ == "__main__":
    main()
