"""A level and what is deployed: whether they agree, and the record of what was measured on which machines."""

import asyncio
import datetime
from typing import TYPE_CHECKING, Any

from loadtest.errors import LoadtestError
from loadtest.experiments.awake import awake_otherwise
from loadtest.experiments.cells import Level
from loadtest.experiments.folder import RunFolder, write_json
from loadtest.experiments.provenance import (
    client_facts,
    deployment_signature,
    differences,
    machine_signature,
    measured_source,
    source_of,
)

if TYPE_CHECKING:  # it imports aiohttp, which beginning a run does not need
    from loadtest.generate.client import Client

_SETTLE_S = 15.0
_WAKE_S = 90.0  # workers that slept have to start
# Processes of the model before may still answer for a moment, so so many right answers in a row are wanted.
_SAME_ANSWERS_A_WORKER = 2
_SCALED_BY = ("minimum", "maximum", "objective_s")
_ANOTHER = "another --out (with make: RUN=NAME)"


def now_utc() -> str:
    """The time as provenance states it."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def unlike(level: Level, described: dict[str, Any], facts: dict[str, Any]) -> list[str]:
    """Say in which ways the service is not deployed as a level wants it; empty where it is."""
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


def policy_of(level: Level, record: dict[str, Any]) -> str | None:
    """How the balancer chose at a level: as the level says, else as the service said; None where neither does."""
    return level.policy or (record.get("status") or {}).get("policy")


def batch_of(level: Level, record: dict[str, Any]) -> int:
    """The most photographs of a run of the network: as the level says, else as the workers said; else 1."""
    return level.batch or int(((record.get("version") or {}).get("batch") or {}).get("max", 1))


async def wait_until_as_asked(client: "Client", level: Level, facts: dict[str, Any]) -> dict[str, Any]:
    """Return what the service says of itself once it is deployed as a level says.

    A reload takes a moment to reach every process, so a wrong answer is asked for again, and a right one too.

    Raises:
        LoadtestError: It is still deployed otherwise after 15 s, or does not answer.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + (_SETTLE_S if level.workers_awake is None else _WAKE_S)
    right = 0
    while True:
        described = await client.describe()
        wrong = unlike(level, described, facts)
        if level.workers_awake is not None:
            described["autoscaler"] = await client.autoscaler()
            pool = (described["status"] or {}).get("workers") or []
            wrong += awake_otherwise(level, described["autoscaler"], len(pool))
        right = 0 if wrong else right + 1
        workers = (described["status"] or {}).get("workers") or [1]
        replaced = level.model is not None or level.batch is not None
        if right > (0 if not replaced else _SAME_ANSWERS_A_WORKER * len(workers)):
            return described
        if not wrong:
            continue
        if loop.time() > deadline:
            raise LoadtestError(
                f"the service is not deployed as the level {level.id} says: {'; '.join(wrong)}. "
                "`make experiment` sets it up; by hand: make deploy MODEL=… POLICY=… ARGS='-e balancer_pool_size=…'"
            )
        await asyncio.sleep(0.5)


def begin_record(
    folder: RunFolder, level: Level, described: dict[str, Any], facts: dict[str, Any], *, dirty: bool
) -> dict[str, Any]:
    """Return a level's record: that of its first run where there is one, else a new one.

    Raises:
        LoadtestError: The run was begun on other machines, with another model, on another deployment or at another
            commit, or the checkout has changes that are in no commit and `dirty` does not allow them.
    """
    now = {
        "level": level.id,
        "begun": now_utc(),
        "client": client_facts(),
        "source": measured_source(),
        "facts": facts,
        "version": described["version"],
        "status": described["status"],
    }
    if "autoscaler" in described:
        now["autoscaler"] = {key: described["autoscaler"].get(key) for key in _SCALED_BY}
    source = source_of(now)
    refuse_dirty(source, allowed=dirty)
    refuse_moved(folder, source["commit"])
    for other in folder.measured_levels():
        _refuse_others(folder, level, now, other)
    before = folder.read_level(level)
    if before is None:
        return now
    before.setdefault("continued", []).append({"at": now["begun"], "source": now["source"]})
    return before


def keep_images(folder: RunFolder, level: Level, record: dict[str, Any], images: dict[str, Any]) -> None:
    """Write into a level's record what its cells send; from here on another commit, machine or deployment is refused.

    Raises:
        LoadtestError: The run was begun with other photographs, or the record cannot be written.
    """
    for other in folder.measured_levels():
        before = (folder.read_level(other) or {}).get("images") or images
        if changed := [key for key in sorted({*before, *images}) if before.get(key) != images.get(key)]:
            raise LoadtestError(
                f"{folder.path.name} was begun with other photographs ({', '.join(changed)}), and one cell would mix "
                f"both: give those again, or begin a new run: {_ANOTHER}"
            )
    record["images"] = images
    write_json(folder.level_path(level), record)


def refuse_dirty(source: dict[str, Any], *, allowed: bool) -> None:
    """Refuse to measure what is in no commit, unless that is allowed; a source that is not known passes.

    Raises:
        LoadtestError: The checkout has changes, and that is not meant.
    """
    if source["dirty"] and not allowed:
        raise LoadtestError(
            "the checkout has changes that are in no commit, so nobody could repeat the run: commit them. To try "
            "something, allow it: --dirty (with make: ARGS='-e dirty=true'), or `dirty: true` in the design"
        )


def refuse_moved(folder: RunFolder, commit: str | None) -> None:
    """Refuse to go on at another commit than the run's levels have; a commit that is not known passes.

    Raises:
        LoadtestError: A level was measured at another commit.
    """
    for level in folder.measured_levels():
        before = source_of(folder.read_level(level) or {})["commit"]
        if before and commit and before != commit:
            raise LoadtestError(
                f"{folder.path.name} was begun at commit {before[:12]}, and now it is {commit[:12]}: all levels of a "
                f"run share one commit. To go on with it: git switch --detach {before[:12]}, then deploy and measure "
                f"again. To begin a new run: {_ANOTHER}"
            )


def _refuse_others(folder: RunFolder, level: Level, now: dict[str, Any], other: Level) -> None:
    """Refuse what is there now where a level that is measured already, this one or another, was measured otherwise."""
    before = folder.read_level(other)
    assert before is not None
    models = other.model == level.model
    others = differences(machine_signature(before, models=models), machine_signature(now, models=models))
    if others:
        raise LoadtestError(
            f"{folder.path.name} was begun on other machines or with another model "
            f"({'; '.join(others)}); samples of unlike machines do not merge: begin a new run"
        )
    levels = () if other == level else (level, other)
    others = differences(deployment_signature(before, levels), deployment_signature(now, levels))
    if others:
        raise LoadtestError(
            f"{other.id} of {folder.path.name} was measured on another deployment ({'; '.join(others)}), and samples "
            f"of unlike deployments do not merge: deploy it so again, or begin a new run: {_ANOTHER}"
        )
