#!/usr/bin/python
"""Ansible module: of the releases below a folder, removes the oldest and those that are not whole."""

from __future__ import annotations

import shutil
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: prune
short_description: Removes releases beyond a number, the oldest first
description:
  - A release is a folder. Where C(current) leads to is kept, whatever its age.
options:
  root:
    description: Folder of the releases. It need not be there.
    type: path
    required: true
  pattern:
    description: What the releases are called.
    type: str
    default: "*"
  keep:
    description: Number of releases that are kept at least, the spared ones included.
    type: int
    required: true
  spare:
    description: Names of releases that are kept whatever their age.
    type: list
    default: []
  unfinished:
    description: Endings of releases that are not whole; they are removed whatever their age.
    type: list
    default: []
author: imagerec
"""
RETURN = """
removed:
  description: The names of what was removed.
  returned: always
  type: list
"""


def outdated(root: Path, pattern: str, keep: int, spare: set[str], unfinished: tuple[str, ...]) -> list[Path]:
    """Return the releases to remove."""
    folders = [path for path in root.glob(pattern) if path.is_dir() and not path.is_symlink() and path.name[0] != "."]
    folders.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    halves = [path for path in folders if path.name.endswith(unfinished)]
    whole = [path for path in folders if path not in halves]
    others = [path for path in whole if path.name not in spare]
    return halves + others[max(keep - (len(whole) - len(others)), 0) :]


def main() -> None:
    """Remove them, and say which."""
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "required": True},
            "pattern": {"type": "str", "default": "*"},
            "keep": {"type": "int", "required": True},
            "spare": {"type": "list", "elements": "str", "default": []},
            "unfinished": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    given = module.params
    root = Path(given["root"])
    current = root / "current"
    try:
        spare = {*given["spare"], current.readlink().name if current.is_symlink() else ""}
        old = outdated(root, given["pattern"], given["keep"], spare, tuple(given["unfinished"]))
        for path in old if not module.check_mode else []:
            shutil.rmtree(path)
    except OSError as error:
        module.fail_json(msg=f"{error.filename}: {error.strerror}")
    module.exit_json(changed=bool(old), removed=[path.name for path in old])


if __name__ == "__main__":
    main()
