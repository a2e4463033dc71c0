"""How ssh reads the paths that it is given."""

from __future__ import annotations

import re
from pathlib import Path


def ssh_path(path: str | Path) -> str:
    """Write a path as an option of ssh_config(5) wants it between double quotes: % begins a token there."""
    return re.sub(r'(["\\])', r"\\\1", str(path)).replace("%", "%%")
