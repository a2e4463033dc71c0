"""What the sections of the page share: tables, titles, which systems and loads there are."""

from __future__ import annotations

from collections.abc import Iterable

from bench.trials import Run, Trial

LIMITS = {
    "limit served": "in process, no HTTP: the worker's decoder",
    "limit served_pillow": "in process, no HTTP: the worker's Pillow path",
    "limit plain_pillow": "in process, no HTTP: plain Pillow, bilinear",
}
OURS = ("listener", "random", "random_two")


def images_hz(trial: Trial) -> float:
    """Photographs recognised a second."""
    return trial.images_hz


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Write a table."""
    titles = list(head)
    lines = [titles, ["---"] * len(titles), *map(list, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def systems(run: Run) -> dict[str, str]:
    """Return the titles of the systems that served to the end, by key."""
    return {key: title for key, title in run.facts["systems"].items() if key not in run.facts["lost"]}


def peers(run: Run) -> list[str]:
    """Return the keys of the systems that are not ours."""
    return [key for key in systems(run) if key not in OURS]


def titles(run: Run) -> dict[str, str]:
    """Return the titles of the limits and the systems, by key."""
    return LIMITS | systems(run)


def loads(run: Run, kind: str) -> list[str]:
    """Return the loads of a kind, closed or open, the lightest first."""
    return sorted({trial.load for trial in run.trials if trial.load.startswith(kind)}, key=number)


def number(load: str) -> float:
    """Return the users or the share of a load."""
    return float(load.partition("-")[2])


def spoken(load: str) -> str:
    """Say a load as people do."""
    kind, _, value = load.partition("-")
    return f"{value} users" if kind == "closed" else f"{float(value):.0%} of the limit"
