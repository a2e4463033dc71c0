"""Whether the machine did anything else while it was measured."""

from __future__ import annotations

import statistics

from bench.layout import spoken, systems, titles
from bench.trials import Run, Trial

_MOST_SHARE = 0.05
_LISTED = 12


def quiet(run: Run) -> str:
    """Return the section that says which trials something else disturbed."""
    cores = run.facts["machine_cores"]
    trials = [trial for trial in run.trials if trial.system in titles(run)]
    worst = max(trials, key=lambda trial: trial.others_cores)
    middle = statistics.median(trial.others_cores for trial in trials)
    busy = [trial for trial in trials if trial.others_cores > _MOST_SHARE * cores]
    faster = [trial for trial in trials if trial.system in systems(run) and _beats(run, trial)]
    return f"""## Was the machine quiet
What others used: all that was busy, less the system that was asked and the generator. Others are the systems that wait,
the kernel, other programs and other guests of the host. The machine has {cores} cores.

- The median trial had {middle:.2f} cores of others, the worst {worst.others_cores:.2f}: {_name(run, worst)}.
- Others used more than {_MOST_SHARE:.0%} of all cores' time in {_these(run, busy, len(trials))}
- A system was faster than the limit with its decoder, in the same round, in {_these(run, faster, len(trials))}
  Nothing can be: the limit was disturbed there."""


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
