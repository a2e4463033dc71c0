"""Several files written in one run: each whole or not at all, and none once one is refused."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

from tests.conftest import REPOSITORY

spec = importlib.util.spec_from_file_location("texts", REPOSITORY / "playbooks/library/texts.py")
assert spec is not None
assert spec.loader is not None
texts_module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(texts_module)


def written(files: list[dict[str, str]], **options: Any) -> dict[str, Any]:
    """What the module says of these files."""
    output = io.StringIO()
    with patch_module_args({"files": files, **options}), contextlib.redirect_stdout(output), pytest.raises(SystemExit):
        texts_module.main()
    said: dict[str, Any] = json.loads(output.getvalue())
    return said


def modes(folder: Path) -> dict[str, int]:
    """The files of a folder, with their modes."""
    return {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}


def test_what_differs_is_written_once_with_its_mode(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("kept\n")
    (tmp_path / "elsewhere").chmod(0o644)
    (tmp_path / "link").symlink_to("elsewhere")
    texts = {"new": "é\n", "run": "#!/bin/sh\n", "link": "kept\n"}
    files = [{"path": str(tmp_path / name), "text": text} for name, text in texts.items()]
    files[1]["mode"] = "0755"
    assert written(files)["paths"] == [file["path"] for file in files]
    assert {name: (tmp_path / name).read_text(encoding="utf-8") for name in texts} == texts
    assert not (tmp_path / "link").is_symlink()
    assert modes(tmp_path) == {"elsewhere": 0o644, "new": 0o644, "run": 0o755, "link": 0o644}
    again = written(files)
    assert (again["changed"], again["paths"]) == (False, [])
    (tmp_path / "run").chmod(0o600)
    (tmp_path / "new").write_bytes("é\r\n".encode())
    assert written(files)["paths"] == [str(tmp_path / "new"), str(tmp_path / "run")]
    assert (tmp_path / "new").read_bytes() == "é\n".encode()


def test_one_that_is_refused_stays_as_it_was_and_so_do_those_after_it(tmp_path: Path) -> None:
    folder = tmp_path / "a b"
    folder.mkdir()
    for name in ("checked", "later"):
        (folder / name).write_text("before\n")
    check = 'sh -c \'grep -q good "$0" || { echo "100 %% of $0 is no good" >&2; exit 1; }\' %s'
    files = [
        {"path": str(folder / "first"), "text": "first\n"},
        {"path": str(folder / "checked"), "text": "bad\n", "validate": check},
        {"path": str(folder / "later"), "text": "after\n"},
    ]
    said = written(files)
    assert (said["failed"], said["changed"]) == (True, True)
    assert said["msg"] == f"{folder}/checked: it is refused: 100 % of {folder}/checked is no good"
    assert sorted(modes(folder)) == ["checked", "first", "later"]
    assert {(folder / name).read_text() for name in ("checked", "later")} == {"before\n"}
    files[1]["text"] = "good\n"
    assert written(files)["paths"] == [str(folder / "checked"), str(folder / "later")]


def test_a_check_run_shows_what_would_be_written_and_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("before\n")
    files = [{"path": str(tmp_path / name), "text": "after\n"} for name in ("there", "new")]
    said = written(files, _ansible_check_mode=True, _ansible_diff=True)
    assert said["changed"] is True
    assert [(each["before"], each["after"]) for each in said["diff"]] == [("before\n", "after\n"), ("", "after\n")]
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"there": "before\n"}


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    said = written([{"path": str(tmp_path / "folder"), "text": ""}])
    assert said["msg"] == f"{tmp_path}/folder: Is a directory"
    said = written([{"path": str(tmp_path / "checked"), "text": "", "validate": "/no/such/nginx %s"}])
    assert said["msg"] == f"{tmp_path}/checked: No such file or directory"
    assert list(modes(tmp_path)) == ["folder"]


def test_what_should_not_be_there_is_removed_once_the_others_are_written(tmp_path: Path) -> None:
    (tmp_path / "old").touch()
    gone = [str(tmp_path / name) for name in ("old", "never")]
    refused = {"path": str(tmp_path / "refused"), "text": "", "validate": "false %s"}
    assert written([refused], absent=gone)["msg"] == f"{tmp_path}/refused: it is refused: false has ended with 1"
    assert written([], absent=gone, _ansible_check_mode=True)["paths"] == gone[:1]
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert written([], absent=gone)["paths"] == gone[:1]
    assert list(tmp_path.iterdir()) == []
