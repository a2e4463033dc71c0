"""Compare two runs: mean, p99, goodput and capacity of what they have in common, paired over seeds."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from loadtest.analyse.disturbed import calibrations
from loadtest.analyse.laws import law_of
from loadtest.analyse.statistics import holm
from loadtest.analyse.window import answered_hz, response_times, warmup_s
from loadtest.arrays import Floats
from loadtest.compare import changes
from loadtest.compare.alike import common_cells, refuse_unlike
from loadtest.compare.changes import Effect
from loadtest.compare.pairs import Pairs, metrics, one_answer
from loadtest.errors import LoadtestError
from loadtest.experiments.cells import Cell, Level
from loadtest.experiments.folder import RunFolder
from loadtest.experiments.gaps import gaps_of
from loadtest.experiments.validity import invalid_because, unmeasured
from loadtest.generate.samples import Trial, read_trial

SIGNIFICANT = 0.05
ALL = "all cells"
CAPACITY = "capacity"
RATES = "rates"
_CLOSED = ("unloaded", "saturated")  # calibrations that a capacity comes from
# More of these is worse; more of the others is better.
_COSTS = ("mean", "p99")


@dataclass(frozen=True, slots=True)
class Change:
    """One metric of one cell in both runs.

    Attributes:
        level: Its level.
        cell: Its cell, or what was calibrated, or ALL.
        metric: mean, p99 (seconds), goodput or capacity (a second).
        first: The first run's value; None over all cells.
        second: The second's.
        effect: The change; None where there is too little to tell.
        p: Its probability where nothing has changed, after Holm's correction of all that is tested.
    """

    level: str
    cell: str
    metric: str
    first: float | None
    second: float | None
    effect: Effect | None
    p: float | None = None

    @property
    def verdict(self) -> str:
        """`worse` or `better` where the change is significant, else nothing."""
        if self.effect is None or self.p is None or self.p >= SIGNIFICANT:
            return ""
        return "worse" if (self.effect.ratio > 1) == (self.metric in _COSTS) else "better"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a comparison found: changes, and remarks for the reader."""

    changes: list[Change]
    title: str
    remarks: list[str]

    @property
    def worse(self) -> int:
        """How many changes are significantly for the worse."""
        return sum(change.verdict == "worse" for change in self.changes)

    def text(self) -> str:
        """The table for a person."""
        tested = sum(change.p is not None for change in self.changes)
        better = sum(change.verdict == "better" for change in self.changes)
        widths = [max([5, *(len(getattr(one, key)) for one in self.changes)]) for key in ("level", "cell")]
        lines = [self.title, f"{'level':<{widths[0]}} {'cell':<{widths[1]}} {'metric':<9} {'first':>9} {'second':>9} "
                 f"{'change':>8} {'95 % interval':>18} {'p':>6}"]  # fmt: skip
        lines += [_line(change, widths) for change in self.changes]
        lines.append(
            f"Significant at {100 * SIGNIFICANT:g} % after Holm's correction of {tested} tests: {self.worse} worse, "
            f"{better} better."
        )
        return "\n".join(lines + self.remarks)


def compare(one: RunFolder, other: RunFolder, allowed: set[str] | None = None, *, seed: int = 1) -> Comparison:
    """Tell how the second run differs from the first, but for differences that are allowed; see `refuse_unlike`.

    Trials of the same cell and repetition are pairs: where the runs have the same seed they saw the same arrivals. The
    mean is that of the pairs' ratios. p99 is of all requests together, and its change that of the pairs' own. Capacity
    is one calibration a run: its interval also holds how far calibrations stray.

    Raises:
        LoadtestError: The runs differ in what makes them comparable, have nothing in common, no cell with enough pairs
            of valid trials, or too much for any change to be found.
    """
    remarks = [f"Allowed: {reason}." for reason in refuse_unlike(one, other, allowed or set())]
    rng = np.random.default_rng(seed)
    cells: dict[tuple[str, str], Pairs] = {}
    apart: list[str] = []  # cells whose rates differ
    runs = ((one, [0, 0]), (other, [0, 0]))  # each with its invalid trials, and all
    for level, cell in common_cells(one, other):
        mine, theirs = (_valid(run, level, cell, counted) for run, counted in runs)
        pairs = [(mine[number], theirs[number]) for number in sorted(mine.keys() & theirs.keys())]
        found = Pairs(
            [response_times(first, cell) for first, _ in pairs],
            [response_times(second, cell) for _, second in pairs],
            [(answered_hz(first, cell), answered_hz(second, cell)) for first, second in pairs],
            [(first.header.get("asked_hz"), second.header.get("asked_hz")) for first, second in pairs],
        )
        if rates := found.rates_apart():
            apart.append(f"{level.id} {cell.id} ({rates})")
            if RATES not in (allowed or ()):
                continue
        cells[level.id, cell.id] = found
    few = [" ".join(name) for name, pairs in cells.items() if len(pairs.goodput) < changes.LEAST_PAIRS]
    if apart and len(few) == len(cells) and RATES not in (allowed or ()):
        raise LoadtestError(
            f"no cell with {changes.LEAST_PAIRS} pairs of valid trials was asked for the same rate in both runs: "
            f"{', '.join(apart)}. A load in `utilisation` is a share of each run's own calibration; compare runs of a "
            "design with rate_hz, or add "
            f"--allow {','.join(sorted({*(allowed or ()), RATES}))}"
        )
    if apart:
        remarks.append(f"{'Allowed' if RATES in (allowed or ()) else 'Not compared'}: rates: {', '.join(apart)}.")
    left_out = [f"{run.path.name}: {bad} of {count} trials were invalid and left out." for run, (bad, count) in runs]
    if len(few) == len(cells):
        raise LoadtestError(
            f"no cell has {changes.LEAST_PAIRS} pairs of valid trials, so nothing is compared; run both again on a "
            f"quiet machine, with three repetitions or more. {' '.join(left_out)}"
        )
    if few:
        remarks.append(f"Not compared, with fewer than {changes.LEAST_PAIRS} pairs of valid trials: {', '.join(few)}.")
    told_of_all = corrected(told(cells, rng) + _capacities(one, other, rng))
    how = "paired by seed" if one.design.seed == other.design.seed else "not paired: the runs have other seeds"
    title = f"{other.path.name} against {one.path.name}: second ÷ first, 95 % bootstrap intervals, {how}"
    for run, _ in runs:
        told_of = {name: reasons for name, reasons in calibrations(run).items() if name.endswith(_CLOSED)}
        if bad := sum(map(bool, told_of.values())):
            left_out.append(
                f"{run.path.name}: {bad} of {len(told_of)} calibrations of a capacity were disturbed and left out."
            )
    return Comparison(told_of_all, title, remarks + left_out)


