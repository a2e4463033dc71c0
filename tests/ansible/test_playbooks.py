"""Playbooks parse, and inventories say what the roles expect."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.ansible.test_unfit_hosts import played
from tests.conftest import REPOSITORY

PLAYBOOKS = [
    "site.yml",
    *(f"playbooks/{path.name}" for path in sorted((REPOSITORY / "playbooks").glob("*.yml"))),
]


def test_playbooks_parse() -> None:
    """One start reads all of them; the first that does not parse ends it, with its name."""
    done = subprocess.run(
        ["ansible-playbook", "--syntax-check", *PLAYBOOKS],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^playbook: (.*)", done.stdout, re.MULTILINE) == PLAYBOOKS


# They change nothing on a host of the inventory.
CHANGE_NO_HOST = {
    *("build", "built", "choices", "known", "lock", "members", "objective", "slice_down", "slice_up", "verify")
}


@pytest.mark.parametrize("name", [Path(path).stem for path in PLAYBOOKS[1:] if Path(path).stem not in CHANGE_NO_HOST])
def test_what_changes_hosts_is_alone_there(name: str) -> None:
    plays = yaml.safe_load((REPOSITORY / f"playbooks/{name}.yml").read_text())
    assert [play.get("ansible.builtin.import_playbook") for play in plays][:2] == ["known.yml", "lock.yml"]


@pytest.mark.parametrize("name", ["known", "lock", "built"])
def test_what_an_earlier_playbook_of_a_run_has_done_costs_no_process(name: str) -> None:
    """Each is imported some seven times, and a task that is skipped is started on each host."""
    (play,) = yaml.safe_load((REPOSITORY / f"playbooks/{name}.yml").read_text())
    first, *others = play["tasks"]
    assert first["ansible.builtin.meta"] == "end_host"
    left = {task.get("register") for task in others}
    left |= {fact for task in others for fact in task.get("ansible.builtin.set_fact", {})}
    assert first["when"].removesuffix(" is defined") in left


@pytest.mark.parametrize(
    ("given", "own", "asked"),
    [
        ({"run_dir": "/here"}, {}, 1),
        ({"run_dir": "/here"}, {"ansible_python_interpreter": "/usr/bin/python3"}, 3),
        ({}, {}, 3),
    ],
    ids=["local", "two Pythons", "elsewhere"],
)
def test_the_facts_of_a_local_deployment_are_asked_for_once(
    tmp_path: Path, given: dict[str, str], own: dict[str, str], asked: int
) -> None:
    """Its hosts are one, where they have one Python; each of another one has its own."""
    (gather,) = [
        play
        for play in yaml.safe_load((REPOSITORY / "playbooks/preflight.yml").read_text())
        if any("ansible.builtin.gather_facts" in task for task in play.get("tasks", []))
    ]
    alike = {"hosts": "all", "connection": "local"}
    said = {"ansible.builtin.debug": {"msg": "{{ inventory_hostname }} has {{ ansible_facts.processor_vcpus }}"}}
    say = alike | {"tasks": [{"name": "Say"} | said]}
    (tmp_path / "facts.yml").write_text(json.dumps([gather | alike | {"tasks": gather["tasks"][:2]}, say]))
    names = ["one", "two", "three"]
    variables = given | {"ansible_python_interpreter": sys.executable}
    (tmp_path / "hosts.yml").write_text(
        json.dumps({"all": {"hosts": dict.fromkeys(names) | {"two": own}, "vars": variables}})
    )
    done = subprocess.run(
        ["ansible-playbook", "-i", tmp_path / "hosts.yml", tmp_path / "facts.yml"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    before, _, after = done.stdout.partition("TASK [Say]")
    assert len(re.findall(r"^ok: \[", before, re.MULTILINE)) == asked
    assert sorted(re.findall(r"(\w+) has \d", after)) == sorted(names)


@pytest.mark.slow
def test_one_host_is_taken_away_by_the_inventory_of_the_manual(tmp_path: Path) -> None:
    """One balancer of two would keep the address that they shared. Nothing is changed here."""
    manual = (REPOSITORY / "docs/operate.md").read_text().partition("\n## Take a host away\n")[2]
    (text,) = re.findall(r"^ *```yaml\n(.*?)^ *```$", manual.partition("\n## ")[0], re.MULTILINE | re.DOTALL)
    inventory = yaml.safe_load(textwrap.dedent(text))
    shared = tmp_path / "keepalived"
    shared.mkdir()
    inventory["all"]["vars"] = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "run_dir": str(tmp_path),  # by which the lock is known
        "service_provider": "supervisor",
        "service_supervisor_dir": str(tmp_path / "supervisor"),
        "virtual_address_config_dir": str(shared),
        "virtual_address_hand_over": str(tmp_path / "hand-over"),
    }
    (tmp_path / "hosts.yml").write_text(json.dumps(inventory))
    done = subprocess.run(
        ["ansible-playbook", "-i", tmp_path / "hosts.yml", "playbooks/down.yml", "--check", "-v"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert str(shared) in done.stdout.partition("TASK [virtual_address : Remove")[2].partition("TASK [")[0]


# Stands for ssh: notes the port that it is to reach, and runs here what it is given to run.
SSH = """#!/bin/sh
for last; do case "$last" in Port=*) echo "${{last#Port=}}" >> {log};; esac; done
exec sh -c "$last"
"""


def test_a_change_of_the_balancer_starts_nothing_on_a_worker_that_the_inventory_describes(tmp_path: Path) -> None:
    """Facts took so much of two workers that p99 went from 65 to 231 ms."""
    ssh, log = tmp_path / "ssh", tmp_path / "log"
    ssh.write_text(SSH.format(log=log))
    ssh.chmod(0o755)
    common = {"slice_address": "127.0.0.1", "ansible_connection": "ssh", "ansible_host": "127.0.0.1"}
    common |= {"ansible_ssh_executable": str(ssh), "ansible_python_interpreter": sys.executable}
    cores = {"worker_processes": "{{ slice_cores | default(ansible_facts.processor_vcpus) }}"}
    workers = {
        "described": common | cores | {"ansible_port": 1, "slice_cores": 7},
        "silent": common | cores | {"ansible_port": 2},
    }
    (tmp_path / "hosts.yml").write_text(json.dumps({"all": {"children": {"workers": {"hosts": workers}}}}))
    wiring = {"vars_files": [str(REPOSITORY / "playbooks/group_vars/all.yml")], "gather_facts": False}
    say = {"ansible.builtin.debug": {"msg": "{{ inventory_hostname }} has {{ pool_entry.processes }}"}}
    (tmp_path / "say.yml").write_text(json.dumps([{"hosts": "workers", **wiring, "tasks": [say]}]))
    done = subprocess.run(
        ["ansible-playbook", "-i", tmp_path / "hosts.yml", "playbooks/members.yml", tmp_path / "say.yml"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(log.read_text().split()) == {"2"}
    assert "described has 7" in done.stdout
    assert re.search(r"silent has \d", done.stdout)


@pytest.mark.parametrize("name", ["balancers", "autoscaler"])
def test_who_configures_a_balancer_has_no_play_on_workers(name: str) -> None:
    plays = yaml.safe_load((REPOSITORY / f"playbooks/{name}.yml").read_text())
    assert {play["hosts"] for play in plays if "hosts" in play} == {"balancers"}


def test_the_local_inventory_has_the_three_groups() -> None:
    done = subprocess.run(["ansible-inventory", "--list"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    inventory = json.loads(done.stdout)
    assert inventory["balancers"]["hosts"] == ["balancer"]
    assert inventory["workers"]["hosts"] == ["worker1", "worker2"]
    assert inventory["clients"]["hosts"] == ["client"]
    ports = {inventory["_meta"]["hostvars"][worker]["worker_port"] for worker in inventory["workers"]["hosts"]}
    assert len(ports) == 2


def valued(expression: str, **given: object) -> Any:
    """What an expression is on the balancer of the local inventory, with the playbooks' own variables."""
    words = ["ansible", "balancer", "--playbook-dir", "playbooks", "-m", "debug", "-a", f"msg={{{{ {expression} }}}}"]
    done = subprocess.run(
        [*words, "-e", json.dumps(given)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return yaml.safe_load(done.stdout.partition("=>")[2])["msg"]


def test_the_agent_and_the_autoscaler_have_a_folder_each() -> None:
    """Who is removed takes its folder along, and with it whatever stands there."""
    folders = valued("[pool_runtime_dir, autoscaler_runtime_dir]")
    assert len(set(folders)) == 2
    assert all(not one.startswith(f"{other}/") for one in folders for other in folders)
    assert all(len(f"{folder}/autoscaler.sock") <= 100 for folder in folders)  # the path of a socket


def test_down_removes_the_applications_from_where_they_are(tmp_path: Path) -> None:
    """On each host that of its groups, whatever else there is."""
    (down,) = [
        play
        for play in yaml.safe_load((REPOSITORY / "playbooks/down.yml").read_text())
        if play.get("name") == "Remove the applications"
    ]
    names = ("worker_app_root", "pool_app_root", "python_app_root", "experiment_dir")
    for host in ("both", "balancer"):
        for name in names:
            (tmp_path / host / name / "current").mkdir(parents=True)
    given = {name: f"{tmp_path}/{{{{ inventory_hostname }}}}/{name}" for name in names}
    (tmp_path / "hosts").write_text("[balancers]\nbalancer\n[workers]\nboth\n[clients]\nboth\n")
    play = down | {"connection": "local", "tasks": down["tasks"][:1]}
    play["vars"] = given | {"ansible_python_interpreter": sys.executable}
    done = played(tmp_path / "hosts", play, tmp_path)
    assert done.returncode == 0, done.stdout
    left = {host: {path.name for path in (tmp_path / host).iterdir()} for host in ("both", "balancer")}
    assert left == {"both": {"pool_app_root"}, "balancer": {*names} - {"pool_app_root"}}


@pytest.mark.parametrize(("size", "expected"), [("2", ["one", "two"]), (0, ["one", "two", "three"])])
def test_the_autoscaler_knows_the_workers_that_the_balancer_asks(size: object, expected: list[str]) -> None:
    workers = [{"name": name} for name in ("one", "two", "three")]
    names = valued(
        "autoscaler_workers | map(attribute='name') | list", balancer_workers=workers, balancer_pool_size=size
    )
    assert names == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "deployed"), [({}, "first of first"), ({"built_bundle": {"name": "mine"}}, "mine of first")]
)
def test_a_run_keeps_to_what_was_built_when_it_began(tmp_path: Path, given: dict[str, Any], deployed: str) -> None:
    """Another run of this checkout builds another model meanwhile."""

    def built(name: str) -> dict[str, Any]:
        return {"bundle.json": {"name": name}, "releases.json": {"page": {"digest": name}}}

    for file, content in built("first").items():
        (tmp_path / file).write_text(json.dumps(content))
    common = {"hosts": "localhost", "connection": "local", "gather_facts": False}
    rebuild = [
        {"ansible.builtin.copy": {"content": json.dumps(content), "dest": str(tmp_path / file), "mode": "0644"}}
        for file, content in built("second").items()
    ]
    say = {"ansible.builtin.debug": {"msg": "deploys {{ built_bundle.name }} of {{ built_releases.page.digest }}"}}
    wiring = {"vars_files": [str(REPOSITORY / "playbooks/group_vars/all.yml")]}
    plays = [common | {"tasks": rebuild}, common | wiring | {"tasks": [say]}]
    (tmp_path / "meanwhile.yml").write_text(json.dumps(plays))
    extra = json.dumps({"dist_dir": str(tmp_path), "ansible_python_interpreter": sys.executable, **given})
    done = subprocess.run(
        ["ansible-playbook", "-i", "localhost,", "playbooks/built.yml", str(tmp_path / "meanwhile.yml"), "-e", extra],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((tmp_path / "bundle.json").read_text()) == {"name": "second"}
    assert f"deploys {deployed}" in done.stdout
