"""An experiment by playbook on a local deployment: run, continue, refuse."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from loadtest.experiments.folder import RunFolder
from tests.conftest import REPOSITORY, Deployment

pytestmark = pytest.mark.slow

DESIGN = """
name: local
goal: Does the playbook run what the design says?
seed: 5
repetitions: 5
dirty: true
deployment: {{pool_size: {pools}, policy: least_conn}}
cells:
  - {{arrivals: closed, in_flight: 1, image_px: 32, requests: {requests}}}
"""


def experiment(
    system: Deployment, folder: Path, pools: str, *options: str, requests: int = 3, check: bool = True
) -> str:
    design = folder / "local.yml"
    design.write_text(DESIGN.format(pools=pools, requests=requests))
    extra = f"-e runs_dir={folder} {' '.join(options)}"
    done = system.make("experiment", f"DESIGN={design}", f"ARGS={extra}", check=check)
    assert check or done.returncode != 0
    return done.stdout + done.stderr


T = TypeVar("T")


def eventually(read: Callable[[], T]) -> T:
    """Ask until the answer is true; two minutes at the most."""
    deadline = time.monotonic() + 120
    while not (answer := read()):
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.05)
    return answer


def cmdline(pid: int) -> bytes:
    """The command of a process; empty once it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def complete(run: Path) -> dict[str, bytes]:
    """Every whole samples file of a run."""
    if not (run / "run.json").exists():
        return {}
    folder = RunFolder.open(run)
    return {name: data for name, data in samples(run).items() if folder.is_complete(run / name)}


def samples(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.jsonl.gz")}


def served(system: Deployment) -> set[str]:
    """The digests of the models that the workers serve."""
    found = set()
    for address in system.workers.values():
        with urllib.request.urlopen(f"{address}/version", timeout=10) as reply:
            found.add(json.load(reply)["model"]["digest"])
    return found


def bundles(system: Deployment) -> set[str]:
    return {path.name for path in system.folder.glob(".run/worker*/models/*")}


def starts(system: Deployment) -> int:
    """How often supervisor has started the first worker."""
    return (system.folder / ".run/supervisor/supervisord.log").read_text().count("spawned: 'worker1'")


def test_each_level_is_set_up_measured_and_fetched(deployment: Deployment, tmp_path: Path) -> None:
    served_before, bundles_before, starts_before = served(deployment), bundles(deployment), starts(deployment)
    levels = "[1, 2], model: lite0-128, batch: 2"
    experiment(deployment, tmp_path, levels)
    (run,) = (path.parent for path in tmp_path.glob("*/run.json"))
    assert run.name.startswith("local-")
    assert len(samples(run)) == 2 * 5
    for pool in (1, 2):
        level = json.loads((run / "levels" / f"lite0-128-pool{pool}-least_conn-batch2.json").read_text())
        assert level["version"]["model"]["name"] == "lite0-128"
        assert level["version"]["model"]["digest"] == level["facts"]["model"]["digest"]
        assert level["version"]["batch"] == {"max": 2, "window_ms": 0.0}
        used = json.loads((run / "cpu" / f"lite0-128-pool{pool}-least_conn-batch2.json").read_text())
        assert used.keys() == deployment.workers.keys()
        answered = sum(one["after"]["answers"] - one["before"]["answers"] for one in used.values())
        assert answered == 10 + 5 * 3  # to warm up, and the trials
        assert sum(one["after"]["cpu_s"] - one["before"]["cpu_s"] for one in used.values()) > 0
        assert level["status"]["policy"] == "least_conn"
        assert len(level["status"]["workers"]) == pool
        facts = level["facts"]
        assert facts["hosts"]["worker1"]["processor"]
        assert facts["packages"]["gunicorn"]
        assert any(line.startswith("workers = ") for line in facts["gunicorn"]["worker1"])
        servers = [line for line in facts["nginx"]["balancer"]["settings"] if line.startswith("server ")]
        assert len(servers) == pool

    # Both levels are of one model and one batch; then the worker goes back.
    assert starts(deployment) == starts_before + 2

    # The experiment takes away what it brought.
    assert served(deployment) == served_before
    for address in deployment.workers.values():
        with urllib.request.urlopen(f"{address}/version", timeout=10) as reply:
            assert "batch" not in json.load(reply)
    assert bundles(deployment) == bundles_before

    # What is there is kept, what is missing is run: the same command goes on.
    before = samples(run)
    lost = next(iter(before))
    (run / lost).unlink()
    readings = {path.name: path.read_bytes() for path in (run / "cpu").iterdir()}
    experiment(deployment, tmp_path, levels)
    # The client still had the samples: nothing was measured again, and the readings are those of the measurement.
    assert {path.name: path.read_bytes() for path in (run / "cpu").iterdir()} == readings
    after = samples(run)
    assert after.keys() == before.keys()
    assert {name: data for name, data in after.items() if name != lost} == {
        name: data for name, data in before.items() if name != lost
    }


def test_an_experiment_that_was_killed_goes_on_with_what_the_client_has(deployment: Deployment, tmp_path: Path) -> None:
    """As in a clean clone nothing has made the folder of runs yet, and no sample has been fetched when it is killed."""
    runs = tmp_path / "results/runs"
    client = deployment.folder / ".run/client/imagerec-experiments/runs"
    before = set(client.glob("*"))
    design = tmp_path / "local.yml"
    requests = 40  # so many that it is killed before the last trial ends
    design.write_text(DESIGN.format(pools="2", requests=requests))
    command = [
        "make",
        "experiment",
        f"INVENTORY={deployment.inventory}",
        f"DESIGN={design}",
        f"ARGS=-e runs_dir={runs}",
    ]
    first = subprocess.Popen(command, cwd=REPOSITORY, start_new_session=True, stdout=subprocess.DEVNULL)
    (run,) = eventually(lambda: [path for path in set(client.glob("*")) - before if complete(path)])
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    # Whoever measures may outlive ansible-playbook for a moment.
    eventually(lambda: not [pid for pid in deployment.processes() if b"loadtest" in cmdline(pid)])
    finished = complete(run)
    assert finished
    assert not samples(runs)

    experiment(deployment, tmp_path, "2", f"-e runs_dir={runs}", requests=requests)
    assert [path.parent.name for path in runs.glob("*/run.json")] == [run.name]
    fetched = samples(runs / run.name)
    assert len(fetched) == 5
    assert {name: fetched[name] for name in finished} == finished


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
