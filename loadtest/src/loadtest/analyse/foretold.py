"""What one and two workers measured, and what that foretells of four."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from loadtest.analyse.laws import law_of
from loadtest.analyse.theory.law import ServiceLaw
from loadtest.analyse.theory.prediction import predict
from loadtest.analyse.window import spans
from loadtest.errors import LoadtestError
from loadtest.experiments.cells import Cell, Level
from loadtest.experiments.folder import RunFolder
from loadtest.experiments.record import policy_of
from loadtest.generate.samples import read_trial

KNOWN, ASKED = (1, 2), 4  # workers of the levels that are fitted, and of the one that is foretold
WITHIN = 0.1
_LOADS = (0.0, 0.9)  # shares of capacity between which a mean settles within a trial


@dataclass(frozen=True, slots=True)
class Foretold:
    """A cell of four workers: measured, and foretold from fewer.

    Attributes:
        asked_hz: Requests a second.
        utilisation: ρ, by the fit.
        measured_s: Mean response in seconds.
        half_s: Half-width of its 95 % t-interval; None of one trial.
        foretold_s: Mean of simulated trials of the same lengths and warm-ups.
        valid: Trials that count.
        trials: Trials.
    """

    asked_hz: float
    utilisation: float
    measured_s: float
    half_s: float | None
    foretold_s: float
    valid: int
    trials: int

    @property
    def off(self) -> float:
        """How far the measured mean is off: measured ÷ foretold − 1."""
        return self.measured_s / self.foretold_s - 1


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a run's few workers say of its many.

    Attributes:
        cells: One for each load that has a steady state.
        fitted_s: Mean service time of a busy process of the few, in seconds.
        own_s: That of the many, which the forecast does not know.
    """

    cells: list[Foretold]
    fitted_s: float
    own_s: float


def foretell(folder: RunFolder, rows: list[dict[str, Any]]) -> Forecast:
    """Fit the service times of one and two workers, and simulate four at the rates that were asked of them.

    Args:
        folder: A run with levels of one, two and four equal workers behind random balancing.
        rows: Its summary's cells.

    Raises:
        LoadtestError: A level or its calibration is missing, or no load of it counts.
    """
    cells, fitted, own = [], None, None
    level = _level(folder, ASKED)
    for cell in folder.design.cells:
        if cell.arrivals != "poisson" or cell.utilisation is None or not _LOADS[0] < cell.utilisation < _LOADS[1]:
            continue
        row = next((one for one in rows if (one["level"], one["cell"]) == (level.id, cell.id)), None)
        if row is None or row["mean_s"] is None:
            continue
        own = _law(folder, level, cell)
        fitted = pooled([_law(folder, _level(folder, count), cell) for count in KNOWN], ASKED, own.max_conns)
        rate_hz = row["asked_hz"]
        valid = [read_trial(folder.trial_path(level, cell, number)) for number in row["valid_numbers"]]
        found = predict(fitted, "random", rate_hz, spans(valid, cell, rate_hz), seed=folder.design.seed)
        cells.append(
            Foretold(
                rate_hz, rate_hz / fitted.capacity_hz, row["mean_s"], row["mean_ci"], found.mean_s,
                row["valid_trials"], row["trials"],
            )
        )  # fmt: skip
    if fitted is None or own is None:
        raise LoadtestError(f"{folder.path} has no load of {ASKED} workers that can be foretold; take a run of scaling")
    return Forecast(cells, fitted.service_s, own.service_s)


def pooled(laws: list[ServiceLaw], workers: int, max_conns: int) -> ServiceLaw:
    """The law of so many equal workers, from the service times of every worker of others.

    Raises:
        LoadtestError: They have other numbers of processes.
    """
    if len({law.processes for law in laws}) > 1:
        raise LoadtestError("the levels' workers have other numbers of processes, so they tell nothing of each other")
    mean_s = float(np.mean([mean for law in laws for mean in law.means_s]))
    return replace(
        laws[0],
        shape=np.concatenate([law.shape for law in laws]),
        idle=np.concatenate([law.idle_shape for law in laws]),
        means_s=(mean_s,) * workers,
        outside_s=float(np.mean([law.outside_s for law in laws])),
        max_conns=max_conns,
        names=(),
    )


def _level(folder: RunFolder, workers: int) -> Level:
    for level in folder.measured_levels():
        policy = policy_of(level, folder.read_level(level) or {}) or "random"
        if (level.pool_size, policy, level.slow_worker) == (workers, "random", 1.0):
            return level
    raise LoadtestError(f"{folder.path} has no measured level of {workers} equal workers behind random balancing")


def _law(folder: RunFolder, level: Level, cell: Cell) -> ServiceLaw:
    law = law_of(folder, level, folder.read_level(level) or {}, cell)
    if law is None:
        raise LoadtestError(f"{folder.path} has no calibration of {level.id} for {cell.images_id}")
    return law
