#!/usr/bin/python
"""Ansible module: which deployment a worker runs, which of the last good ones it still has, and which is staged."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: worker_deployments
short_description: Tells which deployment a worker runs, which good ones it still has, and which is staged
description:
  - A deployment is the names of two releases, C(code) and C(model), each a folder below its root.
  - The record is written beside, handed to the disk and renamed. Also a power cut leaves the old one or the new one.
options:
  record:
    description: >-
      File in which deployments are remembered, JSON with C(good) and C(staged). It need not be there, nor its folder.
    type: path
    required: true
  roots:
    description: The folders with the releases of C(code) and of C(model). In each, C(current) leads to one.
    type: dict
    required: true
  remember:
    description: What the record shall hold from now on. Without, nothing is changed.
    type: dict
author: imagerec
"""
RETURN = """
deployment:
  description: >-
    C(runs), where the links lead; C(good), the deployments that were remembered and whose releases are there, newest
    first; C(staged), the one that has not proved itself.
  returned: always
  type: dict
"""


def remembered(record: Path) -> dict[str, Any]:
    """Read the record; one that is not there remembers nothing.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not the record.
    """
    try:
        content: Any = json.loads(record.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {"good": [], "staged": {}}
    good = content.get("good") if isinstance(content, dict) else None
    if not isinstance(good, list) or not all(isinstance(one, dict) and {"code", "model"} <= one.keys() for one in good):
        raise ValueError("it names no good deployments")
    return {"good": good, "staged": content.get("staged", {})}


def remember(record: Path, content: dict[str, Any], *, dry: bool) -> bool:
    """Write the record; return whether it was another one.

    Raises:
        OSError: It cannot be written; then it is as it was.
    """
    text = json.dumps(content, indent=4, sort_keys=True) + "\n"
    if record.exists() and record.read_text(encoding="utf-8") == text:
        return False
    if dry:
        return True
    beside = record.with_name(f".{record.name}.new")
    try:
        if not record.parent.is_dir():
            record.parent.mkdir(parents=True)
            record.parent.chmod(0o755)
        with beside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.chmod(0o644)
        beside.replace(record)
    except OSError:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise
    return True


def main() -> None:
    """Tell it, and remember."""
    module = AnsibleModule(
        argument_spec={
            "record": {"type": "path", "required": True},
            "roots": {"type": "dict", "required": True},
            "remember": {"type": "dict"},
        },
        supports_check_mode=True,
    )
    record, roots = Path(module.params["record"]), {key: Path(root) for key, root in module.params["roots"].items()}
    try:
        found = remembered(record)
    except (OSError, ValueError) as error:
        remedy = "remove it, then deploy; later rollbacks can go back to that deployment, and to none before it"
        module.fail_json(msg=f"{record} cannot be read ({error}); {remedy}")
    wanted, changed = module.params["remember"], False
    if wanted is not None:
        try:
            changed = remember(record, wanted, dry=module.check_mode)
        except OSError as error:
            module.fail_json(msg=f"{record} cannot be written ({error.strerror}); it is as it was")
    links = {key: root / "current" for key, root in roots.items()}
    module.exit_json(
        changed=changed,
        deployment={
            "runs": {key: str(link.readlink()) if link.is_symlink() else "" for key, link in links.items()},
            "good": [names for names in found["good"] if all((roots[key] / names[key]).is_dir() for key in roots)],
            "staged": found["staged"],
        },
    )


if __name__ == "__main__":
    main()
