"""Limits without systemd: a control group for each machine, of version 2 or version 1, made here."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rspec.local_slice.cores import period_us, quota_us, weight
from rspec.local_slice.host import Mount, SliceError
from rspec.local_slice.limiter import KEEPER, Limiter
from rspec.local_slice.naming import PREFIX

_GROUP = f"{PREFIX}-slice"
_MOST_WEIGHT = {"cpu.weight": 10_000, "cpu.shares": 262_144}  # the kernel's


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """One mounted control-group tree."""

    mount: Path
    version: int
    controllers: frozenset[str]


def hierarchies_of(mounts: Iterable[Mount]) -> list[Hierarchy]:
    """Find the control-group trees among what is mounted."""
    found = []
    for mount in mounts:
        if mount.kind == "cgroup2":
            found.append(Hierarchy(mount.point, 2, frozenset()))
        elif mount.kind == "cgroup":
            found.append(Hierarchy(mount.point, 1, frozenset(mount.options.split(","))))
    return found


class ControlGroups(Limiter):
    """Control groups of one slice's machines; see `Limiter`."""

    def __init__(self, slice_name: str, hierarchies: list[Hierarchy]) -> None:
        super().__init__(slice_name)
        self._hierarchies = hierarchies

    @property
    def kind(self) -> str:
        """The version that is used: v2, v1 or none."""
        controllers = {name for item in self._hierarchies for name in item.controllers}
        if {"cpu", "memory"} <= controllers:
            return "v1"
        return "v2" if self._unified else "none"

    @property
    def _unified(self) -> Hierarchy | None:
        return next((item for item in self._hierarchies if item.version == 2), None)

    def _used(self) -> list[Hierarchy]:
        """The trees in which a machine gets a group of its own.

        On version 1 that includes systemd's named tree and the unified one: without a group there, the
        machines' own systemds would share, and fight over, the same groups.
        """
        if self.kind != "v1":
            return [item for item in self._hierarchies if item.version == 2]
        wanted = {"cpu", "cpuacct", "memory", "name=systemd"}
        return [item for item in self._hierarchies if item.version == 2 or item.controllers & wanted]

    def groups(self, machine: str) -> list[Path]:
        """Folders of a machine's control groups; they need not exist."""
        return [item.mount / _GROUP / self.slice_name / machine for item in self._used()]

    def used_cpu(self) -> dict[str, Path]:
        """The slice's own account, and on version 1 the host's; see `Limiter.used_cpu`."""
        for item in self._used():
            if self.kind == "v2":
                return {"slice": item.mount / _GROUP / self.slice_name / "cpu.stat"}
            if "cpuacct" in item.controllers:
                account = "cpuacct.usage"
                return {"slice": item.mount / _GROUP / self.slice_name / account, "host": item.mount / account}
        return {}

    def problems(self) -> list[str]:
        """Why groups cannot be made."""
        if self.kind == "none":
            return ["no control groups are mounted at /sys/fs/cgroup: machines could not be limited or found again"]
        found = []
        for item in self._used():
            group = item.mount / _GROUP
            existed = group.exists()
            try:
                group.mkdir(exist_ok=True)
                if item.version == 2 and self.kind == "v2":
                    self._delegate(item.mount)
                if not existed:
                    group.rmdir()
            except OSError as error:
                found.append(f"control groups cannot be made in {item.mount}: {error.strerror}")
        return found

    @staticmethod
    def _delegate(folder: Path) -> None:
        """Let the children of a version 2 group have limits of their own."""
        control = folder / "cgroup.subtree_control"
        if not {"cpu", "memory"} <= set(control.read_text().split()):
            control.write_text("+cpu +memory")

    def prepare(self, machine: str, cores: float | None, memory_mb: int | None) -> list[str]:
        """Make a machine's groups; see `Limiter.prepare`."""
        try:
            for item, group in zip(self._used(), self.groups(machine), strict=True):
                group.mkdir(parents=True, exist_ok=True)
                if item.version == 2 and self.kind == "v2":
                    for folder in (item.mount, group.parent.parent, group.parent):
                        self._delegate(folder)
                    (group / "cpu.max").write_text(f"{quota_us(cores)} {period_us(cores)}" if cores else "max")
                    _weigh(group / "cpu.weight", weight(cores))
                    (group / "memory.max").write_text(str(memory_mb * 2**20) if memory_mb else "max")
                if "cpu" in item.controllers:
                    _set_v1(group, cores)
                    if machine.startswith("client"):
                        _allow_real_time(group)
                if "memory" in item.controllers:
                    (group / "memory.limit_in_bytes").write_text(str(memory_mb * 2**20 if memory_mb else -1))
        except OSError as error:
            raise SliceError(f"machine {machine} cannot be limited: {error.filename}: {error.strerror}") from error
        return [str(KEEPER), *(str(group / "cgroup.procs") for group in self.groups(machine)), "--"]

    def _change(self, machine: str, groups: list[Path], cores: float) -> None:
        try:
            for group in groups:
                if (group / "cpu.cfs_quota_us").exists():
                    _set_v1(group, cores)
                elif (group / "cpu.max").exists():
                    (group / "cpu.max").write_text(f"{quota_us(cores)} {period_us(cores)}")
                    _weigh(group / "cpu.weight", weight(cores))
        except OSError as error:
            raise SliceError(f"machine {machine} cannot be limited: {error.filename}: {error.strerror}") from error

    def machines(self) -> list[str]:
        """Names of all machines that have a group."""
        parents = [item.mount / _GROUP / self.slice_name for item in self._used()]
        children = (child for parent in parents if parent.is_dir() for child in parent.iterdir())
        return sorted({child.name for child in children if child.is_dir()})

    def remove(self, machine: str) -> bool:
        """Remove a machine's groups; return whether there were any."""
        existing = [group for group in self.groups(machine) if group.exists()]
        for group in existing:
            _remove_tree(group)
            for name in _MOST_WEIGHT:
                _weigh_above(group, name)
        return bool(existing)

    def remove_empty(self) -> bool:
        """Remove the slice's own group, and the one above it where no other slice is left; return whether any went."""
        changed = False
        for item in self._used():
            for folder in (item.mount / _GROUP / self.slice_name, item.mount / _GROUP):
                if folder.is_dir() and not any(child.is_dir() for child in folder.iterdir()):
                    _remove_tree(folder)
                    changed = True
        return changed


