"""What playbooks and tasks hand to each other: every name is given by somebody, and nothing is done by half."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from jinja2 import nodes

from loadtest.experiments.provenance import client_facts
from tests.conftest import REPOSITORY

JINJA = jinja2.Environment(autoescape=True)
# First words of commands that a recap does not count; who removes a folder that may be shared says so elsewhere.
UNCOUNTED = {
    "Ask",
    "Check",
    "Compare",
    "Describe",
    "Find",
    "Have",
    "Look",
    "Read",
    "Refuse",
    "Remove",
    "Resolve",
    "Try",
    "Wait",
}
CONDITIONS = {"when", "failed_when", "changed_when", "until", "that"}
NAMES = {"register", "loop_var", "index_var"}  # keys whose value is a name that is given
# What Ansible itself knows, what its templates' own language does, and what `make experiment` always says.
GIVEN = {"ansible_facts", "ansible_check_mode", "ansible_playbook_python", "ansible_managed", "ansible_play_batch"}
GIVEN |= {"ansible_play_hosts", "ansible_play_hosts_all", "group_names", "groups", "hostvars", "inventory_hostname"}
GIVEN |= {"item", "omit", "playbook_dir", "lookup", "query", "range", "dict", "loop", "design"}
CODE = sorted(
    path
    for pattern in ("playbooks/**/*.yml", "roles/*/tasks/**/*.yml", "roles/*/handlers/*.yml", "roles/*/vars/*.yml")
    for path in REPOSITORY.glob(pattern)
)
GIVERS = [*CODE, *REPOSITORY.glob("roles/*/meta/*.yml"), *REPOSITORY.glob("inventory/*/**/*.yml")]


def load(path: Path) -> Any:
    """What a file says."""
    return yaml.safe_load(path.read_text())


def pairs(content: object) -> Iterator[tuple[str, object]]:
    """Every key with its value, however deep; what stands in a list has the key of the list."""
    for key, value in content.items() if isinstance(content, dict) else []:
        yield str(key), value
        yield from pairs(value)
        for each in value if isinstance(value, list) else []:
            yield from [] if isinstance(each, dict) else [(str(key), each)]
    for each in content if isinstance(content, list) else []:
        yield from pairs(each)


def read_in(template: str) -> set[str]:
    """The names that a template reads, does not set itself, and does not look for first."""
    tree = JINJA.parse(template)
    names = list(tree.find_all(nodes.Name))
    not_needed = {each.name for each in names if each.ctx != "load"}
    for each in tree.find_all((nodes.Filter, nodes.Test)):
        inner: nodes.Node | None = each
        if each.name in {"default", "defined", "undefined"}:
            while isinstance(inner, nodes.Filter | nodes.Test | nodes.Getattr | nodes.Getitem):
                inner = inner.node
            not_needed |= {inner.name} if isinstance(inner, nodes.Name) else set()
    return {each.name for each in names} - not_needed


def templates_of(path: Path) -> list[str]:
    """What a file has of templates and of conditions."""
    texts = [(key, value) for key, value in pairs(load(path)) if isinstance(value, str)]
    bare = [f"{{{{ {value} }}}}" for key, value in texts if key in CONDITIONS and "{{" not in value]
    return bare + [value for _, value in texts if "{{" in value or "{%" in value]


def read_by(path: Path) -> set[str]:
    """The names that a file reads."""
    return set().union(*map(read_in, templates_of(path)))


def tasks_in(content: object, given: dict[str, Any] | None = None) -> Iterator[dict[str, Any]]:
    """Every task of plays or tasks, also those in blocks, with the variables that stand around it."""
    parts = ("pre_tasks", "roles", "tasks", "post_tasks", "block", "rescue", "always")
    for each in content if isinstance(content, list) else []:
        entry = each if isinstance(each, dict) else {"role": each}
        variables = (given or {}) | entry.get("vars", {})
        yield from (task for part in parts for task in tasks_in(entry.get(part), variables))
        if not any(part in entry for part in parts):
            yield entry | {"vars": variables}


def roles_used(content: object) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """What is said to each include or import of a role, and the variables that it gets."""
    for task in tasks_in(content):
        for way in ("ansible.builtin.include_role", "ansible.builtin.import_role"):
            yield from [(task[way], task["vars"])] if way in task else []
        if "role" in task:
            yield {"name": task["role"]}, task["vars"] | task


@pytest.mark.filterwarnings("ignore:.*invalid escape sequence")  # of patterns for regex_findall
def test_every_name_that_is_read_is_given_by_somebody() -> None:
    said = [pair for path in GIVERS for pair in pairs(load(path))]
    given = {key for key, _ in said} | {value for key, value in said if key in NAMES} | GIVEN
    unknown = {path.relative_to(REPOSITORY).as_posix(): read_by(path) - given for path in CODE}
    assert {path: names for path, names in unknown.items() if names} == {}


def test_each_role_gets_what_it_cannot_do_without() -> None:
    specs = {
        path.parents[1].name: load(path)["argument_specs"]["main"] for path in REPOSITORY.glob("roles/*/meta/arg*")
    }
    needed = {role: {name for name, o in spec["options"].items() if o.get("required")} for role, spec in specs.items()}
    missing = set()
    for path in CODE:
        for role, given in roles_used(load(path)):
            lacks = needed[role["name"]] - given.keys() if "tasks_from" not in role else set()
            missing |= {(path.name, role["name"], name) for name in lacks}
    assert missing == {("replace.yml", "service", "service_definition")}  # its plays have it


@pytest.mark.parametrize(
    "path", ["down.yml", "monitoring_down.yml", "tasks/autoscaler_absent.yml", "balancers/share_none.yml"]
)
def test_who_removes_asks_each_role_for_its_removal_alone(path: str) -> None:
    asked = [role.get("tasks_from") for role, _ in roles_used(load(REPOSITORY / "playbooks" / path))]
    assert len(asked) > 1
    assert set(asked) == {"absent"}


def test_whoever_installs_or_removes_says_where_others_look_for_it() -> None:
    roots = {"python_app": "python_app_root", "model_bundle": "model_bundle_root"}
    used = [
        (path.name, given.keys(), roots[role["name"]])
        for path in CODE
        for role, given in roles_used(load(path))
        if role["name"] in roots and role.get("tasks_from") != "preflight"
    ]
    assert len(used) > 10
    # The load generator is nobody's but the client's, so the variable of the role itself says where it is.
    assert {name for name, given, root in used if root not in given} == {"clients.yml"}


def test_the_workers_stage_activate_and_prune_the_same() -> None:
    plays = load(REPOSITORY / "playbooks/workers.yml")
    staged = {role["role"] for play in plays for role in play.get("roles", []) if isinstance(role, dict)}
    assert staged
    for what in ("activate", "prune"):
        assert {role["name"] for role, _ in roles_used(plays) if role.get("tasks_from") == what} == staged


# One worker is taken out or back at a time, and what `make down` removes last nobody needs any more.
GOES_ON = {"Take it out", "Take it back", "Remove the applications", "Remove the folders of a local deployment"}


def test_a_host_that_fails_stops_all() -> None:
    """What comes later would take it for done: the last play of a deployment keeps what was chosen."""
    plays = [
        play
        for path in sorted((REPOSITORY / "playbooks").glob("*.yml"))
        for play in load(path)
        if play.get("hosts", "localhost") != "localhost"
    ]
    assert len(plays) > len(GOES_ON)
    assert {play["name"] for play in plays if not stops_all(play)} == GOES_ON


def stops_all(play: dict[str, Any]) -> bool:
    """Whether one host's failure ends the play for all, or for those that are not begun."""
    return play.get("any_errors_fatal") is True or play.get("max_fail_percentage") == 0 or play.get("serial") == 1


