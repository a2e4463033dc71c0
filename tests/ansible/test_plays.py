"""What plays hand to roles and to files of tasks, and what they make of what they are told: without a host."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ansible.evaluation import evaluated, holds, tasks_named
from tests.ansible.evaluation import load as load_trusted
from tests.ansible.test_wiring import load, read_by, roles_used, tasks_in
from tests.conftest import REPOSITORY

FOLDER = REPOSITORY / "playbooks"
PLAYS = [(path.stem, play) for path in sorted(FOLDER.glob("*.yml")) for play in load(path) if "hosts" in play]
FILES = [path for path in sorted(FOLDER.glob("*/*.yml")) if path.parent.name != "group_vars"]
Uses = list[tuple[str, dict[str, Any], dict[str, Any]]]


def of(name: str) -> list[dict[str, Any]]:
    """The plays of a playbook."""
    found = [play for stem, play in PLAYS if stem == name]
    assert found
    return found


def uses(role: str, *files: str) -> Uses:
    """Where a role is used, what of it, and the variables that it gets; in all playbooks, or in these alone."""
    paths = [FOLDER / f"{name}.yml" for name in files] or [*FOLDER.glob("*.yml"), *FILES]
    found = [
        (path.stem, asked, given) for path in paths for asked, given in roles_used(load(path)) if asked["name"] == role
    ]
    assert found
    return found


def includes(content: object) -> Iterator[tuple[str, dict[str, Any]]]:
    """What each include or import of tasks names, and what it gives itself."""
    for each in content if isinstance(content, list) else []:
        for part in ("pre_tasks", "tasks", "post_tasks", "block", "rescue", "always"):
            yield from includes(each.get(part))
        for way in ("ansible.builtin.include_tasks", "ansible.builtin.import_tasks"):
            if way in each:
                yield str(each[way]), each.get("vars", {})


def test_balancers_change_one_after_the_other_and_workers_first_one_then_a_quarter() -> None:
    assert {play.get("serial") for play in of("balancers")} == {1}
    rolls = [play for name in ("workers", "rollback") for play in of(name) if "serial" in play]
    assert len(rolls) == 2
    hosts = {"groups": {"workers": ["w"]}, "hostvars": {"w": {}}}
    for play in rolls:
        assert evaluated(play["serial"], hosts) == [1, "25%"]
        assert evaluated(play["serial"], hosts | {"hostvars": {"w": {"workers_serial": 3}}}) == 3


def test_folders_are_removed_only_where_every_service_was_stopped() -> None:
    """What a host still runs needs the folders that the last play removes."""
    stops = [play for play in of("down") if any(asked["name"] == "service" for asked, _ in roles_used([play]))]
    assert [(play["hosts"], play.get("any_errors_fatal")) for play in stops] == [("balancers", True), ("workers", True)]


@pytest.mark.parametrize("file", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_whoever_includes_tasks_gives_them_what_they_read_and_others_give(file: Path) -> None:
    given = [
        (path.name, own.keys())
        for path in [*FOLDER.glob("*.yml"), *FILES]
        for named, own in includes(load(path))
        if re.search(rf"\b{file.stem}\b", named)
    ]
    assert given
    needed = read_by(file) & set().union(*(names for _, names in given))
    assert [(name, needed - names) for name, names in given if needed - names] == []


def test_a_role_gets_what_its_other_parts_read_too() -> None:
    """What it cannot do without is known of its main part alone."""
    for file, asked, given in uses("python_app"):
        assert given.get("python_app_name"), (file, asked)
    for file, asked, given in uses("service"):
        if file not in {"replace", "leave"}:  # their plays have it
            definition = given.get("service_definition")
            assert isinstance(definition, str) or definition.get("name"), (file, asked)
    for file, asked, given in uses("worker"):
        assert "worker_staged" in given or asked.get("tasks_from") != "stage", file


def test_every_role_that_can_refuse_is_asked_before_anything_changes() -> None:
    asked = [role for role, _ in roles_used(load(FOLDER / "preflight.yml"))]
    assert {role.get("tasks_from") for role in asked} == {"preflight", "look"}
    roles = {path.parents[1].name for path in REPOSITORY.glob("roles/*/tasks/preflight.yml")}
    assert roles - {role["name"] for role in asked} == {"model_bundle"}  # nothing is built yet


def test_what_is_installed_is_pruned_too_and_good_deployments_are_spared() -> None:
    apps = uses("python_app", "workers", "balancers", "autoscaler", "clients")
    installed = {given["python_app_name"] for _, asked, given in apps if "tasks_from" not in asked}
    pruned = {given["python_app_name"] for _, asked, given in apps if asked.get("tasks_from") == "prune"}
    assert installed == pruned
    assert len(pruned) == 4
    good = {"worker_deployment": {"good": [{"code": "c1", "model": "m1"}, {"code": "c2", "model": "m2"}]}}
    for role, spared in {"python_app": ["c1", "c2"], "model_bundle": ["m1", "m2"]}.items():
        ((_, _, given),) = [each for each in uses(role, "workers") if each[1].get("tasks_from") == "prune"]
        assert evaluated(given[f"{role}_spare"], good) == spared


@pytest.mark.parametrize("role", ["worker", "balancer", "pool", "autoscaler"])
def test_a_seal_covers_what_its_role_writes(role: str) -> None:
    """Whatever is done to it by hand, the next deployment looks again."""
    tasks = list(tasks_in(load(REPOSITORY / f"roles/{role}/tasks/configure.yml")))
    places = [
        task[module].get("dest", task[module].get("path", ""))
        for task in tasks
        for module in ("ansible.builtin.template", "ansible.builtin.file")
        if module in task
    ]
    places += [file["path"] for task in tasks if "texts" in task for file in task["texts"]["files"]]
    known = {f"{role}_{name}_dir": f"/{name}" for name in ("config", "state", "runtime", "log", "page", "pool")}
    known |= {f"{role}_app_root": "/app", f"{role}_model_root": "/model", "python_app_root": "/app"}
    known |= {"balancer_tls_certificate": "/c", "balancer_tls_key": "/k", "balancer_packages": []}
    seals = [
        given["service_seal_covers"]
        for _, asked, given in uses("service", "workers", "balancers", "autoscaler")
        if asked.get("tasks_from") == "seal"
    ]
    (covers,) = [evaluated(said, known) for said in seals if f"{role}_config_dir" in said]
    own = (f"{role}_config_dir", f"{role}_pool_dir")
    files = {str(evaluated(place, known)) for place in places if any(name in place for name in own)}
    assert files
    assert files - set(covers) == set()


def test_processes_are_replaced_for_the_code_and_the_model_that_are_deployed() -> None:
    known = {"python_app_digest": "a" * 64, "built_deployment": {"code": "code", "model": "model"}}
    known |= {"rollback_to": {"code": "code", "model": "model"}}
    for name, expected in {"pool": ["a" * 16], "autoscaler": ["a" * 16], "worker": ["code", "model"]}.items():
        variable = f"{name}_restart_on"
        given = [play["vars"][variable] for _, play in PLAYS if variable in play.get("vars", {})]
        assert [evaluated(each, known) for each in given] == [expected] * (2 if name == "worker" else 1)


def variable(file: str, entry: str, name: str, given: dict[str, Any]) -> Any:
    """A variable of a play or a task, where these are given."""
    (found,) = tasks_named(f"playbooks/{file}.yml", entry)
    wiring = load_trusted("playbooks/group_vars/all.yml")
    known = {"playbook_dir": "/checkout/playbooks"} | wiring | found.get("vars", {})
    return evaluated((known | given)[name], known | given)


SEALED = {"intact": True, "inputs": "digest"}


@pytest.mark.parametrize(
    ("given", "unchanged"),
    [
        ({}, True),
        ({"service_sealed": SEALED | {"intact": False}}, False),
        ({"service_sealed": SEALED | {"inputs": "other"}}, False),
        ({"ansible_check_mode": True}, False),
        ({"thorough": "true"}, False),
        ({"thorough": "false"}, True),
    ],
)
def test_a_host_is_passed_by_only_where_nothing_can_have_changed(given: dict[str, Any], *, unchanged: bool) -> None:
    (offer,) = tasks_named("playbooks/tasks/unchanged.yml", "Offer whether that is what it was made from")
    known = {"service_sealed": SEALED, "host_inputs": "digest"} | given
    assert evaluated(offer["ansible.builtin.set_fact"]["host_unchanged"], known) is unchanged


@pytest.mark.parametrize(
    ("asked", "named", "wanted", "fallback"),
    [
        ({}, "", "imagenet", ""),
        ({"model": "lite2"}, "lite0", "lite2", "lite0"),
        ({"model": "lite0"}, "lite0", "lite0", ""),
        ({"model": ""}, "imagenet", "imagenet", ""),
    ],
    ids=["usual", "another one", "none but itself", "none but the usual"],
)
def test_a_model_has_another_one_to_fall_back_to_or_none(
    asked: dict[str, str], named: str, wanted: str, fallback: str
) -> None:
    hosts = {"groups": {"workers": ["w"]}, "hostvars": {"w": asked | {"model_fallback": named}}}
    play = "Build what the hosts get, on the controller"
    assert (variable("build", play, "wanted", hosts), variable("build", play, "fallback", hosts)) == (wanted, fallback)


@pytest.mark.parametrize(
    ("fallen_back", "name"),
    [({"skipped": True}, "lite2"), ({"stdout": '{"name": "lite0", "changed": false}'}, "lite0")],
    ids=["the wanted one", "the other one"],
)
def test_what_was_built_is_kept_without_what_is_of_this_run_alone(fallen_back: dict[str, Any], name: str) -> None:
    (keep,) = tasks_named("playbooks/build.yml", "Keep to what was built, whatever another run builds meanwhile")
    known = keep["vars"] | {"built": {"stdout": '{"releases": {"page": 1}}'}, "fallen_back": fallen_back}
    known |= {"got": {"stdout": '{"name": "lite2", "changed": true}'}}
    said = evaluated(keep["ansible.builtin.set_fact"], known)
    assert said == {"build_deploys": True, "build_kept": {"releases": {"page": 1}, "bundle": {"name": name}}}


@pytest.mark.parametrize(
    ("there", "left"),
    [(None, True), ("", True), ('{\n    "name": "lite0"\n}\n', True), ('{\n    "name": "lite2"\n}\n', False)],
    ids=["none", "cut short", "of another one", "the same"],
)
def test_word_of_the_bundle_is_left_unless_it_is_there(tmp_path: Path, there: str | None, *, left: bool) -> None:
    if there is not None:
        (tmp_path / "bundle.json").write_text(there)
    (leave,) = tasks_named("playbooks/build.yml", "Leave word of the bundle for playbooks that run alone")
    known = leave["vars"] | {"build_kept": {"bundle": {"name": "lite2"}}, "dist_dir": str(tmp_path)}
    assert holds(leave["when"], known) is left
    assert not holds(leave["when"], known | {"ansible_check_mode": True})
    assert evaluated(leave["ansible.builtin.copy"]["content"], known) == '{\n    "name": "lite2"\n}\n'


@pytest.mark.parametrize(
    ("given", "refused"),
    [
        ({"virtual_address": "a", "balancer_address": "10.0.0.1"}, True),
        ({"virtual_address": "a", "balancer_address": "0.0.0.0"}, False),
        ({"virtual_address": "a", "balancer_address": "::"}, False),
        ({"virtual_address": "a"}, False),
        ({"balancer_address": "10.0.0.1"}, False),
    ],
)
def test_an_address_that_is_shared_is_one_that_a_balancer_listens_at(given: dict[str, Any], *, refused: bool) -> None:
    known = {"groups": {"balancers": ["b1", "b2"]}, "hostvars": {"b1": {}, "b2": {}}} | given
    reasons = variable("preflight", "Refuse balancers that would not answer where clients ask", "reasons", known)
    assert any(reasons) is refused


def test_the_lock_is_named_by_the_deployment_it_is_for() -> None:
    first, others = (
        tasks_named("playbooks/lock.yml", name)[0]["hold_deployment_lock"]["scope"]
        for name in ("Lock the first host, which decides between two that come at once", "Lock the other hosts")
    )
    assert evaluated(first, {}) == evaluated(others, {}) != evaluated(first, {"run_dir": "/here"})
