"""What an experiment leaves behind where a step of its way back fails, and what an earlier one has left."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml

from tests.ansible.test_unfit_hosts import played, said, script
from tests.conftest import REPOSITORY

PLAYS = yaml.safe_load((REPOSITORY / "playbooks/experiment.yml").read_text())
STEPS = ("level", "awake", "deploy", "model_restore")


@pytest.mark.parametrize("fails", ["level", "awake", "deploy"])
def test_the_autoscaler_is_let_go_and_the_balancer_goes_back_also_where_the_other_fails(
    tmp_path: Path, fails: str
) -> None:
    """The block of the playbook, with steps that only say that they were taken."""
    (block,) = [task for task in PLAYS[-1]["tasks"] if "block" in task]
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


def test_the_model_to_go_back_to_is_found_on_hosts_that_set_no_folder(tmp_path: Path) -> None:
    """Where they set one, it is found there."""
    (measure,) = [play for play in PLAYS if play["name"] == "Measure"]
    for folder in ("app/of-code", "models/of-model"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder).with_name("current").symlink_to(Path(folder).name)
    say = {"ansible.builtin.debug": {"msg": "{{ inventory_hostname }} in {{ models_root }}: {{ model_before }}."}}
    play = {
        "hosts": "workers",
        "connection": "local",
        "vars": {
            "ansible_python_interpreter": sys.executable,
            "models_root": measure["vars"]["models_root"],
            "worker_app_root": f"{tmp_path}/app",
            "worker_config_dir": str(tmp_path),
        },
        "tasks": [{"ansible.builtin.include_tasks": f"{REPOSITORY}/playbooks/experiment/model_recall.yml"}, say],
    }
    (tmp_path / "hosts").write_text(f"[workers]\nusual\nown worker_model_root={tmp_path}/models\n")
    done = played(tmp_path / "hosts", play, tmp_path)
    assert done.returncode == 0, done.stdout[-3000:]
    assert f"own in {tmp_path}/models: of-model." in said(done)
    assert "usual in /srv/imagerec/models: " in said(done)


def test_no_photograph_of_an_earlier_experiment_is_left_on_the_client(tmp_path: Path) -> None:
    """It would be sent and count, though the folder of this experiment does not have it."""
    client = tmp_path / "client"
    for folder, name in (("client/images/n01440764", "old"), ("given/n01443537", "new")):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / f"{name}.jpg").touch()
    (tmp_path / "runs/run").mkdir(parents=True)
    for name in ("runs/run/run.json", "design.yml"):
        (tmp_path / name).touch()
    (client / "current").symlink_to("release")
    (tmp_path / "hosts").write_text("[clients]\nclient\n[balancers]\n[workers]\n")
    play = {
        "hosts": "clients",
        "connection": "local",
        "vars": {
            "ansible_python_interpreter": sys.executable,
            "project_dir": str(REPOSITORY),
            "experiment_dir": str(client),
            "python_app_root": str(client),
            "runs_dir": f"{tmp_path}/runs",
            "run_name": "run",
            "images": f"{tmp_path}/given",
            "shown": {"file": f"{tmp_path}/design.yml", "design": {"cells": []}},
        },
        "tasks": [{"ansible.builtin.include_tasks": f"{REPOSITORY}/playbooks/experiment/prepare.yml"}],
    }
    done = played(tmp_path / "hosts", play, tmp_path)
    assert done.returncode == 0, done.stdout[-3000:]
    assert [path.name for path in (client / "images").rglob("*.jpg")] == ["new.jpg"]


@pytest.mark.parametrize(
    ("manifest", "given", "limited"), [("two", {}, "two"), ("two", {"slice_name": "three"}, "three")]
)
def test_a_share_is_for_the_slice_that_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, manifest: str, given: dict[str, str], limited: str
) -> None:
    monkeypatch.setenv("GENI_MANIFEST", f"rspec/manifests/{manifest}.xml")
    (tmp_path / "hosts.json").write_text(json.dumps({"all": {"hosts": {"worker1": {}}}}))
    variables = {
        "ansible_become": False,
        "ansible_playbook_python": sys.executable,
        "project_dir": str(REPOSITORY),
        "share": 0.3,
        "slower": 1,
    }
    play = {
        "hosts": "worker1",
        "connection": "local",
        "gather_facts": False,
        "vars": variables | given,
        "tasks": [{"ansible.builtin.include_tasks": str(REPOSITORY / "playbooks/experiment/share_of_slice.yml")}],
    }
    done = played(tmp_path / "hosts.json", play, tmp_path)
    assert f"there is no slice '{limited}' here" in done.stdout.replace("''", "'")


def test_a_run_names_the_releases_also_where_one_host_is_all_of_them(tmp_path: Path) -> None:
    (measure,) = [play for play in PLAYS if play["name"] == "Measure"]
    for name in ("worker", "loadtest"):
        (tmp_path / f"{name}/venv/bin").mkdir(parents=True)
        (tmp_path / f"{name}/current").symlink_to(f"release-of-{name}")
        (tmp_path / f"{name}/release-of-{name}").symlink_to(".")
    script(tmp_path / "worker/venv/bin/python", f'exec {sys.executable} "$@"')
    (tmp_path / "gunicorn.conf.py").touch()
    (tmp_path / "runs/run").mkdir(parents=True)
    for name in ("runs/run/run.json", "design.yml"):
        (tmp_path / name).touch()
    (tmp_path / "hosts").write_text("".join(f"[{group}]\nall-of-it\n" for group in ("balancers", "workers", "clients")))
    facts = measure["vars"]["deployment_facts"]
    play = {
        "hosts": "balancers:workers:clients",
        "connection": "local",
        "vars": {
            "ansible_python_interpreter": sys.executable,
            "project_dir": str(REPOSITORY),
            "experiment_dir": f"{tmp_path}/client",
            "worker_app_root": f"{tmp_path}/worker",
            "worker_config_dir": str(tmp_path),
            "python_app_root": f"{tmp_path}/loadtest",
            "workers_change": False,
            "runs_dir": f"{tmp_path}/runs",
            "run_name": "run",
            "shown": {"file": f"{tmp_path}/design.yml", "design": {"cells": []}},
            "facts": {name: facts[name] for name in ("releases", "packages", "gunicorn")},
        },
        "tasks": [
            {"ansible.builtin.include_tasks": f"{REPOSITORY}/playbooks/experiment/prepare.yml"},
            {"ansible.builtin.copy": {"content": "{{ facts | to_json }}", "dest": f"{tmp_path}/facts", "mode": "0644"}},
        ],
    }
    done = played(tmp_path / "hosts", play, tmp_path)
    assert done.returncode == 0, done.stdout[-3000:]
    told = json.loads((tmp_path / "facts").read_text())
    assert told["releases"] == {"worker": "release-of-worker", "loadtest": "release-of-loadtest"}
    assert told["gunicorn"] == {"all-of-it": []}
    assert "ansible-core" in told["packages"]
