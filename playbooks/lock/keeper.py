"""On the controller: keeps the channel to a host's holder open for as long as a run of Ansible lives.

Arguments: PID COMMAND…, the process of ansible-playbook and the command that runs the holder, which is sent to it.
Hands on the holder's first line, or {"error": …} where there is none. Ends with the run, however that has ended.
A channel that breaks is opened again; where the lock has gone to another meanwhile, the run is ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

BEAT_S = 5.0


def command_of(pid: int | str) -> bytes:
    """Return a process's command line; empty where it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def last_tasks(command: bytes) -> list[int]:
    """Return the forks of a run that was killed: they carry its command line, lead a session, and have lost it."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            parent, _, session = (int(part) for part in (entry / "stat").read_text().rpartition(")")[2].split()[1:4])
            if session == int(entry.name) and command_of(entry.name) == command and command_of(parent) != command:
                found.append(session)
    return found


def say(holder: subprocess.Popen[bytes], word: bytes) -> None:
    """Let the holder hear something."""
    assert holder.stdin is not None
    with contextlib.suppress(OSError):
        holder.stdin.write(word)
        holder.stdin.flush()


def start(command: list[str]) -> tuple[subprocess.Popen[bytes], bytes]:
    """Start the holder; return it with its first line, empty where it has ended at once.

    What a login shell prints before is passed over.
    """
    holder = subprocess.Popen(  # noqa: S603  the command is the action's
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    say(holder, Path(__file__).with_name("holder.py").read_bytes())
    assert holder.stdout is not None
    while (said := holder.stdout.readline()) and not said.startswith(b"{"):
        pass
    return holder, said


def keep(pid: int, run: int, holder: subprocess.Popen[bytes], command: list[str]) -> subprocess.Popen[bytes] | None:
    """Be heard until the run ends; open a broken channel again. Return the holder, or None where the lock was lost."""
    while True:
        assert holder.stdout is not None
        ready, _, _ = select.select([run, holder.stdout.fileno()], [], [], BEAT_S)
        if run in ready:
            return holder
        if holder.stdout.fileno() in ready:
            holder.wait()
            holder, said = start(command)
            if not said:
                time.sleep(1)
            elif other := json.loads(said)["held_by"]:
                if (other.get("controller"), other.get("pid")) != (socket.gethostname(), pid):
                    os.kill(pid, signal.SIGTERM)
                    return None
                time.sleep(1)  # it is this run's own holder, which has not found out yet that its channel has ended
        say(holder, b".")


def main() -> None:
    """Start the holder, hand its answer on, keep it until the run and its last tasks have ended."""
    pid, command = int(sys.argv[1]), sys.argv[2:]
    run, line = os.pidfd_open(pid), command_of(pid)
    holder, said = start(command)
    assert holder.stderr is not None
    if not said:
        holder.wait()
        os.set_blocking(holder.stderr.fileno(), False)
        said = json.dumps({"error": (holder.stderr.read() or b"").decode(errors="replace").strip()}).encode() + b"\n"
    sys.stdout.buffer.write(said)
    sys.stdout.flush()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (1, 2):  # whoever reads what the run says is not kept waiting by this process
        os.dup2(nowhere, stream)
    if json.loads(said).get("held_by") == {} and (kept := keep(pid, run, holder, command)) is not None:
        while last_tasks(line):
            say(kept, b"e")
            time.sleep(0.2)
        assert kept.stdin is not None
        with contextlib.suppress(OSError):
            kept.stdin.close()
        kept.wait()


if __name__ == "__main__":
    main()
