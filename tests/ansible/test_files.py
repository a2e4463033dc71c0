"""Folders made in one run: none of them where one that must be this user's is not."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from tests.ansible.evaluation import evaluated, tasks_named, variables_of
from tests.conftest import REPOSITORY

spec = importlib.util.spec_from_file_location("files", REPOSITORY / "playbooks/library/files.py")
assert spec is not None
assert spec.loader is not None
files_module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(files_module)


def made(*paths: Path, **options: Any) -> dict[str, Any]:
    """What the module says of these folders."""
    arguments = {"paths": [str(path) for path in paths], "state": "directory", **options}
    output = io.StringIO()
    with patch_module_args(arguments), contextlib.redirect_stdout(output), pytest.raises(SystemExit):
        files_module.main()
    said: dict[str, Any] = json.loads(output.getvalue())
    return said


@pytest.mark.parametrize("taken", ["link", "file", "another"])
def test_a_place_that_somebody_else_has_taken_is_refused_before_any_is_made(
    tmp_path: Path, taken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, runtime = tmp_path / "config", tmp_path / "runtime"
    if taken == "link":
        runtime.symlink_to(tmp_path)
    elif taken == "file":
        runtime.touch()
    else:
        runtime.mkdir()
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    said = made(config, runtime, own=[str(runtime)])
    assert said["msg"] == f"{runtime} belongs to another user or is no folder; remove it, then run this again"
    assert not config.exists()


def test_a_place_of_ones_own_is_taken_again(tmp_path: Path) -> None:
    config, runtime = tmp_path / "config", tmp_path / "above/runtime"
    for changed in (True, False):
        said = made(config, runtime, own=[str(runtime)], mode="0700")
        assert said["changed"] is changed, said
    assert runtime.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("role", ["pool", "autoscaler"])
def test_the_folder_of_a_socket_must_be_its_own_where_no_package_makes_it(role: str) -> None:
    (task,) = tasks_named(
        f"roles/{role}/tasks/configure.yml", f"Create the {'agent' if role == 'pool' else role}'s folders"
    )
    for log_file, own in (("/here/log", ["/here/run"]), ("", [])):
        known = variables_of(role, {f"{role}_runtime_dir": "/here/run", f"{role}_log_file": log_file})
        assert evaluated(task["files"]["own"], known) == own
        assert ("/here/run" in evaluated(task["files"]["paths"], known)) is bool(own)
