"""A level and what is deployed: whether they agree, and the record of what was measured on which machines."""

import datetime
from typing import Any

from loadtest.errors import LoadtestError
from loadtest.experiments.cells import Level
from loadtest.experiments.folder import RunFolder
from loadtest.experiments.provenance import client_facts, differences, machine_signature, source_state


def now_utc() -> str:
    """The time as provenance states it."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def unlike(level: Level, described: dict[str, Any], facts: dict[str, Any]) -> list[str]:
    """Say in which ways the service is not deployed as a level wants it; empty where it is.

    Args:
        level: The level.
        described: What the service says of itself.
        facts: What is known of the deployment.
    """
    status = described["status"] or {}
    wrong = []
    if level.policy is not None and status.get("policy") != level.policy:
        wrong.append(f"its balancing policy is {status.get('policy')}, not {level.policy}")
    pool = len(status.get("workers") or [])
    if level.pool_size is not None and pool != level.pool_size:
        wrong.append(f"its pool has {pool} workers, not {level.pool_size}")
    model = described["version"]["model"].get("name")
    # A bundle's name leaves out what is usual: lite0-224 is called lite0.
    wanted = (facts.get("model") or {}).get("name", level.model)
    if level.model is not None and model != wanted:
        wrong.append(f"its model is {model}, not {wanted}")
    batch = described["version"].get("batch", {"max": 1, "window_ms": 0.0})
    if level.batch is not None and batch["max"] != level.batch:
        wrong.append(f"its runs have up to {batch['max']} photographs, not {level.batch}")
    if level.batch not in {None, 1} and level.batch_window_ms not in {None, batch["window_ms"]}:
        wrong.append(f"its runs wait {batch['window_ms']:g} ms, not {level.batch_window_ms:g}")
    return wrong


def begin_record(folder: RunFolder, level: Level, described: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
    """Return a level's record: that of its first run where there is one, else a new one.

    Raises:
        LoadtestError: The run, or this level of it, was begun on other machines or with another model.
    """
    now = {
        "level": level.id,
        "begun": now_utc(),
        "client": client_facts(),
        "source": source_state(),
        "facts": facts,
        "version": described["version"],
        "status": described["status"],
    }
    before = folder.read_level(level)
    if before is None:
        others = [other for other in folder.measured_levels() if other != level]
        same_model = [other for other in others if other.model == level.model]
        before = folder.read_level((same_model or others)[0]) if others else None
        _refuse_others(folder, now, before, "was begun", models=bool(same_model))
        return now
    _refuse_others(folder, now, before, "was begun")
    before.setdefault("continued", []).append({"at": now["begun"], "source": now["source"]})
    return before


def _refuse_others(
    folder: RunFolder, now: dict[str, Any], before: dict[str, Any] | None, when: str, *, models: bool = True
) -> None:
    if before is None:
        return
    others = differences(machine_signature(before, models=models), machine_signature(now, models=models))
    if others:
        raise LoadtestError(
            f"{folder.path.name} {when} on other machines or with another model "
            f"({'; '.join(others)}); samples of unlike machines do not merge: begin a new run"
        )
