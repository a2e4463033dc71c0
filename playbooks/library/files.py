#!/usr/bin/python
"""Ansible module: ansible.builtin.file for many paths at once."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: files
short_description: Makes folders, or removes what is there, for many paths in one run
description:
  - As ansible.builtin.file, of which a loop starts a Python for each path.
options:
  paths:
    description: Absolute paths.
    type: list
    required: true
  state:
    description: What they shall be. Folders above are made as well. Folders are removed with what they hold.
    choices: [directory, absent]
    required: true
  own:
    description:
      - Those of the folders that anybody could have made first. One that is not this user's is refused before any is
        made, and so is a link.
    type: list
    default: []
extends_documentation_fragment: ansible.builtin.files
author: imagerec
"""


def remove(path: Path) -> None:
    """Remove a file, a link or a folder with what it holds."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def is_foreign(path: Path) -> bool:
    """Tell whether something is there that is no folder of this user; a link is none."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    return not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid()


def main() -> None:
    """Do it for each path, and say which were changed."""
    module = AnsibleModule(
        argument_spec={
            "paths": {"type": "list", "elements": "path", "required": True},
            "state": {"choices": ["directory", "absent"], "required": True},
            "own": {"type": "list", "elements": "path", "default": []},
        },
        add_file_common_args=True,
        supports_check_mode=True,
    )
    state, changed = module.params["state"], []
    for path in map(Path, module.params["own"]):
        if is_foreign(path):
            module.fail_json(msg=f"{path} belongs to another user or is no folder; remove it, then run this again")
    for path in map(Path, module.params["paths"]):
        try:
            there = path.exists() or path.is_symlink()
            if state == "absent":
                made = there
                if there and not module.check_mode:
                    remove(path)
            elif there and not path.is_dir():
                module.fail_json(msg=f"{path} is no folder; move it away, then run this again")
            else:
                made = not there
                if made and not module.check_mode:
                    path.mkdir(parents=True, exist_ok=True)
                if path.is_dir():
                    wanted = module.load_file_common_arguments(module.params, path=str(path.resolve()))
                    made = module.set_fs_attributes_if_different(wanted, made)
        except OSError as error:
            module.fail_json(msg=f"{path}: {error.strerror}")
        if made:
            changed.append(str(path))
    module.exit_json(changed=bool(changed), paths=changed)


if __name__ == "__main__":
    main()
