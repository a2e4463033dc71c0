"""Whether the machine did anything else while it was measured."""

from __future__ import annotations

import statistics
from typing import NamedTuple

from bench.layout import spoken, systems, titles
from bench.trials import Run, Trial

MOST = 0.05
_LISTED = 12


class Others(NamedTuple):
    """How many cores others used in the median and in the worst trial, which that was, and which trials to name."""

    median: float
    worst: float
    where: str
    busy: str
    faster: str


def others(run: Run) -> Others:
    """Return what else the machine did: which trials it disturbed, and which were faster than can be."""
    cores = run.facts["machine_cores"]
    trials = [trial for trial in run.trials if trial.system in titles(run)]
    worst = max(trials, key=lambda trial: trial.others_cores)
    middle = statistics.median(trial.others_cores for trial in trials)
    busy = [trial for trial in trials if trial.others_cores > MOST * cores]
    faster = [trial for trial in trials if trial.system in systems(run) and _beats(run, trial)]
    busy_, faster_ = (_these(run, found, len(trials)) for found in (busy, faster))
    return Others(middle, worst.others_cores, _name(run, worst), busy_, faster_)


def _beats(run: Run, trial: Trial) -> bool:
    limit = f"limit {run.facts['decoders'][trial.system]}"
    found = {one.number: one.images_hz for one in run.of(limit, trial.load)}
    return trial.images_hz > found.get(trial.number, float("inf"))


def _these(run: Run, found: list[Trial], count: int) -> str:
    if not found:
        return f"none of {count} trials."
    names = [_name(run, trial) for trial in found[:_LISTED]]
    names += [f"{len(found) - _LISTED} more"] if len(found) > _LISTED else []
    return f"**{len(found)} of {count} trials**: {'; '.join(names)}."


def _name(run: Run, trial: Trial) -> str:
    return f"{titles(run)[trial.system]}, {spoken(trial.load)}, round {trial.number}"
