"""The loop: look each second, decide, and say who sleeps. What is decided stands in `law` and `choice`."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import aiohttp

from imagerec_autoscaler.access_log import AccessLog, Tally
from imagerec_autoscaler.arrivals import second_s
from imagerec_autoscaler.asked import Models, workers_of
from imagerec_autoscaler.choice import UP, WAKING, sleepers, startable
from imagerec_autoscaler.fitness import Fitness
from imagerec_autoscaler.hold import Hold
from imagerec_autoscaler.hook import Hook
from imagerec_autoscaler.law import Decision, Seen, State, decide, impossible
from imagerec_autoscaler.lease import Turn, turn
from imagerec_autoscaler.settings import Settings
from imagerec_autoscaler.standby import Kept, Standby
from imagerec_autoscaler.together import tell, together

_LOOK_S = 1.0
_KEPT = 50
_NUMBER = re.compile(r"[0-9.]+")


class Controller:
    """Decides for one balancer.

    Attributes:
        settings: What it was told by the deployment, or by an experiment for as long as that runs.
    """

    def __init__(self, settings: Settings, standby: Standby) -> None:
        self._hold, self.settings = Hold(settings), settings
        self._standby = standby
        self._kept, self._models = standby.read(), Models(settings.workers)
        self._log = AccessLog(settings.access_log)
        self._hook = Hook(settings.hook, self._hook_ended)
        self._fitness = Fitness(settings.start_timeout_s)
        self._state: State | None = None
        self._turn = Turn(acts=True)
        self._serving = 0
        self._looked_s: float | None = None
        self._own: Seen | None = None
        self._in_flight: int | None = None
        self._owed = 0
        self._decisions: deque[dict[str, object]] = deque(maxlen=_KEPT)
        self._said: dict[str, str] = {}

    async def run(self) -> None:
        """Look until cancelled."""
        agent = aiohttp.UnixConnector(str(self.settings.pool_socket), force_close=True)
        async with (
            aiohttp.ClientSession(connector=agent, timeout=aiohttp.ClientTimeout(total=0.8)) as pool,
            aiohttp.ClientSession(trust_env=False) as network,
        ):
            asking = asyncio.get_running_loop().create_task(self._models.run())
            try:
                while True:
                    began_s = time.monotonic()
                    told, self._turn = await asyncio.gather(workers_of(pool), turn(network, self.settings))
                    self.look(told, time.monotonic())
                    await asyncio.sleep(max(0.0, began_s + _LOOK_S - time.monotonic()))
            finally:
                asking.cancel()
                self.close()

    def close(self) -> None:
        """Close what is open."""
        self._log.close()

    def look(self, workers: list[dict[str, Any]] | None, now_s: float) -> None:
        """Look once, decide, and say who sleeps; `workers` is None where the agent of the pool says nothing."""
        self.settings = self._hold.look(now_s)
        tally = self._read_log()
        is_second = second_s(self._looked_s, now_s) is not None
        self._looked_s = now_s
        if not self._turn.acts:
            self._hook.tell(None)
        states = {str(each["name"]): str(each["state"]) for each in workers or ()}
        self._notice("agent", "" if states else "the agent of the pool does not answer; the pool stays as it is")
        if not states:
            self._own, self._in_flight, self._owed = None, None, 0
            if self._state is not None:
                self._state, _ = decide(self._state, Seen(now_s, known=False), self.settings.rules)
            return
        asleep = self._kept.asleep | self._fitness.look(states, self._kept.asleep, now_s)
        if self._state is None:
            kept = self._kept
            self._state = State(_as_many(kept.target, states, kept.asleep), service_s=kept.service_s)
            self._fitness.woken([name for name, state in states.items() if state == WAKING], now_s)
        self._models.look([name for name, state in states.items() if state == UP and name not in self._kept.asleep])
        model = self._models.served
        if model is not None and model != self._kept.model:  # what an answer took was another one's
            self._kept = replace(self._kept, model=model, service_s=None)
            self._state = replace(self._state, service_s=None)
        unfit = self._fitness.unfit(now_s)
        absent = ", ".join(name for name in states if name in unfit and states[name] != UP)
        self._notice("unfit", absent and f"did not serve when woken: {absent}")
        can = startable(states, asleep, unfit)
        self._serving = sum(state == UP for state in states.values())
        own = self._count(tally, workers or [])
        self._own = own if is_second else None
        seen = replace(
            together(own, self._turn.seen),
            now_s=now_s,
            serving=self._serving,
            processes=tuple(self.settings.processes.get(name, 1) for name in can),
        )
        before = self._state.target
        self._state, decision = decide(self._state, seen, self.settings.rules)
        self._notice("law", impossible(self._state, seen.processes, self.settings.rules))
        self._notice("turn", "" if self._turn.acts else f"waits: {self._turn.why}")
        if not self._turn.acts:
            self._follow(states)
            return
        if decision.target != before:
            self._tell(before, decision)
        self._hook.tell(decision.target)
        missing = decision.target > len(can)
        self._notice("start", f"{decision.target} workers are wanted, {len(can)} can serve; start others" * missing)
        self._put(sleepers(decision.target, states, asleep, unfit), states, now_s)

    def report(self) -> dict[str, object]:
        """Return what this program does, and its last decisions."""
        settings, state = self.settings, self._state
        return {
            "on": True,
            "acts": self._turn.acts,
            "minimum": settings.minimum,
            "maximum": settings.maximum,
            "objective_s": settings.objective_s,
            "active": self._serving,
            "target": None if state is None else state.target,
            "asleep": sorted(self._kept.asleep),
            "seen": tell(self._own),
            "notices": sorted(self._said.values()),
            "decisions": list(self._decisions),
        }

    def _read_log(self) -> Tally | None:
        try:
            tally = self._log.read()
        except OSError as error:
            self._log.close()
            self._notice("log", f"the access log cannot be read ({error}); the pool stays as it is")
            return None
        self._notice("log", "")
        return tally

    def _count(self, tally: Tally | None, workers: list[dict[str, Any]]) -> Seen:
        """Return what came: what was finished, and by how many more are under way now."""
        counts = [each.get("under_way") for each in workers]
        in_flight = None if None in counts else sum(int(count or 0) for count in counts)
        if tally is None:
            self._in_flight = None
            return Seen(0.0, known=False)
        grown = 0 if self._in_flight is None or in_flight is None else in_flight - self._in_flight
        self._in_flight = in_flight
        # The two are not counted at the same moment: what seems to be too few is missing in the next second.
        owed = self._owed + tally.finished + grown
        self._owed = min(0, owed)
        return Seen(
            0.0,
            arrivals=max(0, owed),
            answers=tally.answers,
            busy_s=tally.busy_s,
            waited_s=tally.waited_s,
            refused=tally.refused,
            in_flight=in_flight,
        )

    def _tell(self, before: int, decision: Decision) -> None:
        told: dict[str, object] = {
            "time": _now(),
            "from": before,
            "to": decision.target,
            "reason": decision.reason,
            "metrics": decision.metrics,
        }
        self._decisions.append(told)
        _say(**told)

    def _hook_ended(self, failure: str, words: str) -> None:
        self._notice("hook", failure)
        if words:
            _say(time=_now(), hook=words)  # in the log alone: everybody may read a notice

    def _follow(self, states: Mapping[str, str]) -> None:
        """Do as the one that acts, so that no balancer wakes whom the other lets sleep.

        What is seen meanwhile is another's load, or none: when this one takes over, it begins as after a restart.
        """
        before = self._state or State(0)
        asleep, target = self._kept.asleep, before.target
        if self._turn.asleep is not None:
            asleep = self._turn.asleep & states.keys()
            target = _as_many(self._turn.target, states, asleep)
        self._state = State(target, service_s=before.service_s)
        self._put(set(asleep), states, time.monotonic())

    def _put(self, asleep: set[str], states: Mapping[str, str], now_s: float) -> None:
        target, service_s = (None, None) if self._state is None else (self._state.target, self._state.service_s)
        before, kept = self._kept, Kept(frozenset(asleep), target, service_s, self._kept.model)
        if kept == replace(before, service_s=before.service_s and service_s):  # S is kept when it is first known
            return
        try:
            self._standby.write(kept)
        except OSError as error:
            self._notice("write", f"who sleeps cannot be written ({error}); the pool stays as it is")
            return
        self._notice("write", "")
        self._kept = kept
        woken, put_to_sleep = before.asleep - asleep, asleep - before.asleep
        self._fitness.woken(woken, now_s)
        if woken or put_to_sleep:
            _say(time=_now(), woken=sorted(woken & states.keys()), put_to_sleep=sorted(put_to_sleep))

    def _notice(self, about: str, text: str) -> None:
        """Say what is wrong, once for as long as it is, whatever its numbers are meanwhile."""
        before = self._said.pop(about, "")
        if not text:
            return
        self._said[about] = text
        if _NUMBER.sub("", before) != _NUMBER.sub("", text):
            _say(time=_now(), notice=text)


def _as_many(target: int | None, states: Mapping[str, str], asleep: Collection[str]) -> int:
    """Return how many shall serve: as was said, or as many as do not sleep where nobody said so."""
    return len(states.keys() - asleep) if target is None else target


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _say(**what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()
