"""`make verify` where nothing runs names the next step."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import local_deployment


def test_without_a_deployment_the_next_step_is_named_once(tmp_path: Path) -> None:
    done = local_deployment(tmp_path).make("verify", check=False, output="brief")
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if "worker" in line]
    assert len(said) == 1
    assert said[0].startswith("worker1, worker2: nothing is deployed, or it is stopped")
    assert "`make up` deploys to this machine" in said[0]
