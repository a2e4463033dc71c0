"""Ansible inventory plugin, the last in the list: an inventory that is not there is refused in one line."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, NoReturn

from ansible.plugins.inventory import BaseInventoryPlugin

DOCUMENTATION = """
name: unknown_source
short_description: Refuses an inventory that is not there
description:
  - Names the inventory of this repository whose name comes nearest, instead of going on without any host.
options: {}
author: imagerec
"""


def known_inventories(folder: Path) -> dict[str, str]:
    """Return what can be given as an inventory, by name: a folder's hosts.yml where it has one, else the folder."""
    folders = [path for path in folder.iterdir() if path.is_dir() and any(path.glob("*.yml"))]
    return {
        path.name: f"{folder.name}/{path.name}{'/hosts.yml' if (path / 'hosts.yml').exists() else ''}"
        for path in sorted(folders)
    }


def refusal(source: str, known: dict[str, str]) -> str:
    """Say that there is no such inventory, with the nearest known one."""
    path = Path(source)
    name = path.parent.name if path.name == "hosts.yml" else path.name
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {known[near[0]]}? There are" if near else "choose one of"
    return f"there is no inventory {source}; {hint} {', '.join(known.values())}, or copy inventory/example"


class InventoryModule(BaseInventoryPlugin):  # type: ignore[misc]  # Ansible has no types
    """Takes what no other plugin can: a path where nothing is."""

    NAME = "unknown_source"

    def verify_file(self, path: str) -> bool:
        """Whether there is nothing at the path."""
        return not Path(path).exists()

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> NoReturn:  # noqa: ARG002  Ansible's
        """Refuse it. Ansible would turn any other exception into several lines, and a warning."""
        raise SystemExit(f"ERROR: {refusal(path, known_inventories(Path(__file__).parents[1]))}")
