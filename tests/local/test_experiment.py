"""An experiment by playbook on a local deployment: run, continue, refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import Deployment

DESIGN = """
name: local
goal: Does the playbook run what the design says?
seed: 5
repetitions: 2
minutes: 1
deployment: {{pool_size: {pools}, policy: least_conn}}
cells:
  - {{arrivals: closed, in_flight: 1, image_px: 32, requests: 3}}
"""


def experiment(system: Deployment, folder: Path, pools: str, *options: str, check: bool = True) -> str:
    design = folder / "local.yml"
    design.write_text(DESIGN.format(pools=pools))
    extra = f"-e runs_dir={folder} {' '.join(options)}"
    done = system.make("experiment", f"DESIGN={design}", f"ARGS={extra}", check=check)
    assert check or done.returncode != 0
    return done.stdout + done.stderr


def samples(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.jsonl.gz")}


def test_each_level_is_set_up_measured_and_fetched(deployment: Deployment, tmp_path: Path) -> None:
    experiment(deployment, tmp_path, "[1, 2]")
    (run,) = (path.parent for path in tmp_path.glob("*/run.json"))
    assert run.name.startswith("local-")
    assert len(samples(run)) == 2 * 2
    for pool in (1, 2):
        level = json.loads((run / "levels" / f"pool{pool}-least_conn.json").read_text())
        assert level["status"]["policy"] == "least_conn"
        assert len(level["status"]["workers"]) == pool
        facts = level["facts"]
        assert facts["hosts"]["worker1"]["processor"]
        assert facts["packages"]["gunicorn"]
        assert any(line.startswith("workers = ") for line in facts["gunicorn"]["worker1"])
        servers = [line for line in facts["nginx"]["balancer"]["settings"] if line.startswith("server ")]
        assert len(servers) == pool

    # What is there is kept, what is missing is run: the same command goes on.
    before = samples(run)
    lost = next(iter(before))
    (run / lost).unlink()
    experiment(deployment, tmp_path, "[1, 2]")
    after = samples(run)
    assert after.keys() == before.keys()
    assert {name: data for name, data in after.items() if name != lost} == {
        name: data for name, data in before.items() if name != lost
    }


@pytest.mark.parametrize(
    ("pools", "says"),
    [
        pytest.param("[1, 4]", "the inventory has 2 workers", id="too-few-workers"),
        pytest.param("2, slow_worker: 3", "none can have a CPU share of its own", id="no-shares"),
    ],
)
def test_levels_that_this_machine_cannot_have_are_refused_at_once(
    deployment: Deployment, tmp_path: Path, pools: str, says: str
) -> None:
    output = " ".join(experiment(deployment, tmp_path, pools, check=False).split())
    assert says in output
    assert "make slice-up" in output
    assert not list(tmp_path.glob("*/run.json"))
