"""Limit the CPU and memory of each machine in the way that this host has."""

from __future__ import annotations

from pathlib import Path

from rspec.local_slice.control_groups import ControlGroups, Hierarchy, hierarchies_of
from rspec.local_slice.host import read_mounts
from rspec.local_slice.limiter import Limiter
from rspec.local_slice.scopes import Scopes


def limiter_of(slice_name: str, hierarchies: list[Hierarchy] | None = None, *, systemd: bool | None = None) -> Limiter:
    """What limits a slice's machines: systemd's scopes, else control groups. The host tells what is not given."""
    if hierarchies is None:
        hierarchies = hierarchies_of(read_mounts())
    # The same tree may be mounted more than once.
    trees = list({item.mount: item for item in hierarchies}.values())
    if Path("/run/systemd/system").is_dir() if systemd is None else systemd:
        return Scopes(slice_name, trees)
    return ControlGroups(slice_name, trees)
