"""Whether two runs can be compared: the same machines, models, pictures, commits and capacities."""

from typing import Any

from loadtest.compare.changes import CALIBRATIONS_STRAY
from loadtest.errors import LoadtestError
from loadtest.experiments.cells import Cell, Level
from loadtest.experiments.folder import RunFolder
from loadtest.experiments.provenance import differences, machine_signature, source_of

Record = dict[str, Any]
# Two calibrations of one deployment differ by a few per cent; beyond this the load in units of utilisation is another.
_SAME_CAPACITY = 2 * CALIBRATIONS_STRAY
_MODEL = "model "


def refuse_unlike(one: RunFolder, other: RunFolder, allowed: set[str]) -> list[str]:
    """Refuse two runs whose difference would not be that of what was changed.

    Args:
        one: A run.
        other: Another.
        allowed: Kinds of differences that are meant: machines, models, payloads, commits, dirty, capacities.

    Returns:
        The differences that there are and that are allowed.

    Raises:
        LoadtestError: They differ in another way, or have no level in common.
    """
    levels = [level for level in one.measured_levels() if level in other.measured_levels()]
    if not levels:
        raise LoadtestError(f"{one.path} and {other.path} have no measured level in common; compare runs of one design")
    found: dict[str, list[str]] = {}
    for level in levels:
        mine, theirs = one.read_level(level), other.read_level(level)
        assert mine is not None
        assert theirs is not None
        for kind, reasons in _differences(mine, theirs).items():
            found.setdefault(kind, []).extend(reason for reason in reasons if reason not in found.get(kind, []))
    sent = differences(*({key: run.design.client[key] for key in ("body", "keep_alive")} for run in (one, other)))
    if sent:
        found["payloads"] = found.get("payloads", []) + sent
    refused = {kind: reasons for kind, reasons in found.items() if kind not in allowed}
    if refused:
        lines = [f"{kind}: {reason}" for kind, reasons in refused.items() for reason in reasons]
        raise LoadtestError(
            f"{one.path.name} and {other.path.name} differ in {', '.join(refused)}, so a difference between them need "
            f"not come from what you changed; if that is meant, add --allow {','.join(sorted({*refused, *allowed}))}"
            + "".join(f"\n  - {line}" for line in lines)
        )
    return [f"{kind}: {reason}" for kind, reasons in found.items() for reason in reasons]


def common_cells(one: RunFolder, other: RunFolder) -> list[tuple[Level, Cell]]:
    """The cells that both runs have at the same level, with the same load and length.

    Raises:
        LoadtestError: There is none.
    """
    found = [
        (level, cell)
        for level in one.measured_levels()
        if level in other.measured_levels()
        for cell in one.design.cells_at(level)
        if cell in other.design.cells
    ]
    if not found:
        raise LoadtestError(
            f"{one.path} and {other.path} have no cell of the same load and length in common; compare runs of one "
            "design"
        )
    return found


def _differences(mine: Record, theirs: Record) -> dict[str, list[str]]:
    signature = differences(machine_signature(mine), machine_signature(theirs))
    found = {
        "machines": [reason for reason in signature if not reason.startswith(_MODEL)],
        "models": [reason for reason in signature if reason.startswith(_MODEL)],
        "payloads": differences(*(_flat(record.get("images") or {}) for record in (mine, theirs))),
        "capacities": _capacities(mine, theirs),
    }
    sources = [source_of(record) for record in (mine, theirs)]
    commits = [source["commit"] for source in sources]
    if all(commits) and commits[0] != commits[1]:
        found["commits"] = [f"{commits[0][:12]} and {commits[1][:12]}"]
    # A commit with changes is no known program, also where both runs name the same commit.
    changed = [str(source["commit"])[:12] for source in sources if source["dirty"]]
    if changed:
        found["dirty"] = [f"measured with changes that are in no commit: {' and '.join(changed)}"]
    return {kind: reasons for kind, reasons in found.items() if reasons}


def _flat(images: Record) -> Record:
    return {f"{cell} {picture}": facts for cell, pictures in images.items() for picture, facts in pictures.items()}


def _capacities(mine: Record, theirs: Record) -> list[str]:
    shares = ({f"cores of {name}": value for name, value in (record["facts"].get("cpu_cores") or {}).items()}
              for record in (mine, theirs))  # fmt: skip
    reasons = differences(*shares)
    for images, facts in (mine.get("capacity") or {}).items():
        others = (theirs.get("capacity") or {}).get(images)
        if others is not None and abs(others["capacity_hz"] / facts["capacity_hz"] - 1) > _SAME_CAPACITY:
            reasons.append(f"{images}: {facts['capacity_hz']:.1f} and {others['capacity_hz']:.1f} answers/s")
    return reasons
