"""`README.md` beside the folder of a run, written from its template: every number comes from the faults' records."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from loadtest.draw import results_page


def write(run: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Write the page beside a run's folder, where its template is.

    Raises:
        LoadtestError: The template is wrong, or asks for what no record has.
    """
    if (run.parent / results_page.TEMPLATE).exists():
        (run.parent / results_page.PAGE).write_text(render(run, records), encoding="utf-8")


def render(run: Path, records: Iterable[Mapping[str, Any]]) -> str:
    """Return the page: its template asks for `rows` and `groups`.

    Raises:
        LoadtestError: As `write`.
    """
    told = [_told(run, record) for record in records]
    return results_page.filled(run.parent, {"rows": told, "groups": _groups(told)})


def _told(run: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the page says of a fault: its row, and how it was recorded."""
    model = record["deployed"]["version"]["model"]
    shares = {cores for name, cores in record["cores"].items() if name.startswith("worker")}
    return {
        **record["row"],
        "what": record["what"],
        "figure": f"{run.name}/{record['row']['fault']}.png",
        "missed": [text for text, met in record["bar"].items() if not met],
        "capacity_hz": record["capacity_hz"],
        "recorded": (
            record["commit"][:7] + (" (changed files)" if record["dirty"] else ""),
            f"{model['name']} {model['version']}",
            ", ".join(f"{cores:g}" for cores in sorted(shares)),
            _links(record),
            str(_places(record)),
        ),
    }


def _links(record: Mapping[str, Any]) -> str:
    """Return the rates of the links in Mbit/s; records of a time that did not note them have the profile's."""
    rates = set(record.get("link_kbps", {"client": 100_000}).values())
    return ", ".join("no limit" if rate is None else f"{rate / 1000:g}" for rate in sorted(rates, key=str))


def _places(record: Mapping[str, Any]) -> int:
    """Return how many requests a worker had at once: the fault's own setting, or what was deployed."""
    own = record["settings"].get("balancer_max_conns")
    return int(record["deployed"]["status"]["limits"]["max_conns"] if own is None else own)


def _groups(told: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the faults that were recorded alike: by commit, model, cores and places of a worker, and links."""
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = collections.defaultdict(list)
    for each in told:
        groups[each["recorded"]].append(each)
    return [
        {
            "commit": commit,
            "model": model,
            "cores": cores,
            "links": links,
            "places": places,
            "faults": [each["fault"] for each in rows],
            "requests": sum(each["requests"] for each in rows),
            "least_hz": min(each["capacity_hz"] for each in rows),
            "most_hz": max(each["capacity_hz"] for each in rows),
        }
        for (commit, model, cores, links, places), rows in groups.items()
    ]
