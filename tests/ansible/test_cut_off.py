"""A removal that was cut off: the next run sees that something is left, and removes it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import REPOSITORY

# What each removes, below a folder of its own, and what of it cannot be removed at first.
FILES = {
    "monitoring": ["state/imagerec-prometheus/wal", "state/imagerec-alertmanager/nflog", "etc/prometheus.yml"],
    "autoscaler": ["state/standby.json", "etc/autoscaler.json", "app/current", "run/autoscaler.sock"],
    "shared": ["imagerec-hand-over", "etc/keepalived.conf"],
}
HELD = {
    "monitoring": "state/imagerec-prometheus",
    "autoscaler": "state",
    "shared": "imagerec-hand-over",
}
WHERE: dict[str, Any] = {
    "ansible_connection": "local",
    "ansible_python_interpreter": sys.executable,
    "service_provider": "supervisor",
    "service_supervisor_dir": "{{ folder }}/supervisor",
    "monitoring_programs": ["prometheus"],
    "monitoring_config_dir": "{{ folder }}/etc",
    "monitoring_state_dir": "{{ folder }}/state",
    "autoscaler_wanted": False,
    "autoscaler_config_dir": "{{ folder }}/etc",
    "autoscaler_state_dir": "{{ folder }}/state",
    "autoscaler_runtime_dir": "{{ folder }}/run",
    "autoscaler_app_root": "{{ folder }}/app",
    "python_app_root": "{{ autoscaler_app_root }}",  # by the play, of which two tasks are taken
    "virtual_address_config_dir": "{{ folder }}/etc",
    "virtual_address_hand_over": "{{ folder }}/imagerec-hand-over",
}


def play_of(playbook: str, name: str) -> dict[str, Any]:
    plays = yaml.safe_load((REPOSITORY / f"playbooks/{playbook}.yml").read_text())
    (found,) = [play for play in plays if play["name"] == name]
    return dict(found)


def removals(folder: Path) -> list[str]:
    """Write a playbook with the tasks that ask first whether something is to be removed; return its command."""
    (folder / "tasks").symlink_to(REPOSITORY / "playbooks/tasks")
    cases = {
        "monitoring": play_of("monitoring_down", "Stop watching the service")["tasks"],
        "autoscaler": play_of("autoscaler", "Deploy the autoscaler")["pre_tasks"][:2],
        "shared": [{"ansible.builtin.include_tasks": f"{REPOSITORY}/playbooks/balancers/share_none.yml"}],
    }
    tasks = [{"block": block, "when": f"inventory_hostname == '{case}'"} for case, block in cases.items()]
    (folder / "removals.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    hosts = {case: {"folder": str(folder / case)} for case in cases}
    (folder / "hosts.yml").write_text(json.dumps({"all": {"hosts": hosts, "vars": WHERE}}))
    return ["ansible-playbook", "-i", str(folder / "hosts.yml"), str(folder / "removals.yml")]


@pytest.mark.slow
def test_what_a_removal_has_left_is_removed_by_the_next_run(tmp_path: Path) -> None:
    """In place of a power cut something is mounted on a folder or a file, so the removal ends there."""
    if subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("needs root, to mount something")
    files = [tmp_path / case / name for case, names in FILES.items() for name in names]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    held = [tmp_path / case / name for case, name in HELD.items()]
    command = removals(tmp_path)
    mount = 'while [ "$1" != -- ]; do mount --bind "$1" "$1" || exit; shift; done; shift; exec "$@"'
    cut_off = ["unshare", "--mount", "sh", "-c", mount, "sh", *map(str, held), "--", *command]
    done = subprocess.run(cut_off, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert set(re.findall(r"fatal: \[(\w+)\]", done.stdout)) == FILES.keys(), done.stdout + done.stderr
    assert "Device or resource busy" in done.stdout
    assert [path for path in held if not path.exists()] == []

    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [path for path in [*held, *files] if path.exists()] == []
