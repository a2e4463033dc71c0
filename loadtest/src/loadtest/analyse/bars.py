"""What is promised of a pool that follows its load, and what a run says to it: one row for each figure.

A figure that is missing is not met, nor is one of fewer than 5,000 requests.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from loadtest.analyse.laws import max_conns_of
from loadtest.analyse.optimum import highest_rates, least_worker_s
from loadtest.analyse.pool import REFUSED, pool_of
from loadtest.analyse.window import kept, length_s
from loadtest.arrays import Floats
from loadtest.errors import LoadtestError
from loadtest.experiments.cells import Cell, Level
from loadtest.experiments.folder import RunFolder
from loadtest.experiments.loads import shape_of
from loadtest.experiments.precision import least_for
from loadtest.experiments.record import policy_of
from loadtest.generate.samples import Trial, read_trial
from loadtest.simulate.measured import of_run

Row = dict[str, Any]
ENOUGH = 5000
_BACK_S = 5.0
_OF_OPTIMUM, _OF_ALL, _P99_OF_ALL = 1.25, 0.6, 1.3
_FOLLOWED_S = 60.0  # then a pool has found the size for a load that does not change
_SLOWEST = 0.99
_GRID_S = 0.1


def bars_of(folder: RunFolder, cells: Sequence[Row]) -> list[Row]:
    """Hold the levels at which an autoscaler decides to what is promised.

    Returns:
        Rows with `level`, `cell`, `what`, `figure`, the most that it may be as `bar`, `met` (yes or no), and the
        `requests` and `trials` that say so.
    """
    found = []
    for level in folder.measured_levels():
        if level.workers_awake != "auto":
            continue
        for cell in folder.design.cells_at(level):
            row = next((one for one in cells if (one["level"], one["cell"]) == (level.id, cell.id)), None)
            say = _SAYS.get(cell.arrivals)
            if row is None or row["image"] or say is None:
                continue
            trials = [read_trial(folder.trial_path(level, cell, number)) for number in row["valid_numbers"]]
            for what, (figure, bar) in say(_Case(folder, level, cell, row, trials), cells).items():
                met = figure is not None and figure <= bar and row["n"] >= ENOUGH
                found.append(
                    {
                        "level": level.id,
                        "cell": cell.id,
                        "what": what,
                        "figure": figure,
                        "bar": bar,
                        "met": "yes" if met else "no",
                        "requests": row["n"],
                        "trials": row["valid_trials"],
                    }
                )
    return found


class _Case:
    """A load at a level at which the autoscaler decides."""

    def __init__(self, folder: RunFolder, level: Level, cell: Cell, row: Row, trials: Sequence[Trial]) -> None:
        self.folder, self.level, self.cell, self.row, self.trials = folder, level, cell, row, trials
        self.record = folder.read_level(level) or {}
        told = self.record.get("autoscaler") or {}
        self.objective_s: float | None = told.get("objective_s")
        self.least, self.most = int(told.get("minimum", 1)), int(told.get("maximum", 1))


Figures = dict[str, tuple[float | None, float]]


def _step(case: _Case, _cells: Sequence[Row]) -> Figures:
    if (case.cell.factor or 0.0) <= 1:
        return {}
    ready = [ready_s(trial, case.cell.at_s or 0.0) for trial in case.trials]
    known = [one for one in ready if one is not None]
    whole = bool(known) and len(known) == len(ready) and case.objective_s is not None
    back_s = back_after_s(case.trials, known, case.objective_s or 0.0) if whole else None
    return {
        "seconds from the first woken worker's first request until p99 is within the objective": (back_s, _BACK_S),
        "lost requests": (case.row["lost"], 0),
        "requests refused after the first woken worker's first request": (
            _refused_after(case.trials, known, 0.0) if whole else None,
            0,
        ),
        "requests refused after p99 is within the objective again": (
            None if back_s is None else _refused_after(case.trials, known, back_s),
            0,
        ),
    }


def _refused_after(trials: Sequence[Trial], ready: Sequence[float], after_s: float) -> int:
    return sum(
        one.status in REFUSED and one.sent_s >= since_s + after_s
        for trial, since_s in zip(trials, ready, strict=True)
        for one in trial.samples
    )


def ready_s(trial: Trial, since_s: float) -> float | None:
    """When a worker was first asked that had answered nothing before, in seconds since the trial's start.

    Args:
        trial: The trial.
        since_s: When its load began to rise; what was asked until then is before.
    """
    before = {one.worker for one in trial.samples if one.ok and one.sent_s < since_s}
    return min((one.sent_s for one in trial.samples if one.ok and one.worker not in before), default=None)


def back_after_s(trials: Sequence[Trial], ready: Sequence[float], objective_s: float) -> float | None:
    """How long after a worker is ready p99 is within the objective and stays there, over all trials together.

    From that moment on 99 of 100 requests are answered within the objective: of the next thousand, so that there is a
    p99, and of all that follow. A request that has no good answer is later than any objective.

    Args:
        trials: The trials.
        ready: When a woken worker was ready in each of them, in seconds since its start.
        objective_s: In seconds.

    Returns:
        Seconds to a tenth; None where p99 does not come back, or no thousand requests are left to say so.
    """
    pairs = sorted(
        (one.scheduled_s - since_s, not one.ok or one.response_s > objective_s)
        for trial, since_s in zip(trials, ready, strict=True)
        for one in trial.samples
        if one.scheduled_s >= since_s
    )
    due_s: Floats = np.array([due for due, _ in pairs], dtype=np.float64)
    late = np.concatenate([[0], np.cumsum([late for _, late in pairs], dtype=np.int64)])
    least, share = least_for(_SLOWEST), 1 - _SLOWEST
    for step in range(int(due_s[-1] / _GRID_S) + 1 if len(due_s) else 0):
        first = int(np.searchsorted(due_s, step * _GRID_S))
        if len(due_s) - first < least:
            return None
        rest, after = len(due_s) - first, first + least
        if late[-1] - late[first] <= share * rest and late[after] - late[first] <= share * least:
            return round(step * _GRID_S, 1)
    return None


def _sine(case: _Case, cells: Sequence[Row]) -> Figures:
    awake = replace(case.level, workers_awake="all").id
    every = next((one for one in cells if (one["level"], one["cell"]) == (awake, case.cell.id)), {})
    spent_s, p99_s = case.row["worker_s"], _p99_s(case)
    return {
        "worker-seconds, times the planner's optimum": (_over(spent_s, _optimum_s(case)), _OF_OPTIMUM),
        "worker-seconds, times those of all awake": (_over(spent_s, every.get("worker_s")), _OF_ALL),
        "p99, times that of all awake": (_over(p99_s, every.get("p99_s")), _P99_OF_ALL),
    }


def _p99_s(case: _Case) -> float | None:
    """p99 of all requests of a case; None where there are too few, or one in a hundred had no good answer."""
    times = [one.response_s if one.ok else math.inf for trial in case.trials for one in kept(trial, case.cell)]
    found = float(np.quantile(times, _SLOWEST, method="higher")) if len(times) >= least_for(_SLOWEST) else math.inf
    return None if math.isinf(found) else found


def _optimum_s(case: _Case) -> float | None:
    """The planner's worker-seconds of a trial; None where there is no calibration to plan by."""
    rate_hz = case.cell.rate(_capacity_hz(case))
    until_s = length_s(case.trials[0]) if case.trials else 0.0
    shape = None if rate_hz is None else shape_of(case.cell, rate_hz, until_s)
    if shape is None or case.objective_s is None or not case.trials:
        return None
    try:
        measured = of_run(case.folder)
    except LoadtestError:
        return None
    highest_hz = highest_rates(
        measured, range(case.least, case.most), case.objective_s, policy_of(case.level, case.record) or "random",
        max_conns=max_conns_of(case.record, 1), seed=case.folder.design.seed,
    )  # fmt: skip
    return least_worker_s(shape, case.cell.warmup_s, until_s, case.most, highest_hz)


def _capacity_hz(case: _Case) -> float | None:
    facts = case.record.get("capacity", {}).get(case.cell.images_id)
    return None if facts is None else float(facts["capacity_hz"])


def _over(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else part / whole


def _steady(case: _Case, _cells: Sequence[Row]) -> Figures:
    if max([length_s(trial) for trial in case.trials] or [case.cell.length_s(case.row["asked_hz"])]) <= _FOLLOWED_S:
        return {}
    counts = [changes_after(trial, _FOLLOWED_S) for trial in case.trials]
    known = [one for one in counts if one is not None]
    return {
        "changes of the pool's size after the first minute": (
            sum(known) if known and len(known) == len(counts) else None,
            0,
        )
    }


def changes_after(trial: Trial, since_s: float) -> int | None:
    """How often another number served or was awake than a second before, from since_s on; None where nobody counted."""
    seen = pool_of(trial)
    if not seen or seen[-1][0] <= since_s:
        return None
    return sum(now[1:] != before[1:] and now[0] > since_s for before, now in pairwise(seen))


_SAYS: dict[str, Callable[[_Case, Sequence[Row]], Figures]] = {
    "step": _step,
    "sine": _sine,
    **dict.fromkeys(("poisson", "constant", "jittered"), _steady),
}
