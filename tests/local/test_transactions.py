"""What a deployment that failed or was killed leaves: the service as it was, and all that the next run needs."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import REPOSITORY, Deployment, clean_environment, free_ports, local_deployment


def words(text: str) -> str:
    """Undo Ansible's folding of long lines."""
    return " ".join(text.split())


def built() -> dict[str, Any]:
    """The bundle that was built last."""
    found: dict[str, Any] = json.loads((REPOSITORY / "dist/bundle.json").read_text())
    return found


@pytest.fixture(scope="module")
def newer(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A copy of the deployed bundle, of another version."""
    del deployment  # has built it
    folder = tmp_path_factory.mktemp("bundles") / "newer"
    shutil.copytree(built()["path"], folder)
    manifest = folder / "bundle.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"version": "2.0"}))
    digest = hashlib.sha256(manifest.read_bytes()).hexdigest()
    return built() | {"path": str(folder), "digest": digest, "version": "2.0"}


def served(system: Deployment) -> set[str]:
    """The digests of the models that the workers serve."""
    return {requests.get(f"{url}/version", timeout=5).json()["model"]["digest"] for url in system.workers.values()}


def record(system: Deployment, worker: str) -> dict[str, Any]:
    """What is written down on a host."""
    found: dict[str, Any] = json.loads((system.folder / f".run/{worker}/etc/deployment.json").read_text())
    return found


def deploys(bundle: dict[str, Any]) -> tuple[str, str]:
    """Arguments by which the workers' playbook deploys a bundle."""
    return "-e", json.dumps({"built_bundle": bundle})


class Stranger(BaseHTTPRequestHandler):
    """Another program, which answers everything with 200."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def stranger(port: int) -> Iterator[None]:
    """Let another program have a port."""
    with ThreadingHTTPServer(("127.0.0.1", port), Stranger) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield
        finally:
            server.shutdown()


def test_a_reload_that_has_no_effect_is_a_failure_and_is_tried_again(deployment: Deployment) -> None:
    """The new port is taken: nginx accepts the configuration, takes the signal, and goes on with the old one."""
    before = requests.get(f"{deployment.url}/status", timeout=5).json()
    (port,) = free_ports(1)
    change = ("-e", f"balancer_port={port}", "-e", "service_ready_timeout_s=4")
    with stranger(port):
        failed = deployment.play("balancers", *change, check=False)
        assert failed.returncode != 0
        said = words(failed.stdout)
        assert f"did not answer 200 at http://127.0.0.1:{port}/status with its new configuration" in said
        assert f"bind() to 127.0.0.1:{port} failed (98: Address already in use)" in said
        assert requests.get(f"{deployment.url}/status", timeout=5).json() == before
    try:
        deployment.play("balancers", *change)
        after = requests.get(f"http://127.0.0.1:{port}/status", timeout=5).json()
        assert after["configuration"] != before["configuration"]
    finally:
        deployment.play("balancers")
    assert requests.get(f"{deployment.url}/status", timeout=5).json() == before


def test_a_host_that_fails_while_it_is_staged_stops_the_deployment_of_all(
    deployment: Deployment, newer: dict[str, Any]
) -> None:
    old = built()["digest"]
    release = f"{newer['name']}-{newer['digest'][:16]}"
    obstacle = deployment.folder / ".run/worker2/models" / release
    obstacle.write_text("a file where a folder must be")
    before = record(deployment, "worker2")
    failed = deployment.play("workers", *deploys(newer), check=False)
    assert failed.returncode != 0
    assert served(deployment) == {old}
    assert record(deployment, "worker2") == before
    assert record(deployment, "worker1")["runs"] == before["runs"]
    obstacle.unlink()
    try:
        deployment.play("workers", *deploys(newer))
        assert served(deployment) == {newer["digest"]}
        for worker in deployment.workers:
            found = record(deployment, worker)
            assert found["runs"]["model"] == release
            assert [names["model"] for names in found["good"]] == [release, before["runs"]["model"]]
            assert found["staged"] == {}
        # What was good before has outlived the failure.
        deployment.play("rollback")
        assert served(deployment) == {old}
    finally:
        deployment.play("workers")
    assert served(deployment) == {old}
    assert Path(deployment.folder / ".run/worker1/models" / release).exists()


SITE = ("workers", "balancers", "clients")  # what site.yml changes hosts by
SEED = 11
PATIENCE_S = 900


def command(system: Deployment, plays: tuple[str, ...], arguments: tuple[str, ...]) -> list[str]:
    """Return the command that runs some playbooks, one after the other."""
    return ["ansible-playbook", "-i", str(system.inventory), *(f"playbooks/{play}.yml" for play in plays), *arguments]


def count_tasks(system: Deployment, plays: tuple[str, ...], arguments: tuple[str, ...] = ()) -> int:
    """Run playbooks to their end; return how many tasks were begun. What all hosts pass by is not among them."""
    done = subprocess.run(
        command(system, plays, arguments),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        env=clean_environment(),
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return sum(line.startswith("TASK [") for line in done.stdout.splitlines())


def kill_at(
    system: Deployment,
    plays: tuple[str, ...],
    arguments: tuple[str, ...],
    share: float,
    delay_s: float,
    *,
    whole: int,
) -> str:
    """Run playbooks and kill Ansible so long after a share of their tasks has begun; return the task's name.

    `whole` is how many tasks such a run begins. It is killed before the last of them, however quick they are.
    """
    last = whole - 3
    number = min(max(1, round(share * whole)), last)
    begun: list[str] = []
    with subprocess.Popen(
        command(system, plays, arguments), cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, env=clean_environment()
    ) as run:
        assert run.stdout is not None
        timers = [threading.Timer(PATIENCE_S, run.kill), threading.Timer(delay_s, run.kill)]
        timers[0].start()
        for line in run.stdout:
            begun += [line.strip("* \n")] if line.startswith("TASK [") else []
            if len(begun) == number and timers[1].ident is None:
                timers[1].start()
            if len(begun) == last:
                run.kill()
        for timer in timers:
            timer.cancel()
    assert len(begun) >= number, f"{len(begun)} tasks were begun, {number} of {whole} were expected: {begun[-1:]}"
    assert run.returncode == -signal.SIGKILL, f"it ended by itself with {run.returncode}, after {begun[-1]}"
    return begun[number - 1]


def other(system: Deployment, newer: dict[str, Any]) -> dict[str, Any]:
    """The bundle that is not served."""
    return newer if served(system) == {built()["digest"]} else built()


@pytest.fixture(scope="module")
def site_tasks(deployment: Deployment, newer: dict[str, Any]) -> int:
    """How many tasks a changed deployment begins; both bundles are on the hosts then."""
    counts = [
        count_tasks(deployment, SITE, (*deploys(other(deployment, newer)), "-e", f"balancer_read_timeout_s={seconds}"))
        for seconds in (28, 29)
    ]
    return counts[-1]


@pytest.fixture(scope="module")
def rollback_tasks(deployment: Deployment, newer: dict[str, Any]) -> int:
    """How many tasks a rollback begins."""
    for _ in range(2):
        deployment.play("workers", *deploys(other(deployment, newer)))
    return count_tasks(deployment, ("rollback",))


@pytest.fixture(scope="module")
def removal_tasks(tmp_path_factory: pytest.TempPathFactory) -> int:
    """How many tasks a removal begins."""
    system = local_deployment(tmp_path_factory.mktemp("removed"))
    try:
        system.make("up")
        return count_tasks(system, ("down",))
    except BaseException:
        system.make("down")
        raise


def check(system: Deployment, bundle: dict[str, Any]) -> None:
    """See that everything serves one deployment, and that every host has written that down."""
    assert served(system) == {bundle["digest"]}
    release = f"{bundle['name']}-{bundle['digest'][:16]}"
    for worker in system.workers:
        found = record(system, worker)
        assert found["runs"]["model"] == found["good"][0]["model"] == release
        assert found["staged"] == {}
    assert requests.get(f"{system.url}/healthz", timeout=5).status_code == 200


@pytest.mark.parametrize("share", [round(random.Random(SEED + n).uniform(n, n + 1) / 5, 3) for n in range(5)])
def test_a_deployment_that_is_killed_is_finished_by_the_next_run(
    deployment: Deployment, newer: dict[str, Any], share: float, site_tasks: int
) -> None:
    wanted = other(deployment, newer)
    # The balancer changes as well: it may wait so long for a worker.
    arguments = (*deploys(wanted), "-e", f"balancer_read_timeout_s={30 + round(share * 20)}")
    task = kill_at(deployment, SITE, arguments, share, random.Random(share).uniform(0, 1), whole=site_tasks)
    print(f"killed at {task}")
    served(deployment)  # both answer meanwhile, whatever they serve
    done = subprocess.run(
        command(deployment, SITE, arguments), cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:]
    check(deployment, wanted)


@pytest.mark.parametrize("share", [0.45, 0.75, 0.95])
def test_a_rollback_that_is_killed_is_finished_by_the_next_run(
    deployment: Deployment, newer: dict[str, Any], share: float, rollback_tasks: int
) -> None:
    last = newer if served(deployment) == {newer["digest"]} else built()
    target = built() if last is newer else newer
    deployment.play("workers", *deploys(target))
    deployment.play("workers", *deploys(last))
    task = kill_at(deployment, ("rollback",), (), share, random.Random(share).uniform(0, 1), whole=rollback_tasks)
    print(f"killed at {task}")
    deployment.play("rollback")
    check(deployment, target)


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_a_removal_that_is_killed_is_finished_by_the_next_run(tmp_path: Path, share: float, removal_tasks: int) -> None:
    system = local_deployment(tmp_path)
    system.make("up")
    task = kill_at(system, ("down",), (), share, 0.2, whole=removal_tasks)
    print(f"killed at {task}")
    system.make("down")
    assert system.processes() == []
    assert [path.name for path in system.folder.iterdir()] == ["inventory"]
