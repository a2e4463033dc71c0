"""Interleaved rounds: in each, every system meets every load once, one after the other under the same load."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench import processes
from bench.systems import Limit, NotServingError, Served
from bench.trials import Load, Trial, table

IN_PROCESS = ("served", "served_pillow", "plain_pillow")
CLOSED = (Load(users=4), Load(users=16))
OPEN = (Load(share=0.2), Load(share=0.5), Load(share=0.8))
LOADS = CLOSED + OPEN
_MOST_FAILED = 0.05
_IDLE_S = 2.0


class Rounds:
    """All systems of one run.

    Args:
        limit: The in-process limit.
        systems: What serves; a round measures them in this order.
        photographs: What is sent.
        seconds: Of each trial.
    """

    def __init__(self, limit: Limit, systems: Sequence[Served], photographs: Sequence[Path], seconds: float) -> None:
        self._limit = limit
        self._systems = systems
        self._photographs = photographs
        self._seconds = seconds
        self.limit_hz = 0.0

    def warm_up(self) -> None:
        """Let every system work under four users, and find the limit that the open loops are shares of.

        Raises:
            NotServingError: More than one request in twenty fails.
        """
        for system in self._systems:
            trial = self._served(system, CLOSED[0], 0)
            if trial.failed > _MOST_FAILED * len(trial.requests):
                raise NotServingError(
                    f"{system.title} fails {trial.failed} of {len(trial.requests)} requests at port {system.port}"
                )
        found = [self._in_process(IN_PROCESS[0], CLOSED[0], 0).images_hz for _ in range(3)]
        self.limit_hz = statistics.median(found)

    def measure(self, number: int) -> list[Trial]:
        """Measure one round, numbered from 1: the number is the seed of arrivals and photographs."""
        trials = []
        for load in LOADS:
            if load.users:
                trials += [self._in_process(decoder, load, number) for decoder in IN_PROCESS]
            # A share of the limit is nothing to ask of a network that is twenty times as slow.
            asked = [system for system in self._systems if load.users or system.decoder]
            trials += [self._served(system, load, number) for system in asked]
        return trials

    def idle_cores(self) -> float:
        """Return how many cores all systems use together while nobody asks: what each trial is disturbed by."""
        roots = [root for system in self._systems for root in system.roots]
        before_s = processes.cpu_s(roots)
        time.sleep(_IDLE_S)
        return (processes.cpu_s(roots) - before_s) / _IDLE_S

    def _in_process(self, decoder: str, load: Load, number: int) -> Trial:
        images, cpu_s = self._limit.run(decoder, self._seconds)
        return Trial(f"limit {decoder}", load.name, number, self._seconds, images, cpu_s, 0.0, 0.0, table([]))

    def _served(self, system: Served, load: Load, number: int) -> Trial:
        rate_hz = load.share * self.limit_hz
        sent, cpu_s = system.run(self._photographs, load, rate_hz, self._seconds, number)
        if not sent.samples:
            raise NotServingError(f"{system.title} was asked nothing in {self._seconds:g} s; measure longer")
        images = sum(sample.status == 200 for sample in sent.samples)
        requests = table(
            (
                round(1e6 * sample.scheduled_s),
                round(1e6 * sample.lag_s),
                round(1e6 * sample.service_s),
                sample.status or 0,
            )
            for sample in sent.samples
        )
        sys.stderr.write(f"  {system.key}, {load.name}: {images / sent.wall_s:.0f} images/s\n")
        return Trial(system.key, load.name, number, sent.wall_s, images, cpu_s, sent.cpu_s, rate_hz, requests)
