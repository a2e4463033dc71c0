"""Several clients send one load together: they are started, and begin at one moment; `merged` makes one trial of it.

A client is a process that runs `loadtest.generate.member`: here, or elsewhere by a command (`ssh client2 python`).
Each sends its share of the arrivals that one client would send. Clocks are read from before the load until after it.
"""

import asyncio
import base64
import contextlib
import json
import os
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from loadtest.errors import LoadtestError
from loadtest.generate.attack import Attack
from loadtest.generate.clocks import Reading, compare
from loadtest.generate.member import MOST_LINE, job_of
from loadtest.generate.view import Glimpse, View

HERE = shlex.join([sys.executable])
_STARTS_S = 60.0
_ENDS_S = 60.0  # to send its samples, after the last request has ended
_KILLED_S = 5.0
_BEGINS_IN_S = 0.3
_READINGS = 20
_READ_EVERY_S = 0.2


@dataclass(slots=True)
class Member:
    """One client.

    Attributes:
        name: How messages call it.
        process: Its process, or that of the connection to it.
        ready: Set once it has its part of the load.
        ended: Set once its samples are here, or it has ended.
        readings: Of its clock.
        origin_s: When its load began, by its clock.
        data: Its samples file.
        glimpse: What it told last.
        wrong: Why nothing more is to be had of it; empty while all is well.
    """

    name: str
    process: asyncio.subprocess.Process
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    readings: list[Reading] = field(default_factory=list)
    origin_s: float = 0.0
    data: bytes = b""
    glimpse: Glimpse = field(default_factory=lambda: Glimpse(0.0, 0, 0, []))
    wrong: str = ""

    def tell(self, message: dict[str, Any]) -> None:
        """Send it one message."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message).encode() + b"\n")

    async def listen(self) -> None:
        """Take in what it says, until it says no more, or what no client says."""
        assert self.process.stdout is not None
        line = b""
        try:
            while line := await self.process.stdout.readline():
                if line.startswith(b"{"):  # else a greeting of the host, or a shell's remark
                    self._take(json.loads(line), time.time())
        except (ValueError, KeyError, TypeError, RecursionError):
            self.wrong = f"{self.name} says what no client says: {line[:60].decode(errors='replace').strip()}"
        finally:
            self.ready.set()
            self.ended.set()

    def _take(self, message: dict[str, Any], now_s: float) -> None:
        if "asked" in message:
            self.readings.append(Reading(float(message["asked"]), float(message["clock"]), now_s))
        elif "glimpse" in message:
            glimpse = Glimpse(*message["glimpse"])
            self.glimpse = glimpse._replace(seen=[*self.glimpse.seen, *glimpse.seen])
        elif "samples" in message:
            self.origin_s, self.data = float(message["origin"]), base64.b64decode(message["samples"])
            self.ended.set()
        elif message["ready"]:
            self.ready.set()


async def send_together(
    attack: Attack, commands: Sequence[str], members: list[Member], view: View | None = None
) -> None:
    """Let several clients send a load, and read their clocks meanwhile.

    Args:
        attack: The load.
        commands: For each client what starts Python there.
        members: Where they are put, with their samples, also when the load is interrupted.
        view: Where to show it.

    Raises:
        LoadtestError: A client does not start, does not end, says what means nothing, or ended without its samples.
    """
    listening: list[asyncio.Task[None]] = []
    try:
        for number, command in enumerate(commands):
            members.append(await _start(command, number))
            listening.append(asyncio.create_task(members[-1].listen()))
            members[-1].tell({"job": job_of(attack, number, len(commands), alone=commands.count(command) == 1)})
        for member in members:
            await _wait(member, member.ready, _STARTS_S)
        for _ in range(_READINGS):
            _ask(members)
            await asyncio.sleep(0.01)
        begin_s = time.time() + _BEGINS_IN_S
        for member in members:
            ahead_s = compare(member.readings).ahead_s if member.readings else 0.0
            member.tell({"begin": begin_s + ahead_s})
        until_s = time.monotonic() + _BEGINS_IN_S + attack.duration_s + attack.timeout_s + _ENDS_S
        while not all(member.ended.is_set() for member in members) and not any(member.wrong for member in members):
            if time.monotonic() > until_s:
                _refuse(members, "does not end, though its load has")
            _ask(members)
            await asyncio.sleep(_READ_EVERY_S)
            if view:
                view.show(_sum(members))
        for _ in range(_READINGS):
            _ask(members)
            await asyncio.sleep(0.01)
    finally:
        await _end(members, listening, attack.timeout_s + _ENDS_S)
    for member in members:
        if member.wrong:
            raise LoadtestError(member.wrong)
        if not member.data:
            raise LoadtestError(f"{member.name} ended before its load did; its reason stands above")


async def _start(command: str, number: int) -> Member:
    words = [*shlex.split(command), "-m", "loadtest.generate.member"]
    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=pipe,
            stdout=pipe,
            limit=MOST_LINE,
            start_new_session=True,  # Ctrl-C is for this process alone
        )
    except OSError as error:
        raise LoadtestError(f"client {number + 1} does not start: {command}: {error.strerror}") from error
    return Member(f"client {number + 1}" + ("" if command == HERE else f" ({command})"), process)


async def _wait(member: Member, event: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        member.wrong = f"{member.name} does not answer within {seconds:.0f} s"
    if member.wrong:
        raise LoadtestError(member.wrong)
    if member.ended.is_set():
        raise LoadtestError(f"{member.name} does not start; its reason stands above")


def _refuse(members: Sequence[Member], why: str) -> None:
    for member in members:
        if not member.ended.is_set():
            member.wrong = f"{member.name} {why}"
    raise LoadtestError(next(member.wrong for member in members if member.wrong))


async def _end(members: Sequence[Member], listening: Sequence["asyncio.Task[None]"], seconds: float) -> None:
    """Let clients end what is under way, and stop those that do not, or that have nothing more to say."""
    ends: set[asyncio.Task[Any]] = {*listening}
    for member in members:
        assert member.process.stdin is not None
        member.process.stdin.close()
        ends.add(asyncio.create_task(member.process.wait()))
        if member.wrong:
            _kill(member)
    if not ends:
        return
    _, late = await asyncio.wait(ends, timeout=seconds)
    if late:
        for member in members:
            _kill(member)
        await asyncio.wait(late, timeout=_KILLED_S)


def _kill(member: Member) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(member.process.pid, signal.SIGKILL)  # it has a session of its own


def _ask(members: Sequence[Member]) -> None:
    for member in members:
        member.tell({"ask": time.time()})


def _sum(members: Sequence[Member]) -> Glimpse:
    whole = [member.glimpse for member in members]
    seen = [one for glimpse in whole for one in glimpse.seen]
    for member in members:
        member.glimpse = member.glimpse._replace(seen=[])
    return Glimpse(
        max(glimpse.at_s for glimpse in whole),
        sum(glimpse.sent for glimpse in whole),
        sum(glimpse.in_flight for glimpse in whole),
        seen,
    )
