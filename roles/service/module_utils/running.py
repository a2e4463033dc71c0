"""What the modules of this role ask of a service that runs: its process and that one's files, and units of systemd."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from ansible.module_utils.supervised import about, connect

_DELETED = re.compile(r"^\S+ r-xp \S+ \S+ \S+ +(/(?!memfd|dev|SYSV|tmp).*) \(deleted\)$", re.MULTILINE)


def process_of(name: str, socket: str | None) -> int:
    """Return the service's first process; 0 where it has none."""
    if socket:
        return int(about(connect(socket), name).get("pid", 0))
    asked = ["systemctl", "show", "--property=MainPID", "--value", f"{name}.service"]
    said = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603 - fixed words
    return int(said) if said.isdecimal() else 0


def outdated_files(pid: int) -> list[str]:
    """Return the files that a process runs and that the disk no longer has."""
    try:
        maps = Path("/proc", str(pid), "maps").read_text(errors="replace") if pid else ""
    except OSError:  # it has ended meanwhile
        return []
    return sorted(set(_DELETED.findall(maps)))


def not_active(units: list[str]) -> list[str]:
    """Return those of systemd's units that are not active."""
    if not units:
        return []
    asked = ["systemctl", "is-active", *units]
    said = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.split()  # noqa: S603 - fixed words
    return [unit for unit, state in zip(units, said, strict=True) if state != "active"]
