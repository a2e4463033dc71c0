"""Ansible lookup: one sentence for each setting that nothing reads, and for each value that an option cannot have.

Known are the options of the roles and every name that a playbook or the inventory defines or uses. Looked at are the
variables of the command line (`-e`), and those of the inventory that have the prefix of a role or are nearly the name
of a setting. A role checks values itself as well, but only in its turn, when others have changed their hosts.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import jinja2.nodes
import yaml
from ansible.plugins.lookup import LookupBase
from ansible.utils.vars import load_extra_vars

DOCUMENTATION = """
name: misnamed
short_description: Settings that mean nothing
description: One sentence for each name that nothing reads and each value that cannot be, with the nearest known one.
options:
  _terms:
    description: The folder of the repository.
author: imagerec
"""

# What Ansible takes for true or false.
BOOLEANS = {"true", "false", "yes", "no", "on", "off", "y", "n", "t", "f", "1", "0"}
_JINJA = jinja2.Environment(autoescape=True)
# Settings of the playbooks, with their types, which no role has.
# Another variable of an inventory may have any other name.
OF_THE_PLAYBOOKS = {
    "autoscaler": "bool",
    "drain_patience_s": "int",
    "thorough": "bool",
    **dict.fromkeys(("model", "model_fallback", "model_mirror", "slice_address", "slice_cores"), "raw"),
    "workers_serial": "raw",
}


_Fastest: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Reader(_Fastest):  # type: ignore[misc]
    """Reads YAML; what has a tag, such as a secret of `!vault`, is None."""


_Reader.add_multi_constructor("", lambda _loader, _suffix, _node: None)


def names_in(content: object, *, keys: bool = True) -> Iterator[str]:
    """Yield every key, if wanted, and every variable of a template in parsed YAML."""
    if isinstance(content, dict):
        for key, value in content.items():
            if keys:
                yield str(key)
            yield from names_in(value, keys=keys)
    elif isinstance(content, list):
        for value in content:
            yield from names_in(value, keys=keys)
    elif isinstance(content, str) and content:
        for text in (content, f"{{{{ {content} }}}}"):  # conditions stand without braces
            try:
                yield from (name.name for name in _JINJA.parse(text).find_all(jinja2.nodes.Name))
            except jinja2.TemplateSyntaxError:
                continue


def contents_below(paths: list[Path]) -> Iterator[object]:
    """Yield what every YAML file among paths and below them says."""
    for path in paths:
        for file in [path] if path.is_file() else [*path.rglob("*.yml"), *path.rglob("*.yaml")]:
            try:
                yield yaml.load(file.read_text(encoding="utf-8"), _Reader)  # noqa: S506  a SafeLoader
            except (OSError, ValueError, yaml.YAMLError):
                continue  # no YAML, or not to be read: Ansible says so where it matters


def values_in(content: object) -> Iterator[tuple[str, object]]:
    """Yield every key with its value, however deep, but for the expressions of an inventory plugin."""
    for key, value in content.items() if isinstance(content, dict) else []:
        yield str(key), value
        yield from values_in(value if key != "compose" else None)


def variables_in(content: object) -> Iterator[str]:
    """Yield the variables that a file of an inventory gives to hosts and groups, not the names of these."""
    for key, value in content.items() if isinstance(content, dict) else []:
        if key == "vars" and isinstance(value, dict):
            yield from map(str, value)
        elif key == "hosts" and isinstance(value, dict):
            yield from (str(name) for given in value.values() if isinstance(given, dict) for name in given)
        elif key == "children" and isinstance(value, dict):
            yield from (name for group in value.values() for name in variables_in(group))
        elif isinstance(value, dict) and value.keys() & {"vars", "hosts", "children"}:
            yield from variables_in(value)
        else:
            yield str(key)


@cache
def options_of(roles: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """Return each role's options with what is said of them, by role."""
    found = {}
    for spec in roles.glob("*/meta/argument_specs.yml"):
        content = yaml.load(spec.read_text(encoding="utf-8"), _Reader)["argument_specs"]  # noqa: S506  a SafeLoader
        found[spec.parents[1].name] = {
            name: said for entry in content.values() for name, said in entry["options"].items()
        }
    return found


def said_by(inventories: list[Path]) -> list[object]:
    """Return what each file of the inventories says."""
    more = [path.parent / name for path in inventories for name in ("group_vars", "host_vars")]
    return list(contents_below([*inventories, *(folder for folder in more if folder.is_dir())]))


def of_kind(value: object, kind: str) -> str:
    """Say why a value is not of an option's kind; nothing where it is."""
    text = str(value)
    if kind in {"int", "float"}:
        try:
            whole = float(text).is_integer()
        except ValueError:
            return "no number"
        return "" if whole or kind == "float" else "no whole number"
    if kind == "bool":
        return "" if text.lower() in BOOLEANS else "neither true nor false"
    return f"no {kind}" if kind in {"list", "dict"} and not isinstance(value, list | dict) else ""


