#!/usr/bin/python
"""Ansible module: writes several texts, each into a file of its own."""

from __future__ import annotations

import shlex
import stat
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: texts
short_description: Writes several files in one run
description:
  - As ansible.builtin.template, which starts a Python twice for each file.
  - C(lookup('ansible.builtin.template', …)) gives a text.
  - The files are written in their order, each whole or not at all. One that is refused stays as it was, and so do those
    after it.
options:
  files:
    description: >-
      C(path) and C(text) of each file; C(mode), which is "0644" unless another is given; C(validate), a command that
      ends with another status than 0 where it refuses the file at C(%s), which stands in the same folder meanwhile.
    type: list
    required: true
  absent:
    description: Paths of files that are removed when the others are written.
    type: list
    default: []
author: imagerec
"""
RETURN = """
paths:
  description: The files that were not as given, and those that were there and should not be.
  returned: always
  type: list
"""


def read(path: Path) -> tuple[bytes | None, int]:
    """Return what a file holds, and its mode; None where there is none, or a link."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return None, 0
    return (None, 0) if stat.S_ISLNK(mode) else (path.read_bytes(), stat.S_IMODE(mode))


def refusal(module: AnsibleModule, command: str, file: Path) -> str:
    """Return what a command says against a file; nothing where it takes it."""
    words = shlex.split(command % shlex.quote(str(file)))
    code, said, complaint = module.run_command(words, expand_user_and_vars=False, handle_exceptions=False)
    return "" if code == 0 else str(complaint or said).strip() or f"{words[0]} has ended with {code}"


def place(module: AnsibleModule, path: Path, file: dict[str, Any]) -> None:
    """Give a file its text and its mode.

    Raises:
        OSError: It cannot be written.
        ValueError: It is refused.
    """
    beside = path.with_name(f".{path.name}.new")
    try:
        beside.write_bytes(file["text"].encode())
        beside.chmod(int(file["mode"], 8))
        if file["validate"] and (said := refusal(module, file["validate"], beside)):
            raise ValueError(f"it is refused: {said.replace(str(beside), str(path))}")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def main() -> None:
    """Write those that differ, and say which."""
    options = {
        "path": {"type": "path", "required": True},
        "text": {"type": "str", "required": True},
        "mode": {"type": "str", "default": "0644"},
        "validate": {"type": "str", "default": ""},
    }
    module = AnsibleModule(
        argument_spec={
            "files": {"type": "list", "elements": "dict", "options": options, "required": True},
            "absent": {"type": "list", "elements": "path", "default": []},
        },
        supports_check_mode=True,
        no_log=True,  # the host's journal would have each text whole
    )
    changed: list[str] = []
    differences: list[dict[str, str]] = []
    path = Path()
    try:
        for file in module.params["files"]:
            path = Path(file["path"])
            before, mode = read(path)
            if before == file["text"].encode() and mode == int(file["mode"], 8):
                continue
            if not module.check_mode:
                place(module, path, file)
            changed.append(str(path))
            texts = {"before": (before or b"").decode(errors="replace"), "after": file["text"]}
            differences.append({"before_header": str(path), "after_header": str(path)} | texts)
        for path in map(Path, module.params["absent"]):
            if path.exists() or path.is_symlink():
                if not module.check_mode:
                    path.unlink()
                changed.append(str(path))
    except OSError as error:
        module.fail_json(msg=f"{path}: {error.strerror}", changed=bool(changed), paths=changed)
    except ValueError as error:
        module.fail_json(msg=f"{path}: {error}", changed=bool(changed), paths=changed)
    shown = {"diff": differences} if module._diff else {}
    module.exit_json(changed=bool(changed), paths=changed, **shown)


if __name__ == "__main__":
    main()
