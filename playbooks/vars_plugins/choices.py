"""Ansible vars: what `make up` and `make deploy` were told before, for the hosts of the same inventory.

Each inventory has a file of choices in .choices/ of the checkout. A host's variables have what it keeps, so a choice
stands above group_vars and below `-e`. The action `choices` writes the file.
"""

from __future__ import annotations

import json
import os
import re
from functools import cache
from pathlib import Path
from typing import Any

from ansible.inventory.host import Host
from ansible.plugins.vars import BaseVarsPlugin
from ansible.utils.vars import load_extra_vars

DOCUMENTATION = """
name: choices
short_description: What was chosen for an inventory before
description:
  - Gives every host MODEL and POLICY as they were chosen last.
  - Its variable choices says which are kept and since when, why each has its value, and make's word for each.
options: {}
author: imagerec
"""

CHECKOUT = Path(__file__).parents[2]
USUAL_MANIFEST = CHECKOUT / "rspec/manifests/local.xml"  # which geni_manifest takes where none is named
# What is kept for the next run, and make's word for each.
WORDS = {"model": "MODEL", "balancer_policy": "POLICY"}


def file_of(inventory: Path) -> Path:
    """Return the file of the choices of an inventory's folder; slices that share an inventory have one each."""
    name = os.path.relpath(inventory, CHECKOUT)
    manifest = Path(os.environ.get("GENI_MANIFEST", USUAL_MANIFEST))
    named = "" if manifest.resolve() == USUAL_MANIFEST.resolve() else manifest.stem
    return CHECKOUT / ".choices" / f"{re.sub('[^A-Za-z0-9]+', '-', f'{name}-{named}').strip('-')[-200:]}.json"


@cache
def choices_of(file: Path) -> dict[str, Any]:
    """Return what the file keeps: each choice with its time, and the settings that the last run alone had."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return {"file": str(file), "kept": dict(content["kept"]), "once": dict(content["once"])}
    except (OSError, ValueError, KeyError, TypeError):  # none yet, or a damaged one: nothing was chosen
        return {"file": str(file), "kept": {}, "once": {}}


def reason(name: str, given: dict[str, Any], kept: dict[str, Any]) -> str:
    """Say why a setting has its value."""
    if name in given:
        return "of this command"
    if name in kept:
        return f"chosen {kept[name]['at']}; {WORDS[name]}=default goes back"
    return "default"


class VarsModule(BaseVarsPlugin):  # type: ignore[misc]  # Ansible has no types
    """The plugin."""

    REQUIRES_ENABLED = False

    def get_vars(self, loader: Any, path: str, entities: Any, **_: Any) -> dict[str, Any]:
        """Return the choices, for hosts of an inventory's files."""
        del path  # a playbook's folder as well
        entities = entities if isinstance(entities, list) else [entities]
        folders = [entity.vars.get("inventory_dir") for entity in entities if isinstance(entity, Host)]
        if not any(folders):
            return {}
        given = dict(load_extra_vars(loader))
        choices = choices_of(file_of(Path(folders[0])))
        back = str(given.get("back_to_default", "")).split()
        kept = {name: kept for name, kept in choices["kept"].items() if name in WORDS and name not in back}
        why = {name: reason(name, given, kept) for name in WORDS}
        return {name: one["value"] for name, one in kept.items()} | {
            "choices": {**choices, "kept": kept, "why": why, "words": WORDS}
        }
