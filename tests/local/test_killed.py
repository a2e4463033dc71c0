"""Deployments, rollbacks and removals that are killed or lose their power midway: the next run finishes their work."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from _pytest.mark import ParameterSet

from tests.conftest import REPOSITORY, Deployment, local_deployment
from tests.local.test_transactions import another, built, deploys, record, served

pytestmark = pytest.mark.slow

SEED = 11
PATIENCE_S = 900
# Tasks of a deployment of another model that also changes the balancer, in their order.
DEPLOYING = [
    "Copy the bundle's files",
    "Point current at the bundle",
    "Bring the programs up as configured",
    "Remember what runs now as good",
    "Write the whole nginx.conf",
]
ROLLING_BACK = ["Point current at the earlier release", "Poll the ready address", "Remember what runs now as good"]
# Of these hosts' files the disk is asked to hold all before their names or marks count; tests/ansible looks after that.
HELD = re.compile(r"[^/]+/(app[^/]*|page)/.*|.*/deployment\.json")
PAGE = 4096


@pytest.fixture(scope="module")
def newer(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A bundle that no host has yet; other tests find the deployment as it was."""
    yield another(tmp_path_factory.mktemp("bundles") / "newer", "2.1")
    for play in ("workers", "balancers"):
        deployment.play(play)


def command(system: Deployment, plays: tuple[str, ...], *arguments: str) -> list[str]:
    """Return the command that runs some playbooks, one after the other."""
    return ["ansible-playbook", "-i", str(system.inventory), *(f"playbooks/{play}.yml" for play in plays), *arguments]


def kill_at(task: str, whole: list[str]) -> None:
    """Run a command of Ansible and kill it within half a second, by a seeded delay, after a task has begun."""
    with subprocess.Popen(whole, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        limit = threading.Timer(PATIENCE_S, run.kill)
        limit.start()
        said = []
        for line in run.stdout:
            said.append(line)
            if line.startswith("TASK [") and task in line:
                time.sleep(random.Random(f"{SEED} {task}").uniform(0, 0.4))
                run.kill()
                break
        run.stdout.read()
        limit.cancel()
    assert run.returncode == -signal.SIGKILL, "".join(said)[-4000:]


def check(system: Deployment, bundle: dict[str, Any]) -> None:
    """See that everything serves one deployment, and that every host has written that down."""
    assert served(system) == {bundle["digest"]}
    release = f"{bundle['name']}-{bundle['digest'][:16]}"
    for worker in system.workers:
        found = record(system, worker)
        assert found["runs"]["model"] == found["good"][0]["model"] == release
        assert found["staged"] == {}
    assert requests.get(f"{system.url}/healthz", timeout=60).status_code == 200


def other(system: Deployment, newer: dict[str, Any]) -> dict[str, Any]:
    """The bundle that is not served."""
    return newer if served(system) == {built()["digest"]} else built()


def points(tasks: list[str], kept: str) -> list[ParameterSet]:
    """Every task to kill at; all but one take long."""
    return [pytest.param(task, marks=[] if task == kept else pytest.mark.long) for task in tasks]


@pytest.mark.parametrize("task", points(DEPLOYING, "Point current at the bundle"))
def test_a_deployment_that_is_killed_is_finished_by_the_next_run(
    deployment: Deployment, newer: dict[str, Any], task: str
) -> None:
    wanted = other(deployment, newer)
    # The balancer changes as well: it may wait so long for a worker.
    changes = (*deploys(wanted), "-e", f"balancer_read_timeout_s={40 + DEPLOYING.index(task)}")
    whole = command(deployment, ("workers", "balancers"), *changes)
    kill_at(task, whole)
    assert len(served(deployment)) in {1, 2}  # every worker answers meanwhile, whatever it serves
    done = subprocess.run(whole, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:]
    check(deployment, wanted)


def family(pid: int) -> Iterator[int]:
    """A process and all that it has started: those of nginx do not name the folder."""
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in children.read_text().split():
                yield from family(int(child))


def lose_power(system: Deployment) -> None:
    """End everything at once; of each file that the disk need not hold yet, leave half of its pages, or none."""
    while pids := [each for pid in system.processes() for each in family(pid)]:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)
    for path in (system.folder / ".run").rglob("*"):
        if (
            path.is_file()
            and not path.is_symlink()
            and not HELD.fullmatch(str(path.relative_to(system.folder / ".run")))
        ):
            os.truncate(path, path.stat().st_size // PAGE // 2 * PAGE)


@pytest.mark.parametrize("task", points(DEPLOYING, "Point current at the bundle"))
def test_a_deployment_that_loses_its_power_is_finished_by_the_next_run(
    deployment: Deployment, newer: dict[str, Any], task: str
) -> None:
    wanted = other(deployment, newer)
    changes = (*deploys(wanted), "-e", f"balancer_read_timeout_s={50 + DEPLOYING.index(task)}")
    whole = command(deployment, ("workers", "balancers"), *changes)
    kill_at(task, whole)
    lose_power(deployment)
    done = subprocess.run(whole, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:]
    check(deployment, wanted)


@pytest.mark.parametrize("task", points(ROLLING_BACK, "Point current at the earlier release"))
def test_a_rollback_that_is_killed_is_finished_by_the_next_run(
    deployment: Deployment, newer: dict[str, Any], task: str
) -> None:
    deployment.play("workers", *deploys(other(deployment, newer)))
    target = other(deployment, newer)  # what was served just before
    kill_at(task, command(deployment, ("rollback",)))
    deployment.play("rollback")
    check(deployment, target)


def kill_a_removal(system: Deployment, task: str) -> None:
    """Remove a deployment and kill that at a task; the next run leaves nothing."""
    kill_at(task, command(system, ("down",)))
    system.make("down")
    assert system.processes() == []
    assert [path.name for path in system.folder.iterdir()] == ["inventory"]


@pytest.mark.long
def test_a_removal_that_is_killed_at_its_end_is_finished_by_the_next_run(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    system = local_deployment(tmp_path_factory.mktemp("removed"))
    try:
        system.make("up")
        kill_a_removal(system, "Remove the hosts' folders and supervisor's")
    finally:
        if (system.folder / ".run").exists():
            system.make("down")
