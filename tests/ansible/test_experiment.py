"""What an experiment leaves behind where a step of its way back fails."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml

from tests.ansible.test_unfit_hosts import played
from tests.conftest import REPOSITORY

STEPS = ("level", "awake", "deploy", "model_restore")


@pytest.mark.parametrize("fails", ["level", "awake", "deploy"])
def test_the_autoscaler_is_let_go_and_the_balancer_goes_back_also_where_the_other_fails(
    tmp_path: Path, fails: str
) -> None:
    """The block of the playbook, with steps that only say that they were taken."""
    plays = yaml.safe_load((REPOSITORY / "playbooks/experiment.yml").read_text())
    (block,) = [task for task in plays[-1]["tasks"] if "block" in task]
    (tmp_path / "experiment").mkdir()
    for step in STEPS:
        told = f"{step}, pool {{{{ level.pool_size | default('?', true) }}}}, {{{{ as_wanted | default('-') }}}}"
        tasks = [{"ansible.builtin.lineinfile": {"path": f"{tmp_path}/taken", "line": told, "create": True}}]
        tasks += [{"ansible.builtin.fail": {"msg": "broken"}}] if step == fails else []
        (tmp_path / f"experiment/{step}.yml").write_text(json.dumps(tasks))
    hosts = {name: {"hosts": {name[0]: {}}} for name in ("balancers", "workers")}
    (tmp_path / "hosts.json").write_text(json.dumps({"all": {"children": hosts}}))
    play = {
        "hosts": "balancers",
        "connection": "local",
        "gather_facts": False,
        "any_errors_fatal": True,
        "vars": {
            "ansible_python_interpreter": sys.executable,
            "experiment_levels": [{"id": "all", "pool_size": 2}],
            "workers_change": False,
        },
        "tasks": [block],
    }
    assert played(tmp_path / "hosts.json", play, tmp_path).returncode != 0
    assert (tmp_path / "taken").read_text().splitlines() == [
        "level, pool 2, -",
        "awake, pool ?, auto",
        "deploy, pool ?, -",
    ]
