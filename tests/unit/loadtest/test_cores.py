"""Service times of one machine are a worker's only where every process had a core."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from loadtest.cli import main
from loadtest.experiments.cores import shared_cores


@pytest.mark.parametrize(
    ("one_machine", "cores", "workers", "processes", "shared"),
    [
        pytest.param(True, 2, 2, 1, True, id="two-workers-on-two-cores"),
        pytest.param(True, 2, 1, 1, False, id="one-worker-on-two-cores"),
        pytest.param(True, 4, 2, 2, True, id="workers-of-two-processes"),
        pytest.param(True, 8, 2, 2, False, id="enough-cores"),
        pytest.param(False, 2, 4, 1, False, id="machines-of-their-own"),
        pytest.param(None, 2, 4, 1, False, id="an-earlier-run"),
    ],
)
def test_workers_that_share_cores_are_no_model_of_others(
    one_machine: bool | None, cores: int, workers: int, processes: int, shared: bool
) -> None:
    record: dict[str, Any] = {
        "client": {"cores": cores},
        "facts": {} if one_machine is None else {"one_machine": one_machine},
        "status": {"workers": [f"worker{number}" for number in range(workers)]},
        "capacity": {"64px": {"processes": processes}},
    }
    said = shared_cores(record)
    assert (said is not None) == shared
    if said is not None:
        assert said.startswith(
            f"{workers * processes} worker processes and the load generator shared the {cores} cores"
        )


def test_a_plan_says_that_its_workers_shared_their_cores(
    measured: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(measured, run)
    (level,) = (run / "levels").glob("*.json")
    record = json.loads(level.read_text())
    words = ["plan", "--rate", "5", "--slo-p99", "2", "--from", str(run)]
    for one_machine in (False, True):
        record["facts"]["one_machine"] = one_machine
        level.write_text(json.dumps(record | {"client": record["client"] | {"cores": 2}}))
        assert main(words) == 0
        said = capsys.readouterr().out
        assert (
            "Too many workers, since 2 worker processes and the load generator shared the 2 cores" in said
        ) == one_machine


@pytest.mark.parametrize("one_machine", [True, False])
@pytest.mark.parametrize("said", ["two", None, 0])
@pytest.mark.parametrize("key", ["cores", "processes"])
def test_a_record_without_a_number_of_them_is_one_message(
    measured: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], *, key: str, said: object, one_machine: bool
) -> None:
    run = tmp_path / "run"
    shutil.copytree(measured, run)
    (level,) = (run / "levels").glob("*.json")
    record = json.loads(level.read_text())
    record["facts"]["one_machine"] = one_machine
    for facts in [record["client"]] if key == "cores" else record["capacity"].values():
        facts[key] = said
    level.write_text(json.dumps(record))
    needed = one_machine or key == "processes"
    assert main(["plan", "--rate", "5", "--slo-p99", "2", "--from", str(run)]) == (1 if needed else 0)
    wrong = (
        f"loadtest: a level's record says {said!r} {key}, which is no whole number above 0; measure the level again\n"
    )
    assert capsys.readouterr().err == (wrong if needed else "")