def fault_of(name: str, value: object, option: dict[str, Any]) -> str:
    """Say why an option cannot have a value; nothing where it can, or where a template will make it."""
    text, known = str(value), [str(choice) for choice in option.get("choices", [])]
    if value is None or "{{" in text or "{%" in text:
        return ""
    if text == "" and option.get("elements") == "str":  # a list of none
        return ""
    if fault := of_kind(value, option["type"]):
        example = json.dumps({name: [text]})
        return f"{fault}; write it as in -e '{example}'" if option["type"] == "list" else fault
    if not known or text in known or ("off" in known and value is False):  # an unquoted off of YAML
        return ""
    near = ["off"] if "off" in known and text.lower() == "false" else difflib.get_close_matches(text, known, 1)
    return f"unknown; did you mean {near[0]}?" if near else f"unknown; choose one of {', '.join(known)}"


def mistaken(given: dict[str, Any], project: Path, inventory: list[object]) -> list[str]:
    """Say of each setting whose value its option cannot have what is wrong with it."""
    options: dict[str, dict[str, Any]] = {name: {"type": kind} for name, kind in OF_THE_PLAYBOOKS.items()}
    options |= {name: said for role in options_of(project / "roles").values() for name, said in role.items()}
    stands = [pair for content in inventory for pair in values_in(content)]
    said = [("-e sets", name, value) for name, value in given.items()]
    said += [("the inventory sets", name, value) for name, value in stands if name not in given]
    faults = {
        f"{where} {name} to {value}, which is {fault}"
        for where, name, value in said
        if name in options and (fault := fault_of(name, value, options[name]))
    }
    return sorted(faults)


def misnamed(given: set[str], project: Path, inventory: list[object]) -> list[str]:
    """Say of each setting that nobody reads what it may have been meant to be."""
    roles = options_of(project / "roles")
    meant = {name for options in roles.values() for name in options} | OF_THE_PLAYBOOKS.keys()
    settings = meant | set(names_in(list(contents_below([project / "playbooks"]))))
    stands = set(names_in(inventory))
    unknown = {name: "-e sets" for name in given - settings - stands if not name.startswith("ansible_")}
    prefixes = tuple(f"{role}_" for role in roles)
    of_hosts = {name for content in inventory for name in variables_in(content)} - set(names_in(inventory, keys=False))
    unknown |= {
        name: "the inventory sets"
        for name in stands - settings
        if name.startswith(prefixes) or (name in of_hosts and difflib.get_close_matches(name, meant, 1, 0.9))
    }
    sentences = []
    for name, where in sorted(unknown.items()):
        near = difflib.get_close_matches(name, (settings | stands) - unknown.keys(), 1)
        hint = f"did you mean {near[0]}?" if near else "the settings stand in roles/*/README.md"
        sentences.append(f"{where} {name}, which nothing reads; {hint}")
    return sentences


def _given(content: object, group: str) -> Iterator[str]:
    """Yield the names of a group's variables in a file of an inventory."""
    for key, value in content.items() if isinstance(content, dict) else []:
        if key == group and isinstance(value, dict) and isinstance(value.get("vars"), dict):
            yield from map(str, value["vars"])
        yield from _given(value, group)


def overruled(project: Path, inventories: list[Path]) -> list[str]:
    """Say of each variable of a group that the playbooks' own group_vars stand above it."""
    above = {path.stem: set(yaml.safe_load(path.read_text())) for path in project.glob("playbooks/group_vars/*.yml")}
    above["all"] |= above["balancers"]
    sentences = set()
    for group, names in above.items():
        places = {place for path in inventories for place in (path, path.parent)}
        files = [path for place in places for path in place.glob(f"group_vars/{group}*") if path.stem == group]
        given = {name for content in contents_below(files) for name in (content if isinstance(content, dict) else ())}
        given |= {name for content in contents_below(inventories) for name in _given(content, group)}
        sentences |= {
            f"the group {group} of the inventory sets {name}, which the playbooks set themselves; "
            "set it for a host, or with -e"
            for name in given & names
        }
    return sorted(sentences)


class LookupModule(LookupBase):  # type: ignore[misc]  # Ansible has no types
    """The lookup."""

    def run(self, terms: list[Any], variables: dict[str, Any] | None = None, **_: Any) -> list[str]:
        """Return the sentences; none where all is well."""
        sources = [Path(source) for source in (variables or {}).get("ansible_inventory_sources") or []]
        sources = [source for source in sources if source.exists()]
        given, project, inventory = load_extra_vars(self._loader), Path(terms[0]), said_by(sources)
        said = misnamed(set(given), project, inventory) + mistaken(given, project, inventory)
        return said + overruled(project, sources)
