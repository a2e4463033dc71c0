"""Every role has the one shape: read one, know all."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

from tests.conftest import REPOSITORY

ROLES = sorted(path.parent for path in (REPOSITORY / "roles").glob("*/meta"))
every_role = pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


@every_role
def test_spec_and_defaults_are_equal(role: Path) -> None:
    options = load(role / "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    declared = {name: option["default"] for name, option in options.items() if not option.get("required")}
    assert declared == load(role / "defaults/main.yml")


@every_role
def test_every_option_has_a_type_and_a_sentence(role: Path) -> None:
    for name, option in load(role / "meta/argument_specs.yml")["argument_specs"]["main"]["options"].items():
        assert option["type"], name
        assert re.fullmatch(r"[A-Za-z].*[.]", option["description"], re.DOTALL), name


@every_role
def test_variables_are_prefixed_by_their_owner(role: Path) -> None:
    names = load(role / "defaults/main.yml").keys()
    private = load(role / "vars/main.yml").keys() if (role / "vars/main.yml").exists() else []
    assert [name for name in names if name != role.name and not name.startswith(f"{role.name}_")] == []
    assert [name for name in private if not name.startswith(f"__{role.name}_")] == []


@every_role
def test_main_reads_as_a_table_of_contents(role: Path) -> None:
    main = role / "tasks/main.yml"
    assert len(main.read_text().splitlines()) < 50
    for task in load(main):
        assert set(task) & {
            "ansible.builtin.import_tasks",
            "ansible.builtin.include_tasks",
            "ansible.builtin.meta",
        }, task["name"]


@every_role
def test_no_role_names_another(role: Path) -> None:
    others = [other.name for other in ROLES if other != role]
    for path in role.rglob("*.yml"):
        text = path.read_text()
        assert "import_role" not in text, path
        assert "include_role" not in text, path
        if path.parent.name in {"tasks", "handlers", "vars"}:
            for other in others:
                # Words of /status and of standby.json, and no variables of the roles pool and service.
                found = set(re.findall(rf"\b_*{other}_\w+", text)) - {"pool_size", "service_mgr", "service_s"}
                assert not found, f"{path} names {found}"


@every_role
def test_nothing_optional_stands_empty(role: Path) -> None:
    for path in role.rglob("*"):
        if path.is_dir():
            assert any(path.iterdir()), path
        else:
            assert path.stat().st_size > 0, path


@every_role
def test_templates_mirror_the_machine(role: Path) -> None:
    for template in (role / "templates").rglob("*.j2"):
        assert template.relative_to(role / "templates").parts[0] in {"etc", "usr", "srv", "var"}, template


def test_the_table_of_limits_has_the_defaults() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\S+) \|", (REPOSITORY / "SECURITY.md").read_text(), re.MULTILINE)
    assert len(rows) > 10
    for name, default in rows:
        assert default == str(load(REPOSITORY / f"roles/{name.partition('_')[0]}/defaults/main.yml")[name]), name


def test_readmes_are_current() -> None:
    done = subprocess.run(
        [sys.executable, "roles/write_readmes.py", "--check"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("before", "fresh"),
    [
        ("inactive", True),
        ("failed", True),
        ("deactivating", True),
        ("activating", False),
        ("active", False),
        ("reloading", False),
    ],
)
def test_only_a_unit_that_this_run_has_started_runs_the_new_code(before: str, *, fresh: bool) -> None:
    """Ansible leaves alone what is starting already, maybe with the code from before: a handler has to replace it."""
    (remember,) = [
        task["ansible.builtin.set_fact"]
        for task in load(REPOSITORY / "roles/service/tasks/systemd/present.yml")
        if "ansible.builtin.set_fact" in task
    ]
    start = {"state": "started", "status": {"ActiveState": before}}
    said = jinja2.Environment(autoescape=True).from_string(remember["__service_started"]).render(__service_start=start)
    assert said == str(fresh)