def _valid(folder: RunFolder, level: Level, cell: Cell, counted: list[int]) -> dict[int, Trial]:
    record = folder.read_level(level)
    assert record is not None
    law = law_of(folder, level, record, cell)
    found = {}
    for number in folder.design.numbers(cell):
        path = folder.trial_path(level, cell, number)
        if not path.exists():
            continue
        trial = read_trial(path)
        reasons = invalid_because(trial.samples, trial.footer, law.service_s if law else None, folder.design.validity)
        reasons += unmeasured(trial.samples, warmup_s(trial, cell))
        if not reasons:
            found[number] = trial
        counted[0] += bool(reasons)
        counted[1] += 1
    return found


def told(cells: Mapping[tuple[str, str], Pairs], rng: np.random.Generator) -> list[Change]:
    """The changes of mean, p99 and goodput in each cell, and over all cells of several; not corrected yet."""
    found: list[Change] = []
    together: dict[str, list[Floats]] = {}
    coarsest: dict[str, float] = {}
    for (level, cell), pairs in cells.items():
        for metric, first, second, logs in metrics(pairs):
            resolution = one_answer(pairs) if metric == "goodput" else 0.0
            effect = None if logs is None else changes.effect([logs], rng, resolution=resolution)
            found.append(Change(level, cell, metric, first, second, effect))
            if effect is not None and logs is not None:
                together.setdefault(metric, []).append(logs)
                coarsest[metric] = max(coarsest.get(metric, 0.0), resolution)
    for metric, parts in together.items():
        if len(parts) > 1:
            found.append(Change("", ALL, metric, None, None, changes.effect(parts, rng, resolution=coarsest[metric])))
    return found


def corrected(found: list[Change]) -> list[Change]:
    """The same changes with their p-values after Holm's correction."""
    tests = sum(change.effect is not None for change in found)
    if tests >= SIGNIFICANT * (changes.RESAMPLES + 1):
        raise LoadtestError(
            f"{tests} tests are too many: no change could be significant after their correction; compare runs of fewer "
            "levels and cells"
        )
    p_values = iter(holm([change.effect.p for change in found if change.effect is not None]))
    return [change if change.effect is None else replace(change, p=next(p_values)) for change in found]


def _capacities(one: RunFolder, other: RunFolder, rng: np.random.Generator) -> list[Change]:
    found: dict[tuple[str, str], Change] = {}
    spoilt = {name for run in (one, other) for name, reasons in calibrations(run).items() if reasons}
    for level, cell in common_cells(one, other):
        key = level.hardware_id, cell.images_id
        first, second = (_capacity(run, level, cell) for run in (one, other))
        if key not in found and first is not None and second is not None:
            before, after = (_gaps(run, level, cell) for run in (one, other))
            whole = spoilt.isdisjoint(f"{level.hardware_id}.{cell.images_id}.{kind}" for kind in _CLOSED)
            effect = changes.of_capacities(before, after, rng) if whole else None
            found[key] = Change(*key, CAPACITY, first, second, effect)
    return list(found.values())


def _gaps(folder: RunFolder, level: Level, cell: Cell) -> dict[str, list[float]]:
    paths = [folder.calibration_path(level, cell.images_id, kind) for kind in _CLOSED]
    return gaps_of(*(read_trial(path).samples if path.exists() else () for path in paths))


def _capacity(folder: RunFolder, level: Level, cell: Cell) -> float | None:
    record: dict[str, Any] = folder.read_level(level) or {}
    facts = (record.get("capacity") or {}).get(cell.images_id)
    return None if facts is None else float(facts["capacity_hz"])


def _line(change: Change, widths: list[int]) -> str:
    factor = 1e3 if change.metric in _COSTS else 1.0
    values = ["–" if value is None else f"{factor * value:.1f}" for value in (change.first, change.second)]
    change_text, interval, p = "–", "–", "–"
    if change.metric == CAPACITY and change.first and change.second:
        change_text = f"{100 * (change.second / change.first - 1):+.1f} %"
    if change.effect is not None:
        change_text = f"{100 * (change.effect.ratio - 1):+.1f} %"
        interval = f"{100 * (change.effect.low - 1):+.1f} to {100 * (change.effect.high - 1):+.1f} %"
        p = "–" if change.p is None else f"{change.p:.3f}"
    return (
        f"{change.level:<{widths[0]}} {change.cell:<{widths[1]}} {change.metric:<9} {values[0]:>9} {values[1]:>9} "
        f"{change_text:>8} {interval:>18} {p:>6}  {change.verdict}"
    ).rstrip()
