"""A level of an experiment ends with the experiment: the real holder of the lock lives, and is killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from imagerec_autoscaler.hold import Hold
from imagerec_autoscaler.settings import SettingsError, read_settings
from tests.conftest import REPOSITORY

PATHS = dict.fromkeys(("access_log", "pool_socket", "standby", "socket"), "/nowhere")


def written(folder: Path, lock: str, **changed: object) -> Path:
    """Write the settings of an autoscaler that an experiment holds at three workers."""
    hold = {"minimum": 3, "maximum": 3, "lock": f"imagerec-deployment-{lock}"} | changed
    path = folder / "autoscaler.json"
    processes = dict.fromkeys(("worker1", "worker2", "worker3"), 1)
    given = {"minimum": 1, "maximum": 2, "objective_s": 0.25, "processes": processes, "hold": hold}
    path.write_text(json.dumps(PATHS | given))
    return path


def test_a_hold_ends_half_a_minute_after_the_run_that_wrote_it(tmp_path: Path) -> None:
    lock = Path(tempfile.mkdtemp(dir=tmp_path)).name + str(os.getpid())
    command = [sys.executable, str(REPOSITORY / "playbooks/lock/holder.py"), lock, "{}"]
    hold = Hold(read_settings(written(tmp_path, lock)))

    def numbers(now_s: float) -> tuple[int, int]:
        settings = hold.look(now_s)
        return settings.minimum, settings.maximum

    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert json.loads(holder.stdout.readline()) == {"held_by": {}}
        assert [numbers(now_s) for now_s in (100, 101, 1000)] == [(3, 3)] * 3
        holder.kill()
        holder.wait()
    assert [numbers(now_s) for now_s in (1001, 1029)] == [(3, 3)] * 2  # a channel that broke is opened again
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert json.loads(holder.stdout.readline()) == {"held_by": {}}
        assert numbers(1030) == (3, 3)
        holder.kill()
        holder.wait()
    assert [numbers(now_s) for now_s in (1060, 1061)] == [(3, 3), (1, 2)]


@pytest.mark.parametrize("changed", [{"maximum": 4}, {"minimum": "three"}], ids=["too many", "no number"])
def test_a_hold_that_cannot_be_is_refused(tmp_path: Path, changed: dict[str, object]) -> None:
    with pytest.raises(SettingsError):
        read_settings(written(tmp_path, "none", **changed))
