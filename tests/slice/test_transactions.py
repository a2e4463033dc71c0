"""One deployment at a time onto hosts over SSH, and a host that loses its power in the middle of one."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from deployed.slice import Slice
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.slow

BALANCERS = "playbooks/balancers.yml"
UPGRADE = "playbooks/workers.yml"


@contextmanager
def playing(system: Slice, playbook: str, task: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a playbook, and do the block once a task or play of that name has begun."""
    words = [".venv/bin/ansible-playbook", "-i", "inventory/slice", playbook, *arguments]
    environment = os.environ | {"GENI_MANIFEST": str(system.names.manifest)}
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
    with playing(deployed, BALANCERS, "Learn of the workers what the inventory does not say") as first:
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
