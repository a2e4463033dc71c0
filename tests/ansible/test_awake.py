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
    own = {"autoscaler_minimum": "2", "autoscaler_maximum": 3, "folder": str(folder)}
    (folder / "hosts.json").write_text(json.dumps({"all": {"hosts": {"balancer": own}}}))
    steps = [
        {"awake": "deployed"},
        {"awake": "least"},
        {"awake": "all"},
        {"awake": "all", "pool_size": 2},
        {"awake": "auto"},
        {"awake": "deployed"},
    ]
    done = play("awake", {"steps": steps}, inventory=str(folder / "hosts.json"))
    assert done.returncode == 0, done.stdout
    said = [json.loads((folder / f"said-{number}.json").read_text()) for number in range(len(steps))]
    assert [(each["minimum"], each["maximum"]) for each in said] == [
        (2, 3),
        (2, 2),
        (3, 3),
        (2, 2),
        (2, 3),
        (2, 3),
    ]
    began = [each["began"] for each in said]
    assert began[5] == began[4], "a deployment has nothing to do afterwards"
    assert len(set(began)) == 5
