"""One deployment at a time onto hosts over SSH, and a host that loses its power in the middle of one."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from rspec.local_slice.limits import Limiter
from tests.conftest import REPOSITORY, clean_environment
from tests.slice.conftest import Slice, eventually
from tests.slice.test_system import cut

BALANCERS = "playbooks/balancers.yml"
UPGRADE = "playbooks/workers.yml"


@contextmanager
def playing(system: Slice, playbook: str, task: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a playbook, and do the block once a task or play of that name has begun."""
    words = [".venv/bin/ansible-playbook", "-i", "inventory/slice", playbook, *arguments]
    environment = clean_environment() | {"GENI_MANIFEST": str(system.names.manifest)}
    with subprocess.Popen(words, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        printed = []
        for line in run.stdout:
            printed.append(line)
            if task in line:
                break
        else:
            raise AssertionError("".join(printed)[-4000:])
        yield run
        run.stdout.read()


def test_a_second_deployment_is_refused_until_the_first_has_ended_or_was_killed(deployed: Slice) -> None:
    with playing(deployed, BALANCERS, "Learn the workers' addresses") as first:
        # It has the lock and is held there. The process that keeps the lock goes on.
        first.send_signal(signal.SIGSTOP)
        try:
            assert first.poll() is None, "the first deployment ended before it could be held"
            refused = deployed.play(UPGRADE, check=False)
            assert refused.returncode != 0
            said = " ".join(refused.stdout.split())
            assert "balancer is in the hands of another run" in said
            assert "has run balancers.yml since 20" in said
            assert f"(process {first.pid})" in said
            assert "Stage code and model" not in said
        finally:
            first.kill()
    deployed.play(BALANCERS)


def record(system: Slice, worker: str) -> dict[str, object]:
    """What is written down on a worker."""
    found: dict[str, object] = json.loads(system.on(worker, "cat /etc/imagerec-worker/deployment.json"))
    return found


@pytest.mark.parametrize("task", ["Copy the bundle's files", "Roll the workers over", "Remember the deployment"])
def test_a_host_that_loses_its_power_in_the_middle_is_repaired_by_the_next_run(
    deployed: Slice, task: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Two deployments of the bundle under another version: one is cut off, the other goes through."""
    built = json.loads((REPOSITORY / "dist/bundle.json").read_text())
    folder = tmp_path_factory.mktemp("bundle") / "newer"
    subprocess.run(["cp", "-r", built["path"], str(folder)], check=True)
    manifest = folder / "bundle.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"version": f"2.0 {task}"}))
    digest = subprocess.run(["sha256sum", str(manifest)], capture_output=True, text=True, check=True).stdout.split()[0]
    bundle = json.dumps({"built_bundle": built | {"path": str(folder), "digest": digest}})
    before = record(deployed, "worker1")["good"]
    victim = "worker2"
    with playing(deployed, UPGRADE, task, "-e", bundle) as cut_off:
        # The wire first: a machine without power says no goodbye.
        cut(deployed, victim, "down")
        Limiter(deployed.name).kill(victim)
    assert cut_off.wait() != 0
    assert record(deployed, "worker1")["good"] == before or task == "Remember the deployment"
    cut(deployed, victim, "up")
    deployed.tool("boot", victim)
    eventually("the host is back", lambda: deployed.on(victim, "true") == "")
    deployed.run(".venv/bin/ansible-playbook", "-i", "inventory/slice", UPGRADE, "-e", bundle)
    release = f"{built['name']}-{digest[:16]}"
    for worker in ("worker1", victim):
        answer = json.loads(deployed.on(worker, "curl -sf http://$(hostname):5000/version"))
        assert answer["model"]["digest"] == digest
        found = record(deployed, worker)
        assert found["runs"]["model"] == release  # type: ignore[index]
        assert found["staged"] == {}
    # What was good before has outlived the cut, on every host.
    deployed.make("rollback", "INVENTORY=inventory/slice")
    assert record(deployed, victim)["good"][1]["model"] == release  # type: ignore[index]
