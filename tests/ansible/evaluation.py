"""What roles and playbooks say, evaluated by Ansible's own templates in this process: without a host, and at once."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import filter_loader, init_plugin_loader
from ansible.template import Templar, trust_as_template

from tests.conftest import REPOSITORY

_LOADER = DataLoader()
PARTS = ("pre_tasks", "tasks", "post_tasks", "block", "rescue", "always")
HOST = {"inventory_hostname": "host", "slice_address": "10.10.1.1", "ansible_check_mode": False}


@functools.cache
def _plugins() -> None:
    init_plugin_loader()
    filter_loader.add_directory(str(REPOSITORY / "playbooks/filter_plugins"))


def load(path: str) -> Any:
    """What a file of the checkout says; its templates may be evaluated."""
    return _LOADER.load_from_file(str(REPOSITORY / path), trusted_as_template=True)


def trusted(value: Any) -> Any:
    """The same value; its templates may be evaluated."""
    if isinstance(value, dict):
        return {key: trusted(each) for key, each in value.items()}
    if isinstance(value, list):
        return [trusted(each) for each in value]
    return trust_as_template(value) if isinstance(value, str) else value


def variables_of(role: str, given: dict[str, Any]) -> dict[str, Any]:
    """The variables of a role on a host where these are given."""
    private = REPOSITORY / f"roles/{role}/vars/main.yml"
    own = load(f"roles/{role}/vars/main.yml") if private.exists() else {}
    return {**HOST, **load(f"roles/{role}/defaults/main.yml"), **own, **trusted(given)}


def evaluated(value: Any, variables: dict[str, Any]) -> Any:
    """A value with its templates evaluated."""
    _plugins()
    return Templar(_LOADER, {**HOST, **variables}).template(trusted(value))


def holds(conditions: Any, variables: dict[str, Any]) -> bool:
    """Whether a condition holds, or all of a list."""
    _plugins()
    templar = Templar(_LOADER, {**HOST, **trusted(variables)})
    every = conditions if isinstance(conditions, list) else [conditions]
    return all(templar.evaluate_conditional(trusted(each)) for each in every)


def refusals(role: str, given: dict[str, Any]) -> list[str]:
    """What a role's preflight says of these settings."""
    known = variables_of(role, given)
    wrong = [each for each in known[f"__{role}_requirements"] if evaluated(each["holds"], known) is not True]
    return [evaluated(each["otherwise"], known) for each in wrong]


def tasks_named(path: str, name: str) -> list[dict[str, Any]]:
    """The tasks and blocks of this name in a file, however deep."""

    def below(entries: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for each in entries:
            yield each
            for part in PARTS:
                yield from below(each.get(part) or [])

    return [each for each in below(load(path)) if each.get("name") == name]