def _set_v1(group: Path, cores: float | None) -> None:
    """Set the CPU limit of a version 1 group; None for none."""
    if cores:
        (group / "cpu.cfs_period_us").write_text(str(period_us(cores)))
    (group / "cpu.cfs_quota_us").write_text(str(quota_us(cores) if cores else -1))
    _weigh(group / "cpu.shares", weight(cores) * 1024 // 100)


def _allow_real_time(group: Path) -> None:
    """Let programs of a machine run before those of others, for 0.8 of a core, where a kernel deals that out by groups.

    The load generator of an experiment asks for it. Of two slices at a time only one can have so much: the other's
    generator is an ordinary program.
    """
    with contextlib.suppress(OSError):
        for folder, runtime_us in ((group.parent.parent, 9000), (group.parent, 8000), (group, 8000)):
            if not (folder / "cpu.rt_runtime_us").exists():
                return
            (folder / "cpu.rt_period_us").write_text("10000")
            (folder / "cpu.rt_runtime_us").write_text(str(runtime_us))


def _weigh(file: Path, machine_weight: int) -> None:
    """Let a machine count so much, its slice as much as its machines, and all slices as much as they do.

    With the weight of one program, a slice of three cores had half of the host while Ansible worked beside it.
    """
    file.write_text(str(machine_weight))
    _weigh_above(file.parent, file.name)


def _weigh_above(group: Path, name: str) -> None:
    for folder in (group.parent, group.parent.parent):
        counted = 0
        for file in folder.glob(f"*/{name}"):
            with contextlib.suppress(OSError):  # another slice's, which goes down meanwhile
                counted += int(file.read_text())
        if counted:
            (folder / name).write_text(str(min(counted, _MOST_WEIGHT[name])))


def _remove_tree(group: Path, patience_s: float = 5) -> None:
    """Remove a control group and those below it; a group whose last process just ended may take a moment."""
    deadline = time.monotonic() + patience_s
    folders = sorted((Path(root) for root, _, _ in os.walk(group)), key=lambda path: len(path.parts), reverse=True)
    for folder in folders:
        while True:
            try:
                folder.rmdir()
                break
            except FileNotFoundError:
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    raise SliceError(f"control group {folder} cannot be removed: {error.strerror}") from error
                time.sleep(0.05)
