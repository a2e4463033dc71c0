"""What `make durations` times, and the page of its record."""

from __future__ import annotations

import json
import subprocess

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


def test_the_page_is_that_of_its_record() -> None:
    record = json.loads((REPOSITORY / "results/durations.json").read_text())
    assert durations.markdown(record) == (REPOSITORY / "results/durations.md").read_text()
