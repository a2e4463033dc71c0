"""What a figure says of the trials behind it: the end of its caption, and a mark where some of them are missing."""

from collections.abc import Iterable, Mapping, Sequence

from matplotlib.axes import Axes

from loadtest.draw.style import Row
from loadtest.experiments.folder import RunFolder

RINGED = "ring: trials missing"


def provenance(folder: RunFolder, rows: Sequence[Row], *, bars: bool = True) -> str:
    """The end of a caption: trials, requests, seed, and where it ran.

    Args:
        folder: The run.
        rows: Rows of the summary that are shown.
        bars: Say what the bars are; False where the figure has none, or others.
    """
    trials = sum(row["valid_trials"] for row in rows)
    invalid = sum(row["trials"] for row in rows) - trials
    count = sum(row["n"] for row in rows)
    errors = sum(row["errors"] for row in rows)
    shown = {row["level"] for row in rows}
    records = [folder.read_level(level) or {} for level in folder.measured_levels() if level.id in shown]
    parts = [
        f"n = {count:,} requests in {trials} trials of {asked(folder, rows)} a cell",
        f"{errors:,} failed" if errors else "none failed",
    ]
    if invalid:
        parts.append(f"{invalid} invalid trial{'s' if invalid > 1 else ''} left out")
    if few := _missing(folder, rows):
        parts.append(few)
    parts += _either(_share(record["facts"].get("cpu_cores")) for record in records)
    if bars:
        parts.append("bars: 95 % t-interval over trials, on a logarithmic axis that of the logarithm, "
                     "none where one trial counts")  # fmt: skip
    parts.append(f"seed {folder.design.seed}")
    models = (record["version"]["model"] for record in records)
    parts += _either(f"model {model['name']} {model['version']}" for model in models)
    return "; ".join(parts) + "."


def _either(said: Iterable[str]) -> list[str]:
    """What levels say, as one part of a caption; none where nobody says anything."""
    different = dict.fromkeys(one for one in said if one)
    return [" or ".join(different)] if different else []


def _share(cores: Mapping[str, float | None] | None) -> str:
    """How many cores a worker has, the first one for all; empty where nobody limits them."""
    share = next(iter((cores or {}).values()), None)
    if not share:
        return ""
    return f"{float(share):.2g} {'of a CPU core' if float(share) < 1 else 'CPU core'} a worker"


def level_of(row: Row, rows: Sequence[Row]) -> str:
    """Such as `, pool2-random`, for the name of a series; empty where all rows are of one level."""
    return "" if len({one["level"] for one in rows}) == 1 else f", {row['level']}"


def where(folder: RunFolder, rows: Sequence[Row], share: str) -> str:
    """Whose cores the levels of these rows had, without a full stop; `share` is the verb where one machine has all."""
    records = [folder.read_level(folder.design.level(row["level"])) or {} for row in rows]
    parts, client = "Load generator, balancer and workers", records[0]["client"]
    if all(record["facts"].get("one_machine", True) for record in records):  # earlier runs were, and do not say it
        return f"{parts} {share} {client['cores']} cores ({client['processor']})"
    found: set[str] = set()
    for facts in (record["facts"] for record in records):
        hosts, given = facts.get("hosts") or {}, facts.get("cpu_cores") or {}
        found |= {f"{float(given[name] or hosts[name]['cores']):g} ({hosts[name]['processor']})" for name in given}
    own = f"; cores of a worker: {' or '.join(sorted(found))}" if found else ""
    return f"{parts} were not on one machine{own}"


def asked_trials(folder: RunFolder, row: Row) -> int:
    """How many trials the design asks for of a row's cell; those that there are, where the row names no cell."""
    cell = next((one for one in folder.design.cells if one.id == row.get("cell")), None)
    return int(row["trials"]) if cell is None else len(folder.design.numbers(cell))


def asked(folder: RunFolder, rows: Sequence[Row]) -> str:
    """How many trials the design asks for of each row's cell, such as `1 or 5`."""
    return " or ".join(map(str, sorted({asked_trials(folder, row) for row in rows})))


def lacks(folder: RunFolder, row: Row) -> bool:
    """Whether a row's cell has fewer valid trials than the design asks for."""
    return int(row["valid_trials"]) < asked_trials(folder, row)


def trials_of(folder: RunFolder, row: Row) -> str:
    """Such as ` (4 of 5 trials)`, for the name of a cell that is no point; empty where no trial is missing."""
    return f" ({row['valid_trials']} of {asked_trials(folder, row)} trials)" if lacks(folder, row) else ""


def ring(panel: Axes, folder: RunFolder, rows: Sequence[Row], places: Sequence[float], values: Sequence[float]) -> None:
    """Draw a ring round the points (place, value) of cells that have fewer valid trials than the design asks for."""
    few = [(place, value) for row, place, value in zip(rows, places, values, strict=True) if lacks(folder, row)]
    if few:
        panel.plot(*zip(*few, strict=True), linestyle="none", marker="o", markersize=11, markerfacecolor="none",
                   markeredgecolor="#222222", markeredgewidth=0.9, zorder=5, label=RINGED)  # fmt: skip


def _missing(folder: RunFolder, rows: Sequence[Row]) -> str:
    few = [row for row in rows if lacks(folder, row)]
    if not few:
        return ""
    least = min(few, key=lambda row: int(row["valid_trials"]))
    return (
        f"{len(few)} cell{'s have' if len(few) > 1 else ' has'} fewer valid trials than asked (marked), "
        f"at the least {least['valid_trials']} of {asked_trials(folder, least)}"
    )
