"""What the pages share: templates, titles, which systems and loads there are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.trials import Run, Trial
from loadtest.draw.pages import environment

LIMITS = {
    "limit served": "in process, no HTTP: the worker's decoder",
    "limit served_pillow": "in process, no HTTP: the worker's Pillow path",
    "limit plain_pillow": "in process, no HTTP: plain Pillow, bilinear",
}
OURS = ("listener", "random", "random_two")


def images_hz(trial: Trial) -> float:
    """Photographs recognised a second."""
    return trial.images_hz


def rendered(name: str, known: Mapping[str, Any]) -> str:
    """Return a page of the template with this name and what it asks for."""
    templates = environment(Path(__file__).parent)
    templates.filters |= {"spoken": spoken, "share": share, "percent": "{:.0%}".format, "flags": flags}
    return templates.get_template(f"{name}.j2").render(known)


def flags(there: Mapping[str, bool]) -> str:
    """Say which instructions a processor has."""
    return ", ".join(f"{flag} {'yes' if has else 'no'}" for flag, has in there.items())


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


def share(load: str) -> str:
    """Return the share of an open load, in per cent."""
    return f"{number(load):.0%}"


def spoken(load: str) -> str:
    """Say a load as people do."""
    kind, _, value = load.partition("-")
    return f"{value} users" if kind == "closed" else f"{share(load)} of the limit"
