"""Ansible lookup: one digest of all that some roles make of a host.

That is the files of the roles and of what they call, every variable that they name as it is for this host, and the
facts that they use. Where the digest is the same, the roles would do the same. A variable named for another reason
makes it differ more often than need be, never less.
"""

from __future__ import annotations

import hashlib
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase

DOCUMENTATION = """
name: inputs
short_description: A digest of what some roles make of a host
description: Covers the roles' files and the filters, the variables that they name, and facts.
options:
  _terms:
    description: The folders of the roles.
author: imagerec
"""

# What the roles call: the project's own filters and modules.
CALLED = [Path(__file__).parents[1] / folder for folder in ("filter_plugins", "library")]
FACTS = (
    *(
        "architecture",
        "distribution",
        "distribution_version",
        "memtotal_mb",
        "processor_vcpus",
        "python",
        "service_mgr",
    ),
    "user_uid",
)
# Ansible's own, what this run has found out, and the wiring of all hosts, of which a role gets its part by its options.
_OTHERS = re.compile(
    "(__|ansible_|role_|play_|host_inputs|host_unchanged|inventory_dir|inventory_file|service_replaces|service_sealed|worker_deployment).*"
    "|hostvars|groups|group_names|vars|omit|choices|pool_entry|built_releases|built_bundle"
)


@cache
def files_of(role: Path) -> tuple[str, frozenset[str]]:
    """Return the digest of a role's files and every word in those that make it what it does."""
    digest = hashlib.sha256()
    words: set[str] = set()
    for file in sorted(path for path in role.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        content = file.read_bytes()
        digest.update(f"{file.relative_to(role)}\n{len(content)}\n".encode() + content)
        if file.suffix in {".yml", ".j2"} and file.parent.name != "meta":
            words.update(re.findall(r"[A-Za-z_]\w*", content.decode(errors="replace")))
    return digest.hexdigest(), frozenset(words)


class LookupModule(LookupBase):  # type: ignore[misc]  # Ansible has no types
    """The lookup."""

    def run(self, terms: list[Any], variables: dict[str, Any] | None = None, **_: Any) -> list[str]:
        """Return the digest."""
        given = variables or {}
        roles = [files_of(Path(term)) for term in terms]
        names = frozenset().union(*(words for _, words in roles))
        facts = given.get("ansible_facts", {})
        parts: list[Any] = [*(digest for digest, _ in roles), *(files_of(folder)[0] for folder in CALLED)]
        parts.append({name: self._plain(facts.get(name)) for name in FACTS})
        self._templar.available_variables = given
        parts.append(
            {name: self._value(given[name]) for name in sorted(names & given.keys()) if not _OTHERS.fullmatch(name)}
        )
        return [hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()]

    def _value(self, raw: object) -> str:
        try:
            return self._plain(self._templar.template(raw))
        except AnsibleError:  # it cannot be said outside of its task; then what it is made of counts
            return self._plain(raw)

    @staticmethod
    def _plain(value: object) -> str:
        return json.dumps(value, sort_keys=True, default=str)
