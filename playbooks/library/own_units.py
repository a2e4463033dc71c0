#!/usr/bin/python
"""Ansible module: writes down what the distribution's own units do on a host, and has them do it again."""

from __future__ import annotations

import os
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: own_units
short_description: Writes down what a host's own units do, or has them do that again
description:
  - A deployment puts programs of its own into the place of the distribution's. What their units did is written down
    before they are changed first, and given back when the deployment is removed.
options:
  record:
    description: Folder with a file for each unit. It is made where it is not there.
    type: path
    required: true
  names:
    description: The units to write down, with their endings. One that is written down already is left as it is.
    type: list
    default: []
  state:
    description: remembered writes them down. given_back has each one do what is written, and forgets it.
    choices: [remembered, given_back]
    required: true
author: imagerec
"""
RETURN = """
units:
  description: Those that were written down, or that did something else.
  returned: always
  type: list
"""


class Host:
    """The units of a host.

    Attributes:
        module: What is asked for; in check mode nothing changes.
    """

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module

    def show(self, name: str) -> str:
        """Return what systemd says of a unit, a line for each property."""
        command = ["systemctl", "show", "--property=LoadState,UnitFileState,ActiveState", name]
        return str(self.module.run_command(command, check_rc=True)[1])

    def tell(self, word: str, name: str) -> None:
        """Have systemd do something with a unit."""
        if not self.module.check_mode:
            self.module.run_command(["systemctl", word, name], check_rc=True)

    def give_back(self, name: str, before: dict[str, str]) -> bool:
        """Have a unit do what it did; return whether it did something else."""
        now = told(self.show(name))
        was_masked, is_masked = (each.get("UnitFileState") == "masked" for each in (before, now))
        if was_masked != is_masked:
            self.tell("mask" if was_masked else "unmask", name)
            now = told(self.show(name))
        words = []
        # What is masked cannot start, and a package may be gone.
        if not was_masked and now.get("LoadState") != "not-found":
            for key, state, yes, no in (
                ("UnitFileState", "enabled", "enable", "disable"),
                ("ActiveState", "active", "start", "stop"),
            ):
                wanted = before.get(key) == state
                words += [yes if wanted else no] if wanted != (now.get(key) == state) else []
        for word in words:
            self.tell(word, name)
        return was_masked != is_masked or bool(words)


def told(text: str) -> dict[str, str]:
    """Return the properties by their names."""
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def write(path: Path, text: str) -> None:
    """Write a file. The disk holds it before it has its name: no later run would mend one that is left empty."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.new")
    with beside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def main() -> None:
    """Do it for each unit, and say which were changed."""
    module = AnsibleModule(
        argument_spec={
            "record": {"type": "path", "required": True},
            "names": {"type": "list", "elements": "str", "default": []},
            "state": {"choices": ["remembered", "given_back"], "required": True},
        },
        supports_check_mode=True,
    )
    host, record, changed = Host(module), Path(module.params["record"]), []
    try:
        if module.params["state"] == "remembered":
            changed = [name for name in module.params["names"] if not (record / name).exists()]
            for name in changed if not module.check_mode else []:
                write(record / name, host.show(name))
        else:
            for path in sorted(record.glob("*.service")):
                changed += [path.name] if host.give_back(path.name, told(path.read_text(encoding="utf-8"))) else []
                if not module.check_mode:
                    path.unlink()
    except OSError as error:
        module.fail_json(msg=f"{error.filename}: {error.strerror}")
    module.exit_json(changed=bool(changed), units=changed)


if __name__ == "__main__":
    main()
