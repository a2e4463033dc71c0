"""When a task is done, fails, or counts as a change: the situations of conditions.yml, evaluated without a host."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.ansible.evaluation import holds, tasks_named
from tests.conftest import REPOSITORY

SITUATIONS: dict[str, dict[str, dict[str, Any]]] = yaml.safe_load(
    (REPOSITORY / "tests/ansible/conditions.yml").read_text()
)


@pytest.mark.parametrize("file", SITUATIONS)
def test_a_condition_holds_in_its_situations_alone(file: str) -> None:
    for names, conditions in SITUATIONS[file].items():
        for name in names.split(" / "):
            tasks = tasks_named(file, name)
            assert tasks, name
            for task in tasks:
                for key, situations in conditions.items():
                    asked = task["ansible.builtin.assert"]["that"] if key == "that" else task[key]
                    for given in situations["so"]:
                        assert holds(asked, given), (name, key, given)
                    for given in situations["not"]:
                        assert not holds(asked, given), (name, key, given)
