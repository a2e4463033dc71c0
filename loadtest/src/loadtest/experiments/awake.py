"""How many workers serve where an autoscaler decides: as a level says, few again before a trial, counted during one."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from loadtest.errors import LoadtestError
from loadtest.experiments.cells import Level

if TYPE_CHECKING:  # they import aiohttp, which reading a design does not need
    from loadtest.generate.client import Client
    from loadtest.generate.effort import Effort
    from loadtest.generate.recording import Load
    from loadtest.generate.runner import Runner

_LOOK_S = 1.0
# By its usual settings a pool shrinks by one worker in half a minute, of four from all to one in two.
_PATIENCE_S = 600.0
# A worker that sleeps ends 10 s after its last request by its usual settings; until then it would be back at once.
_ENDED_S = 15.0


def awake_otherwise(level: Level, told: dict[str, Any] | None, workers: int) -> list[str]:
    """Say in which ways the autoscaler (None: none runs) does not do as a level wants it; empty where it does."""
    wanted = level.workers_awake
    if wanted is None:
        return []
    if told is None:
        return ["no autoscaler answers; deploy with `autoscaler: true` in the inventory"]
    least, most, active = told["minimum"], told["maximum"], told["active"]
    if wanted == "auto":
        return [] if least < most else [f"its autoscaler keeps {least} workers whatever comes"]
    if least != most:
        return [f"its autoscaler decides on {least} to {most} workers and is not held"]
    if wanted == "all" and most != workers:
        return [f"its autoscaler keeps {most} of {workers} workers"]
    return [] if active == most else [f"{active} workers serve, not {most}"]


def at_its_least(told: Mapping[str, Any]) -> bool:
    """Whether the autoscaler keeps its minimum and wants no more; before its first look it does not know."""
    return told["target"] is not None and max(told["target"], told["active"]) <= told["minimum"]


def need_all_awake(level: Level) -> None:
    """Refuse to calibrate where some workers may sleep: loads are shares of what all of them can do.

    Raises:
        LoadtestError: The level lets workers sleep.
    """
    if level.workers_awake not in (None, "all"):
        raise LoadtestError(
            f"what all workers can do is not measured yet, and {level.id} is loaded by shares of it: run the level "
            "with workers_awake: all first"
        )


async def watch_of(level: Level, client_of: Callable[[], "Client"]) -> "PoolWatch | None":
    """Return what counts the workers during a trial, once the trial may begin; None where the level does not say.

    Where the autoscaler decides, each trial begins with as few workers as it may keep, and those that sleep have ended.

    Raises:
        LoadtestError: The pool does not shrink though nothing is sent, or the service does not answer.
    """
    if level.workers_awake is None:
        return None
    async with client_of() as client:
        if level.workers_awake == "auto":
            await _until_least(client)
        status = (await client.describe())["status"]
    return PoolWatch(client_of, len(status["workers"]))


async def _until_least(client: "Client") -> None:
    loop = asyncio.get_running_loop()
    deadline, least_since_s = loop.time() + _PATIENCE_S, None
    while True:
        told = await client.autoscaler()
        if told is not None and at_its_least(told):
            least_since_s = least_since_s or loop.time()
            if loop.time() - least_since_s >= _ENDED_S:
                return
        elif loop.time() > deadline:
            said = "it does not answer" if told is None else "; ".join(told["notices"]) or "it gives no reason"
            raise LoadtestError(
                f"nothing has been sent for {_PATIENCE_S:g} s and the autoscaler still keeps more than its minimum "
                f"({said}); look at GET /autoscaler, then run the same command again"
            )
        else:
            least_since_s = None
        await asyncio.sleep(_LOOK_S)


class PoolWatch:
    """Asks the autoscaler each second while a load is sent.

    Args:
        client_of: Makes a client of the service; the load's own connections are left alone.
        workers: How many workers the balancer has.
    """

    def __init__(self, client_of: Callable[[], "Client"], workers: int) -> None:
        self._client_of = client_of
        self._workers = workers
        self._seen: list[tuple[float, int, int]] = []

    def over(self, load: "Load") -> "Load":
        """The same load, watched."""

        async def sent(runner: "Runner") -> "Effort":
            watching = asyncio.create_task(self._watch())
            try:
                return await load(runner)
            finally:
                watching.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await watching

        return sent

    def facts(self) -> dict[str, Any]:
        """How many workers served, and how many were awake, those that start too, at each question.

        Returns:
            `pool`: a list of [seconds since the load began, serving, awake].
        """
        return {"pool": [list(entry) for entry in self._seen]}

    async def _watch(self) -> None:
        began_s = time.perf_counter()
        async with self._client_of() as client:
            while True:
                asked_s = time.perf_counter() - began_s
                told = await client.autoscaler()
                if told is not None:
                    self._seen.append((round(asked_s, 3), told["active"], self._workers - len(told["asleep"])))
                await asyncio.sleep(max(0.0, asked_s + _LOOK_S - (time.perf_counter() - began_s)))
