"""Ansible lookup: settings that nobody reads, each with the nearest known name.

Known are the options of the roles and every name that a playbook or the inventory defines or uses. Looked at are the
variables of the command line (`-e`), and those of the inventory that have the prefix of a role.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import jinja2.nodes
import yaml
from ansible.plugins.lookup import LookupBase
from ansible.utils.vars import load_extra_vars

DOCUMENTATION = """
name: misnamed
short_description: Settings that nobody reads
description: One sentence for each, with the nearest known name.
options:
  _terms:
    description: The folder of the repository.
author: imagerec
"""

_JINJA = jinja2.Environment(autoescape=True)


_Fastest: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Reader(_Fastest):  # type: ignore[misc]
    """Reads YAML with tags of any kind."""


_Reader.add_multi_constructor("", lambda loader, _suffix, node: loader.construct_scalar(node))


def names_in(content: object) -> Iterator[str]:
    """Yield every key and every variable of a template in parsed YAML."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield str(key)
            yield from names_in(value)
    elif isinstance(content, list):
        for value in content:
            yield from names_in(value)
    elif isinstance(content, str) and content:
        for text in (content, f"{{{{ {content} }}}}"):  # conditions stand without braces
            try:
                yield from (name.name for name in _JINJA.parse(text).find_all(jinja2.nodes.Name))
            except jinja2.TemplateSyntaxError:
                continue


def names_below(paths: list[Path]) -> set[str]:
    """Return the names of every YAML file among paths and below them."""
    found: set[str] = set()
    for path in paths:
        for file in [path] if path.is_file() else [*path.rglob("*.yml"), *path.rglob("*.yaml")]:
            try:
                found.update(names_in(yaml.load(file.read_text(encoding="utf-8"), _Reader)))  # noqa: S506  a SafeLoader
            except (OSError, ValueError, yaml.YAMLError):
                continue  # no YAML, or not to be read: Ansible says so where it matters
    return found


def options_of(roles: Path) -> dict[str, set[str]]:
    """Return each role's options, by role."""
    found = {}
    for spec in roles.glob("*/meta/argument_specs.yml"):
        content = yaml.load(spec.read_text(encoding="utf-8"), _Reader)["argument_specs"]  # noqa: S506  a SafeLoader
        found[spec.parents[1].name] = {name for entry in content.values() for name in entry["options"]}
    return found


def misnamed(given: set[str], project: Path, inventories: list[Path]) -> list[str]:
    """Say of each setting that nobody reads what it may have been meant to be."""
    roles = options_of(project / "roles")
    settings = {name for options in roles.values() for name in options}
    settings |= names_below([project / "playbooks"])
    beside = [path.parent / name for path in inventories for name in ("group_vars", "host_vars")]
    inventory = names_below([*inventories, *(folder for folder in beside if folder.is_dir())])
    unknown = {name: "-e sets" for name in given - settings - inventory if not name.startswith("ansible_")}
    prefixes = tuple(f"{role}_" for role in roles)
    unknown |= {name: "the inventory sets" for name in inventory - settings if name.startswith(prefixes)}
    sentences = []
    for name, where in sorted(unknown.items()):
        near = difflib.get_close_matches(name, (settings | inventory) - unknown.keys(), 1)
        hint = f"did you mean {near[0]}?" if near else "the settings stand in roles/*/README.md"
        sentences.append(f"{where} {name}, which nothing reads; {hint}")
    return sentences


class LookupModule(LookupBase):  # type: ignore[misc]  # Ansible has no types
    """The lookup."""

    def run(self, terms: list[Any], variables: dict[str, Any] | None = None, **_: Any) -> list[str]:
        """Return the sentences; none where all is known."""
        sources = [Path(source) for source in (variables or {}).get("ansible_inventory_sources") or []]
        present = [source for source in sources if source.exists()]
        return misnamed(set(load_extra_vars(self._loader)), Path(terms[0]), present)
