"""What holds for every task of the roles and playbooks, whatever it is about."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

from tests.ansible.test_wiring import CODE, load, tasks_in
from tests.conftest import REPOSITORY

BUILTIN = "ansible.builtin."


class Task(NamedTuple):
    """A task: where it stands, all that it says, and what its module is given."""

    path: Path
    says: dict[str, Any]
    options: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.path.relative_to(REPOSITORY)}: {self.says.get('name')}"


TASKS = [(path, says) for path in CODE for says in tasks_in(load(path))]


def of(*modules: str) -> list[Task]:
    """The tasks of these modules."""
    found = [Task(path, says, says[module]) for path, says in TASKS for module in modules if module in says]
    assert found
    return found


def written() -> list[Task]:
    """Whatever writes a file, each with the options that a copy has; `texts` writes several."""
    several = [
        Task(task.path, task.says, {"mode": "0644"} | file | {"dest": file["path"]})
        for task in of("texts")
        for file in task.options["files"]
        if isinstance(file, dict)  # else a template says which
    ]
    assert len(several) > 5
    return of(f"{BUILTIN}copy", f"{BUILTIN}template") + several


def test_what_is_written_can_be_read_by_a_service_s_user_and_written_by_root_alone() -> None:
    modes = {f"{task}, {task.options['dest']}": task.options.get("mode") for task in written()}
    assert {name: mode for name, mode in modes.items() if mode not in {"0644", "0755", "0600"}} == {}
    folders = [task for task in of(f"{BUILTIN}file", "files") if task.options.get("state") == "directory"]
    assert len(folders) > 10
    assert [str(task) for task in folders if task.options.get("mode") != "0755"] == []


def test_a_link_is_moved_whatever_stands_in_its_place() -> None:
    links = [task for task in of(f"{BUILTIN}file") if "src" in task.options]
    assert len(links) > 3
    wanted = ("link", True)
    assert [str(task) for task in links if (task.options.get("state"), task.options.get("force")) != wanted] == []


def test_what_its_program_could_refuse_is_checked_before_it_lands() -> None:
    checks = [task for task in written() if "%s" in task.options.get("validate", "")]
    checked = {task.options["dest"].rpartition("/")[2] for task in checks}
    assert {"gunicorn.conf.py", "nginx.conf", "rules.yml", "keepalived.conf"} <= checked


def test_what_is_the_same_of_all_hosts_is_said_once() -> None:
    entries = [entry for path in CODE if isinstance(content := load(path), list) for entry in content]
    plays = [entry for entry in entries if entry.get("hosts", "localhost") != "localhost"]
    said = [task for task in tasks_in(plays) if f"{BUILTIN}debug" in task]
    of_each_host = {"Say what is now", "Say where to look"}
    assert {task["name"] for task in said if task.get("run_once") is not True} == of_each_host
    assert len(said) > len(of_each_host)


def test_hosts_are_asked_without_a_proxy() -> None:
    """A proxy of the environment is for the world outside."""
    plays = [play for path in CODE if path.name == "verify.yml" for play in load(path)]
    usual = [play["module_defaults"][f"{BUILTIN}uri"] for play in plays if "module_defaults" in play]
    assert [each.get("use_proxy") for each in usual] == [False]
    for task in of(f"{BUILTIN}uri"):
        by_its_play = task.path.name == "verify.yml" and "service_url" in task.options["url"]
        assert task.options.get("use_proxy") is False or by_its_play, str(task)


def test_what_is_done_on_the_controller_is_done_as_its_user() -> None:
    """But for the machines of a slice there, which only root may limit."""
    there = [Task(path, says, {}) for path, says in TASKS if says.get("delegate_to") == "localhost"]
    assert len(there) > 5
    wrong = [task for task in there if task.says.get("become") is not (task.path.name == "share_of_slice.yml")]
    assert list(map(str, wrong)) == []


def test_apt_takes_the_newest_of_what_is_named_alone_and_starts_no_service() -> None:
    for task in of(f"{BUILTIN}apt"):
        assert (task.options["state"], task.options["update_cache"]) == ("latest", True), str(task)
        assert task.options["install_recommends"] is False, str(task)
        assert task.options["policy_rc_d"] % 256 == 101, str(task)


def test_a_unit_that_is_started_starts_at_boot_too_and_one_that_is_ended_for_good_does_not() -> None:
    for task in of(f"{BUILTIN}systemd_service"):
        ends = task.path.stem.endswith("absent") or task.options.get("masked") is True
        if task.options.get("state") == "started":
            assert task.options.get("enabled") is True, str(task)
        if ends and "name" in task.options:
            assert (task.options.get("enabled"), task.options.get("state")) == (False, "stopped"), str(task)
    for role in ("balancer", "monitoring"):  # what the distribution would start listens on all addresses
        last = load(REPOSITORY / f"roles/{role}/tasks/install.yml")[-1][f"{BUILTIN}systemd_service"]
        assert last.get("masked") is True


def test_systemd_reads_a_unit_anew_before_it_starts_it() -> None:
    own = [task for task in of(f"{BUILTIN}systemd_service") if task.path.parent.name == "systemd"]
    starts = [task for task in own if re.search(r"\bstarted", str(task.options.get("state")))]
    assert len(starts) > 3
    assert [str(task) for task in starts if task.options.get("daemon_reload") in {None, False}] == []


# What a setting of the host's would change: where pip looks, and the language that a program answers in.
ENVIRONMENTS = {"-m pip": {"PIP_CONFIG_FILE": "/dev/null"}, "apt-cache|__monitoring_look": {"LC_ALL": "C"}}


def test_a_program_does_the_same_whatever_the_host_is_set_to() -> None:
    for words, environment in ENVIRONMENTS.items():
        commands = of(f"{BUILTIN}command", f"{BUILTIN}shell")
        asked = [task for task in commands if re.search(words, str(task.options))]
        assert asked
        assert [str(task) for task in asked if task.says.get("environment") != environment] == []
