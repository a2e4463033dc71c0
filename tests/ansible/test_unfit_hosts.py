"""What cannot work is refused by facts before anything changes, in one line: Python and nginx of another age."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.ansible.test_addresses import inventory
from tests.ansible.test_make import make
from tests.conftest import REPOSITORY

AWAKE = [
    dict.fromkeys(("pool_size", "model", "cpu_share")) | {"id": "awake-auto", "slow_worker": 1, "workers_awake": "auto"}
]


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def said(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join((done.stdout + done.stderr).split()).replace("''", "'")


def played(
    hosts: str | Path, play: str | dict[str, Any], folder: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a playbook, or a play of this test that is written to the folder."""
    if isinstance(play, dict):
        (folder / "play.yml").write_text(json.dumps([play]))
        play = str(folder / "play.yml")
    return subprocess.run(
        ["ansible-playbook", "-i", str(hosts), play],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("3, 10", "Python 3.11 to 3.13 is needed, this is 3.10; name another: make setup PYTHON=python3.13"),
        ("3, 14", "this is 3.14 (numpy has no locked wheel for it); name another"),
    ],
    ids=["too-old", "too-new"],
)
def test_setup_refuses_a_python_in_one_line(tmp_path: Path, version: str, words: str) -> None:
    """With this Python, which says that it is another."""
    other = script(
        tmp_path / "python",
        f"exec {sys.executable} -c 'import sys; sys.version_info = ({version}, 0); exec(sys.argv[2])' \"$@\"",
    )
    done = make("-f", str(REPOSITORY / "Makefile"), f"PYTHON={other}", ".venv/.python", folder=tmp_path)
    assert done.returncode != 0
    assert words in done.stderr.splitlines()[0]
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize("mark", [".venv-keras/.keras", ".venv-peers/mosec/.peer"], ids=["keras", "peer"])
def test_every_environment_is_of_the_python_that_setup_was_told(tmp_path: Path, mark: str) -> None:
    """It is named once; the one that is found by itself may not do."""
    for path in ("requirements/keras.txt", "requirements/peers/mosec.txt", ".venv/.python"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    done = make("-n", "-f", str(REPOSITORY / "Makefile"), "PYTHON=/of-another-age", mark, folder=tmp_path)
    assert f".venv/bin/python -m venv {Path(mark).parent}\n" in done.stdout
    assert "/of-another-age" not in done.stdout


def test_a_host_s_python_is_refused_by_facts(tmp_path: Path) -> None:
    hosts = {
        "old": [3, 10, 12],
        "new": [3, 14, 0],
        "oldest": [3, 11, 2],
        "newest": [3, 13, 5],
    }
    facts = {"python": {"version_info": "{{ version }}"}, "python_version": "{{ version | join('.') }}"}
    role = {"name": "python_app", "tasks_from": "preflight"}
    play = {
        "hosts": "all",
        "connection": "local",
        "gather_facts": False,
        "vars": {"python_app_name": "imagerec-worker"},
        "tasks": [
            {"ansible.builtin.set_fact": facts | {"cacheable": True}},
            {"ansible.builtin.include_role": role},
            {"ansible.builtin.debug": {"msg": "it may go on"}},
        ],
    }
    versions = {name: {"version": version} for name, version in hosts.items()}
    (tmp_path / "hosts.yml").write_text(json.dumps({"all": {"hosts": versions}}))
    done = played(tmp_path / "hosts.yml", play, tmp_path)
    assert "needs Python 3.11 to 3.13 and old has 3.10.12; name another in ansible_python_interpreter" in said(done)
    assert "new has 3.14.0 (numpy has no locked wheel for it); name another" in said(done)
    assert sorted(re.findall(r"ok: \[(\w+)\] => *\n *msg: it may go on", done.stdout)) == ["newest", "oldest"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("clients", "changes", "words"),
    [
        pytest.param(
            [],
            {},
            "exactly one client, since each sends the whole load, and the group clients has none; leave one host",
            id="no-client",
        ),
        pytest.param(["c1"], {}, None, id="one-client"),
        pytest.param(["c1", "c2"], {}, "and the group clients has 2 (c1, c2); leave one host in it", id="two-clients"),
        pytest.param(
            ["c1"],
            {"wanted_levels": AWAKE},
            "The levels awake-auto of scaling are about an autoscaler (workers_awake), and the inventory has none: set "
            "autoscaler: true in it and deploy",
            id="no-autoscaler",
        ),
        pytest.param(
            ["c1"],
            {"wanted_levels": [*AWAKE, AWAKE[0] | {"workers_awake": None}], "possible_only": True},
            None,
            id="left-out",
        ),
        pytest.param(
            ["c1"],
            {"wanted_levels": AWAKE, "possible_only": True},
            "scaling-1 lacks awake-auto, and these hosts can have none of them; RUN=NAME begins another run",
            id="none-left",
        ),
        pytest.param(
            ["c1"],
            {"wanted_levels": AWAKE, "autoscaler_wanted": True, "autoscaler_app_root": "/nonexistent"},
            "b has no autoscaler yet; deploy first",
            id="autoscaler-not-deployed",
        ),
    ],
)
def test_an_experiment_that_these_hosts_cannot_have_is_refused(
    tmp_path: Path, clients: list[str], changes: dict[str, object], words: str | None
) -> None:
    """Two clients would send twice the load of the design."""
    groups = {"balancers": ["b"], "workers": ["w"], "clients": clients}
    hosts = {name: {"hosts": {member: {} for member in members}} for name, members in groups.items()}
    (tmp_path / "hosts.json").write_text(json.dumps({"all": {"children": hosts}}))
    (experiment,) = [
        play
        for play in yaml.safe_load((REPOSITORY / "playbooks/experiment.yml").read_text())
        if play["name"] == "Measure"
    ]
    usual = {
        "awake_levels": experiment["vars"]["awake_levels"],
        "shown": {"design": {"name": "scaling"}},
        "run_name": "scaling-1",
        "wanted_levels": [],
        "level_bundles": {},
        "service_tls": "off",
        "service_host": {},
        "autoscaler_wanted": False,
        "ansible_python_interpreter": sys.executable,
        "loadtest_program": sys.executable,
    }
    play = {
        "hosts": "balancers:workers:clients",
        "connection": "local",
        "gather_facts": False,
        "vars": usual | changes,
        "tasks": [{"ansible.builtin.include_tasks": f"{REPOSITORY}/playbooks/experiment/refuse.yml"}],
    }
    done = played(tmp_path / "hosts.json", play, tmp_path)
    assert (done.returncode == 0) == (words is None), done.stdout
    assert words is None or words in said(done)


@pytest.mark.slow
def test_an_nginx_that_is_too_old_is_refused(tmp_path: Path) -> None:
    """Where it is installed, and where it is to be."""
    nginx = script(tmp_path / "nginx", "echo 'nginx version: nginx/1.18.0 (Ubuntu)' >&2")
    script(tmp_path / "apt-cache", "echo 'nginx:'; echo '  Installed: (none)'; echo '  Candidate: 1.18.0-6ubuntu14.4'")
    there: dict[str, object] = {"balancer_nginx": str(nginx)}
    hosts = inventory(tmp_path, balancers={"there": there, "to-come": there | {"balancer_packages": ["nginx"]}})
    done = played(hosts, "playbooks/preflight.yml", tmp_path, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert done.returncode != 0
    for name in ("there", "to-come"):
        words = f"{name}: nginx 1.18.0 is too old, 1.19.5 is needed; take Debian 12 or 13, or Ubuntu 24.04"
        assert words in said(done)


@pytest.mark.slow
@pytest.mark.parametrize("service", ["balancer", "pool", "worker"])
def test_a_folder_that_systemd_would_not_let_a_service_write_is_refused(tmp_path: Path, service: str) -> None:
    """Also of a service that runs: nginx itself finds nothing wrong with it, and could not be started any more."""
    own: dict[str, object] = {"service_provider": "systemd"}
    wrong: dict[str, dict[str, object]] = {
        "balancer": {"elsewhere": {"balancer_log_dir": "/data/log"}, "itself": {"balancer_state_dir": "/var/lib/"}},
        "pool": {"elsewhere": {"pool_state_dir": "/var/lib/../pool"}, "two": {"pool_runtime_dir": "/run/a b"}},
        "worker": {"elsewhere": {"worker_runtime_dir": "/srv/x"}},
    }[service]
    hosts = {host: own | given for host, given in wrong.items()}
    workers = hosts if service == "worker" else None
    balancers = {"usual": own, "nested": own | {"balancer_log_dir": "/var/log/a/b"}} | ({} if workers else hosts)
    done = played(inventory(tmp_path, workers=workers, balancers=balancers), "playbooks/preflight.yml", tmp_path)
    assert done.returncode != 0
    for host, given in wrong.items():
        (path,) = given.values()
        assert f"{host}: systemd would not let imagerec-{service} write {path} (choose a folder of plain" in said(done)
    for host in ("usual", "nested"):
        assert f"{host}: systemd would not" not in said(done)


def test_an_authority_would_ask_one_of_two_balancers_of_a_name(tmp_path: Path) -> None:
    """Also without virtual_address, where DNS gives the name both addresses. Each with its own name may be."""
    (refuse,) = [
        task
        for play in yaml.safe_load((REPOSITORY / "playbooks/preflight.yml").read_text())
        for task in play.get("tasks", [])
        if task["name"] == "Refuse balancers that would not answer where clients ask"
    ]
    names = {"one": "a.test", "two": "a.test", "own": "b.test"}
    acme: dict[str, dict[str, object]] = {
        host: {"balancer_tls": "acme", "balancer_tls_name": name} for host, name in names.items()
    }
    play = {"hosts": "balancers", "gather_facts": False, "tasks": [refuse]}
    done = played(inventory(tmp_path, balancers=acme), play, tmp_path)
    for host in ("one", "two"):
        assert f"{host}: balancer_tls acme has the authority ask one of 2 balancers; take files, with one" in said(done)
    assert "own: balancer_tls" not in said(done)


@pytest.mark.slow
def test_an_autoscaler_that_cannot_work_is_refused_before_a_host_changes(tmp_path: Path) -> None:
    common: dict[str, object] = {"autoscaler": True, "autoscaler_state_dir": str(tmp_path)}
    slow = {"autoscaler_objective_s": 0.01, "autoscaler_service_s": 0.02}
    hosts = inventory(tmp_path, balancers={"above": common | {"autoscaler_minimum": 2}, "slow": common | slow})
    done = played(hosts, "playbooks/preflight.yml", tmp_path)
    assert done.returncode != 0
    assert "above: autoscaler_minimum 2 is above the maximum of 1 workers" in said(done)
    assert "slow: autoscaler_objective_s is 0.01 and one answer takes 0.02 s, however many workers serve; set" in said(
        done
    )


def test_an_objective_that_the_built_model_cannot_hold_is_refused_before_a_host_changes(tmp_path: Path) -> None:
    (tmp_path / "standby.json").write_text('{"asleep": [], "service_s": 0.3, "model": "slow+1-0f", "target": 1}')
    common: dict[str, object] = {"autoscaler": True, "autoscaler_state_dir": str(tmp_path)}
    models = {"same": "slow+1-0f", "another": "lite0-0f"}
    balancers = {name: common | {"built_deployment": {"model": model}} for name, model in models.items()}
    done = played(inventory(tmp_path, balancers=balancers), "playbooks/objective.yml", tmp_path)
    assert done.returncode != 0
    assert "same: autoscaler_objective_s is 0.25 and one answer takes 0.3 s, however many workers serve; set" in said(
        done
    )
    assert "another: autoscaler_objective_s" not in said(done)


def test_what_cannot_work_is_refused_first_and_what_the_model_cannot_hold_once_it_is_built() -> None:
    plays = [play["ansible.builtin.import_playbook"] for play in yaml.safe_load((REPOSITORY / "site.yml").read_text())]
    order = [f"playbooks/{name}.yml" for name in ("preflight", "build", "objective", "workers", "balancers")]
    assert plays[: len(order)] == order


def test_every_use_of_apt_waits_for_its_lock() -> None:
    for path in (REPOSITORY / "roles").glob("*/tasks/*.yml"):
        for task in yaml.safe_load(path.read_text()):
            options = task.get("ansible.builtin.apt")
            assert options is None or options.get("lock_timeout", 0) >= 300, f"{path}: {task['name']}"
    calls = re.findall(r"^apt-get .*", (REPOSITORY / "tools/install_packages").read_text(), re.MULTILINE)
    assert calls
    assert all("-o DPkg::Lock::Timeout=" in call for call in calls)
