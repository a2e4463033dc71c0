"""Ansible filter: the known name that comes nearest to a given one."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import Any


def refusal(name: str, known: Sequence[str], kind: str) -> str:
    """Say that a name is unknown, with the nearest known one."""
    if not name:
        return f"name the {kind}: HOST={known[0]}, or one of {', '.join(known)}"
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}? There are" if near else "choose one of"
    return f"there is no {kind} {name}; {hint} {', '.join(known)}"


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return it by its name."""
        return {"refusal": refusal}
