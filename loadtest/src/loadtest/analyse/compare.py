"""Compare the cells that two runs have in common."""

from typing import Any

from loadtest.analyse.statistics import paired_interval, welch_interval
from loadtest.analyse.summary import summarize
from loadtest.errors import LoadtestError
from loadtest.experiments.cells import Level
from loadtest.experiments.folder import RunFolder
from loadtest.experiments.provenance import differences, machine_signature


def compare(one: RunFolder, other: RunFolder) -> str:
    """Tell, for each cell of both, how the second run's mean and p99 differ from the first's.

    The interval is paired where both runs have the same seed, since their trials then saw the same arrivals; otherwise
    it is Welch's.

    Raises:
        LoadtestError: The runs were made on unlike machines or with unlike models, or have no cell in common.
    """
    _refuse_unlike(one, other)
    paired = one.design.seed == other.design.seed
    mine, theirs = _trials(one), _trials(other)
    common = [key for key in mine if key in theirs]
    if not common:
        raise LoadtestError(f"{one.path} and {other.path} have no level and cell in common; compare runs of one design")
    how = "paired by seed" if paired else "Welch"
    lines = [
        f"{other.path.name} against {one.path.name}: mean response time, 95 % interval of the difference ({how})",
        f"{'level':<28} {'cell':<26} {'first ms':>10} {'second ms':>10} {'difference ms':>20}",
    ]
    for key in common:
        before, after = mine[key], theirs[key]
        numbers = sorted(before.keys() & after.keys())
        if paired and len(numbers) > 1:
            difference, half = paired_interval([before[n] for n in numbers], [after[n] for n in numbers])
        else:
            difference, half = welch_interval(list(before.values()), list(after.values()))
        first, second = (1e3 * sum(values.values()) / len(values) for values in (before, after))
        text = "too few trials"
        if difference is not None and half is not None:
            mark = " *" if abs(difference) > half else ""
            text = f"{1e3 * difference:+.1f} ± {1e3 * half:.1f}{mark}"
        lines.append(f"{key[0]:<28} {key[1]:<26} {first:>10.1f} {second:>10.1f} {text:>20}")
    lines.append("* the interval excludes 0")
    return "\n".join(lines)


def _refuse_unlike(one: RunFolder, other: RunFolder) -> None:
    common = [level for level in one.measured_levels() if level in other.measured_levels()]
    levels: list[Level | None] = [*common] or [None]
    unlike = next(filter(None, (differences(_signature(one, level), _signature(other, level)) for level in levels)), [])
    if unlike:
        raise LoadtestError(
            f"{one.path.name} and {other.path.name} were measured on unlike machines or models, so a difference "
            "between them would say nothing of what you changed:\n  - " + "\n  - ".join(unlike)
        )


def _signature(folder: RunFolder, level: Level | None) -> dict[str, Any]:
    """Of this level, or of the first that was measured."""
    for one in [level] if level else folder.measured_levels():
        record = folder.read_level(one)
        if record is not None:
            return machine_signature(record)
    raise LoadtestError(f"{folder.path} holds no measured level yet; `loadtest run` adds them")


def _trials(folder: RunFolder) -> dict[tuple[str, str], dict[int, float]]:
    found: dict[tuple[str, str], dict[int, float]] = {}
    for row in summarize(folder).trials:
        if not row["invalid"] and not row["image"] and row["mean_s"] is not None:
            found.setdefault((row["level"], row["cell"]), {})[row["repetition"]] = row["mean_s"]
    return found
