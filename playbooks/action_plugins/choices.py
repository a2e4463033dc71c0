"""Ansible action: keeps what a run was told, or forgets it, in the file that the vars plugin `choices` reads."""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.vars import load_extra_vars

DOCUMENTATION = """
module: choices
short_description: Keeps or forgets what was chosen for an inventory
options:
  choices:
    description: The variable of this name that the vars plugin gives.
    type: dict
    required: true
  roles:
    description: The folder of the roles. Their settings count for one run; the next one says that they are back.
    type: path
    required: true
  back:
    description: Settings that go back to what the inventory says; the vars plugin has left them out already.
    type: str
    default: ""
  state:
    description: Whether to keep them or to forget them all.
    choices: [kept, forgotten]
    default: kept
"""
RETURN = """
said:
  description: What there is to tell the user, a sentence for each.
  returned: always
  type: list
"""


def keep(
    choices: dict[str, Any], given: dict[str, Any], words: dict[str, str], prefixes: tuple[str, ...], now: str
) -> tuple[dict[str, Any], list[str]]:
    """Return what the file is to hold, and what there is to tell.

    Args:
        choices: What it holds now: `kept` and `once`.
        given: The variables of the command line.
        words: The settings that are kept, each with make's word for it.
        prefixes: How the settings begin that count for one run; one may have no more than its role's name.
        now: The time, as people read it.
    """
    chosen = {name: str(given[name]) for name in words if name in given}
    kept = choices["kept"] | {name: {"value": value, "at": now} for name, value in chosen.items()}
    once = {name: str(value) for name, value in given.items() if name not in words and f"{name}_".startswith(prefixes)}
    new = [
        f"{words[name]}={value}"
        for name, value in chosen.items()
        if choices["kept"].get(name, {}).get("value") != value
    ]
    back = [f"{name} (it was {value})" for name, value in choices["once"].items() if name not in once]
    said = [f"Kept for the next run: {', '.join(new)}. {words[next(iter(chosen))]}=default goes back."] if new else []
    said += (
        [f"Counted for one run and back: {', '.join(back)}. Settings that stay stand in group_vars."] if back else []
    )
    return {"kept": kept, "once": once}, said


def forget(choices: dict[str, Any], words: dict[str, str]) -> list[str]:
    """Return what there is to tell when all is forgotten."""
    kept = ", ".join(f"{words[name]}={one['value']}" for name, one in choices["kept"].items())
    return [f"Forgotten: {kept}."] if kept else []


def write(path: Path, content: dict[str, Any]) -> None:
    """Write the file whole or not at all; once this returns, a power cut leaves the new one."""
    path.parent.mkdir(exist_ok=True)
    beside = path.with_suffix(".new")
    with beside.open("w", encoding="utf-8") as file:
        file.write(json.dumps(content, indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some file systems of guests sync no folder
            os.fsync(folder)
    finally:
        os.close(folder)


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    """The action."""

    def run(self, tmp: None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Keep or forget."""
        super().run(tmp, task_vars)
        arguments = self._task.args
        choices = arguments["choices"]
        words = choices["words"]
        file = Path(choices["file"])
        if arguments.get("state") == "forgotten":
            if not self._task.check_mode:
                file.unlink(missing_ok=True)
            return {"changed": False, "said": forget(choices, words)}
        given = dict(load_extra_vars(self._loader))
        prefixes = tuple(f"{role.name}_" for role in Path(arguments["roles"]).iterdir() if role.is_dir())
        prefixes += ("drain_", "model_fallback", "workers_")  # the playbooks' own
        content, said = keep(choices, given, words, prefixes, time.strftime("%Y-%m-%d %H:%M"))
        if back := str(arguments.get("back", "")).split():
            said.insert(0, f"Back to what the inventory says: {', '.join(words[name] for name in back)}.")
        if not self._task.check_mode:
            write(file, content)
        return {"changed": False, "said": said}