def test_the_controller_s_python_runs_on_the_controller_alone() -> None:
    there = "{{ ansible_playbook_python }}"
    elsewhere = []
    for path in CODE:
        content = load(path)
        # A file of tasks is for any host; of plays those count that are not for the controller.
        away = [entry for entry in content if entry.get("hosts") != "localhost"] if isinstance(content, list) else []
        theirs = [task for task in tasks_in(away) if task.get("vars", {}).get("ansible_python_interpreter") == there]
        elsewhere += [(path.name, task["name"]) for task in theirs if task.get("delegate_to") != "localhost"]
    assert elsewhere == []


def test_a_command_that_looks_changes_nothing() -> None:
    """What runs also where `--check` asks for no change says that it makes none."""
    tasks = [(path, task) for path in CODE for task in tasks_in(load(path)) if task.get("check_mode") is False]
    # The program that boots the slice is told of `--check`, and says itself what it changed.
    looks = [(p, task) for p, task in tasks if "ansible.builtin.command" in task and "local_slice" not in p.parts]
    assert len(looks) > 10
    assert [(path.name, task["name"]) for path, task in looks if task.get("changed_when") is not False] == []


def test_a_command_tells_by_its_first_word_whether_it_changes_anything() -> None:
    """A recap counts what is made and unpacked, and nothing that is asked and compared."""
    commands = {"ansible.builtin.command", "ansible.builtin.shell"}
    tasks = [task for path in CODE for task in tasks_in(load(path)) if commands & task.keys()]
    told = {task["name"]: task["changed_when"] for task in tasks if isinstance(task.get("changed_when"), bool)}
    assert {True, False} == set(told.values())
    assert {name: changed for name, changed in told.items() if changed is (name.split()[0] in UNCOUNTED)} == {}


