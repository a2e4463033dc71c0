"""What `make durations` times, and the page of its record."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from bench import durations
from tests.conftest import REPOSITORY


def test_each_step_is_a_command_of_make() -> None:
    timed = durations.steps("inventory/local/hosts.yml", "bookworm")
    for step in timed:
        planned = subprocess.run(
            ["make", "-n", *step.words], cwd=REPOSITORY, capture_output=True, text=True, check=False
        )
        assert planned.returncode == 0, planned.stderr
    aims = {step.title: step.aim_s for step in timed}
    assert len(aims) == len(timed)


def test_a_record_goes_into_a_new_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(durations, "run", lambda *_, **__: subprocess.CompletedProcess((), 0, "", ""))
    monkeypatch.setattr("sys.argv", ["durations", "--record", str(tmp_path / "new/folder")])
    assert durations.main() == 0
    assert (tmp_path / "new/folder/durations.json").exists()
    assert (tmp_path / "new/folder/durations.md").read_text() in capsys.readouterr().out
    (tmp_path / "file").touch()
    monkeypatch.setattr("sys.argv", ["durations", "--record", str(tmp_path / "file")])
    monkeypatch.setattr(durations, "_time", None)
    with pytest.raises(SystemExit, match="error: nothing can be kept in"):
        durations.main()


def test_the_page_is_that_of_its_record() -> None:
    record = json.loads((REPOSITORY / "results/durations.json").read_text())
    assert durations.markdown(record) == (REPOSITORY / "results/durations.md").read_text()
