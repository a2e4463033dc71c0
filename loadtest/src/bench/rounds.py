"""Interleaved rounds: in each, every system meets every load once; who comes first is drawn anew."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from bench import processes
from bench.inprocess import Limit
from bench.systems import Served
from bench.trials import Load, Trial, table
from loadtest.errors import LoadtestError
from loadtest.generate.samples import Sample

IN_PROCESS = ("served", "served_pillow", "plain_pillow")
CLOSED = (Load(users=4), Load(users=16))
OPEN = (Load(share=0.2), Load(share=0.5), Load(share=0.8))
LOADS = CLOSED + OPEN
_MOST_FAILED = 0.05
_IDLE_S = 2.0


def order(keys: Sequence[str], number: int, load: Load) -> list[str]:
    """Return the order of a round under a load: the same for the same round and load, each order equally likely."""
    draw = np.random.default_rng([number, load.users, round(100 * load.share)])
    return [keys[place] for place in draw.permutation(len(keys))]


class Rounds:
    """All systems of one run.

    Args:
        limit: The in-process limit.
        systems: What serves.
        answers: By decoder, the class id of each photograph.
        seconds: Of each trial.

    Attributes:
        limit_hz: Photographs a second of the limit with the worker's decoder, from the warm-up.
        lost: When each system ended that is there no more.
    """

    def __init__(
        self, limit: Limit, systems: Sequence[Served], answers: Mapping[str, Mapping[Path, str]], seconds: float
    ) -> None:
        self._limit = limit
        self._systems = {system.key: system for system in systems}
        self._answers = answers
        self._photographs = list(answers[IN_PROCESS[0]])
        self._seconds = seconds
        self.limit_hz = 0.0
        self.lost: dict[str, str] = {}

    def warm_up(self) -> None:
        """Let every system work under four users, and find the limit that the open loops are shares of.

        Raises:
            LoadtestError: More than one request in twenty fails.
        """
        for system in self._systems.values():
            trial = self._served(system, CLOSED[0], 0, 0)
            if trial.failed > _MOST_FAILED * len(trial.requests):
                raise LoadtestError(
                    f"{system.title} fails {trial.failed} of {len(trial.requests)} requests at port {system.port}"
                )
        found = [self._in_process(IN_PROCESS[0], CLOSED[0], 0, 0).images_hz for _ in range(3)]
        self.limit_hz = statistics.median(found)

    def measure(self, number: int) -> list[Trial]:
        """Measure one round, numbered from 1: the number is the seed of the order, of arrivals and of photographs.

        A system that ended is asked no more, and `lost` says when it ended.
        """
        trials = []
        for load in LOADS:
            # A share of the limit is nothing to ask of a network that is twenty times as slow.
            asked = [key for key, system in self._systems.items() if load.users or system.decoder]
            for position, key in enumerate(order([*(IN_PROCESS if load.users else ()), *asked], number, load), 1):
                if key in IN_PROCESS:
                    trials.append(self._in_process(key, load, number, position))
                elif key not in self.lost:
                    trial = self._served(self._systems[key], load, number, position)
                    if self._systems[key].alive:
                        trials.append(trial)
                    else:
                        self.lost[key] = f"round {number}, {load.name}"
                        sys.stderr.write(f"{self._systems[key].title} ended in {self.lost[key]}; it is left out\n")
        return trials

    def idle_cores(self) -> float:
        """Return how many cores all systems use together while nobody asks: what each trial is disturbed by."""
        roots = [root for system in self._systems.values() for root in system.roots]
        before_s = processes.cpu_s(roots)
        time.sleep(_IDLE_S)
        return (processes.cpu_s(roots) - before_s) / _IDLE_S

    def _in_process(self, decoder: str, load: Load, number: int, position: int) -> Trial:
        ran = self._limit.run(decoder, self._seconds)
        return Trial(
            system=f"limit {decoder}",
            load=load.name,
            number=number,
            position=position,
            wrong=0,
            client_cpu_s=0.0,
            rate_hz=0.0,
            requests=table([]),
            **ran._asdict(),
        )

    def _served(self, system: Served, load: Load, number: int, position: int) -> Trial:
        rate_hz = load.share * self.limit_hz
        sent, spent = system.run(self._photographs, load, rate_hz, self._seconds, number)
        if not sent.samples:
            raise LoadtestError(f"{system.title} was asked nothing in {self._seconds:g} s; measure longer")
        answered = [sample for sample in sent.samples if sample.status == 200]
        expected = {photograph.stem: wnid for photograph, wnid in self._answers.get(system.decoder, {}).items()}
        wrong = sum(_best(sample) != expected[sample.image] for sample in answered) if expected else 0
        images = len(answered) - wrong
        sys.stderr.write(f"  {system.key}, {load.name}: {images / sent.wall_s:.0f} images/s\n")
        return Trial(
            system=system.key,
            load=load.name,
            number=number,
            position=position,
            wall_s=sent.wall_s,
            images=images,
            wrong=wrong,
            cpu_s=spent.all_s,
            nginx_cpu_s=spent.nginx_s,
            client_cpu_s=sent.cpu_s,
            others_cores=sent.busy_cores - (spent.all_s + sent.cpu_s) / sent.wall_s,
            rate_hz=rate_hz,
            requests=table(map(_row, sent.samples)),
        )


def _best(sample: Sample) -> str:
    return (sample.answer or "").partition(" ")[0]


def _row(sample: Sample) -> tuple[int, int, int, int]:
    times = (sample.scheduled_s, sample.lag_s, sample.service_s)
    scheduled_us, lag_us, service_us = (round(1e6 * time_s) for time_s in times)
    return scheduled_us, lag_us, service_us, sample.status or 0