def test_our_own_modules_get_what_they_ask_for() -> None:
    documented = {}
    for path in [*REPOSITORY.glob("playbooks/library/*.py"), *REPOSITORY.glob("roles/*/library/*.py")]:
        text = path.read_text().partition('DOCUMENTATION = """')[2].partition('"""')[0]
        documented[path.stem] = yaml.safe_load(text)["options"]
    used, wrong = set(), []
    for path in CODE:
        for task in tasks_in(load(path)):
            for module in task.keys() & documented.keys():
                used.add(module)
                if isinstance(given := task[module], dict):  # else a template says it
                    options = documented[module]
                    needed = {name for name, option in options.items() if option.get("required")}
                    known = options.keys() | {"mode", "owner", "group"}
                    wrong += [(path.name, module, name) for name in (needed - given.keys()) | (given.keys() - known)]
    assert used == documented.keys()
    assert wrong == []


def test_who_finds_nothing_to_refuse_says_nothing() -> None:
    asserts = [(path, task) for path in CODE for task in tasks_in(load(path)) if "ansible.builtin.assert" in task]
    assert len(asserts) > 20
    loud = [(path, task) for path, task in asserts if task["ansible.builtin.assert"].get("quiet") is not True]
    assert [(path.name, task["name"]) for path, task in loud] == []


def test_a_run_tells_of_each_host_what_it_tells_of_the_client() -> None:
    tasks = tasks_in(load(REPOSITORY / "playbooks/experiment/prepare.yml"))
    facts = [said["host_facts"] for task in tasks if "host_facts" in (said := task.get("ansible.builtin.set_fact", {}))]
    assert len(facts) == 1
    assert client_facts().keys() - facts[0].keys() == {"machine", "packages"}  # architecture, and what measures


@pytest.mark.filterwarnings("ignore:.*invalid escape sequence")
def test_a_role_s_own_name_is_given_by_it_also_where_it_has_a_default() -> None:
    """A name with a default is nobody's mistake where it is missing, and it would be missing for ever."""
    for role in sorted(REPOSITORY.glob("roles/*/tasks")):
        files = [path for path in CODE if path.is_relative_to(role.parent)]
        said = [pair for path in files for pair in pairs(load(path))]
        given = {key for key, _ in said} | {value for key, value in said if key in NAMES}
        trees = [JINJA.parse(text) for path in files for text in templates_of(path)]
        names = [each for tree in trees for each in tree.find_all(nodes.Name)]
        own = {each.name for each in names if each.ctx == "load" and each.name.startswith("__")}
        assert own - given == set(), role.parent.name
