"""Levels of an experiment that hold a real autoscaler, and what is refused where there is none."""

from __future__ import annotations

import json
import shlex
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ansible.plays import play
from tests.conftest import REPOSITORY


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """With an application whose interpreter runs the checkout's code; its name is short, since a socket lies in it."""
    with tempfile.TemporaryDirectory(prefix="imagerec-awake-") as made:
        program = Path(made) / "app/current/venv/bin/python"
        program.parent.mkdir(parents=True)
        source = shlex.quote(str(REPOSITORY / "services/autoscaler/src"))
        program.write_text(f'#!/bin/sh\nPYTHONPATH={source} exec {shlex.quote(sys.executable)} "$@"\n')
        program.chmod(0o755)
        yield Path(made)


def test_an_autoscaler_is_held_at_its_least_at_all_and_decides_again(folder: Path) -> None:
    """Also after a level under whose load answers took longer than the objective, and after one that failed halfway."""
    own = {"autoscaler_minimum": "2", "autoscaler_maximum": 3, "folder": str(folder)}
    (folder / "hosts.json").write_text(json.dumps({"all": {"hosts": {"balancer": own}}}))
    steps = [
        {"awake": "deployed"},
        {"awake": "least"},
        {"awake": "all", "measured_s": 0.3},
        {"awake": "all", "pool_size": 2},
        {"awake": "all", "pool_size": 2},
        {"awake": "auto", "utilisation": 2},
        {"awake": "auto"},
        {"awake": "deployed", "measured_s": 0},
        {"awake": "least", "wanted": False},
    ]
    done = play("awake", {"steps": steps}, inventory=str(folder / "hosts.json"))
    assert done.returncode == 0, done.stdout
    said = [json.loads((folder / f"said-{number}.json").read_text()) for number in range(len(steps))]
    assert [(each["minimum"], each["maximum"]) for each in said] == [
        (2, 3),
        (2, 2),
        (3, 3),
        (2, 2),
        (2, 2),
        (2, 2),
        (2, 3),
        (2, 3),
        (2, 3),
    ]
    began = [each["began"] for each in said]
    assert began[3] == began[4], "levels that want the same leave it running"
    assert began[5] == began[4], "one that cannot work changes nothing"
    assert began[6] == began[7], "a deployment has nothing to do afterwards"
    assert began[8] == began[7], "without an autoscaler there is nothing to hold"
    assert len(set(began)) == 5
