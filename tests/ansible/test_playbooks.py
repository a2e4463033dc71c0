"""Playbooks parse, and inventories say what the roles expect."""

from __future__ import annotations

import json
import subprocess

import pytest
import yaml

from tests.conftest import REPOSITORY

PLAYBOOKS = [
    "site.yml",
    *(f"playbooks/{path.name}" for path in sorted((REPOSITORY / "playbooks").glob("*.yml"))),
]


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_playbook_parses(playbook: str) -> None:
    done = subprocess.run(
        ["ansible-playbook", "--syntax-check", playbook],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "name",
    [
        "autoscaler",
        "balancers",
        "down",
        "drain",
        "monitoring",
        "monitoring_down",
        "preflight",
        "rollback",
        "undrain",
        "workers",
    ],
)
def test_what_changes_hosts_is_alone_there(name: str) -> None:
    plays = yaml.safe_load((REPOSITORY / f"playbooks/{name}.yml").read_text())
    assert [play.get("ansible.builtin.import_playbook") for play in plays][:2] == ["known.yml", "lock.yml"]


def test_the_local_inventory_has_the_three_groups() -> None:
    done = subprocess.run(["ansible-inventory", "--list"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    inventory = json.loads(done.stdout)
    assert inventory["balancers"]["hosts"] == ["balancer"]
    assert inventory["workers"]["hosts"] == ["worker1", "worker2"]
    assert inventory["clients"]["hosts"] == ["client"]
    ports = {inventory["_meta"]["hostvars"][worker]["worker_port"] for worker in inventory["workers"]["hosts"]}
    assert len(ports) == 2
