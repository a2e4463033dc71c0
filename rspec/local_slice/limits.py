"""Limit the CPU and memory of each machine, and find every process that belongs to it.

Three kinds of host: systemd as PID 1 (a scope per machine), control groups version 2 and version 1 without it
(a group per machine, made here).
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from rspec.local_slice.host import SliceError, run
from rspec.local_slice.naming import PREFIX

_LEAST_QUOTA_US = 1_000  # the kernel refuses less
_SHORTEST_PERIOD_US = 2_000
_LONGEST_PERIOD_US = 10_000
LEAST_CORES = _LEAST_QUOTA_US / _LONGEST_PERIOD_US
_GROUP = f"{PREFIX}-slice"
KEEPER = Path(__file__).with_name("keeper.sh")


def period_us(cores: float) -> int:
    """Length in microseconds of the period over which `cores` cores are dealt out: as short as the kernel allows.

    With long periods an idle machine answers faster than a busy one, and a throttled one stalls. Measured with bursts
    of 5 ms at 0.3 cores, mean ± sd in ms, idle and busy: 11.3 ± 6.1 and 18.5 ± 10.5 with 10 ms, 16.1 ± 3.0 and
    17.2 ± 1.4 with this.
    """
    return max(_SHORTEST_PERIOD_US, min(_LONGEST_PERIOD_US, math.ceil(_LEAST_QUOTA_US / cores)))


def quota_us(cores: float) -> int:
    """CPU time in microseconds that `cores` cores may use in one period."""
    return max(_LEAST_QUOTA_US, round(cores * period_us(cores)))


def weight(cores: float | None) -> int:
    """How much a machine counts when the host's cores are all wanted: 100 a core, as without a limit.

    With equal weights four workers of 0.3 cores kept the client of one core waiting, and its requests left late.
    """
    return max(1, round(100 * cores)) if cores else 100


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """One mounted control-group tree."""

    mount: Path
    version: int
    controllers: frozenset[str]


def read_hierarchies(mountinfo: str) -> list[Hierarchy]:
    """Find the mounted control-group trees.

    Args:
        mountinfo: text of /proc/self/mountinfo.
    """
    found = []
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        point, kind, options = Path(left.split()[4]), right.split()[0], right.split()[-1]
        if kind == "cgroup2":
            found.append(Hierarchy(point, 2, frozenset()))
        elif kind == "cgroup":
            found.append(Hierarchy(point, 1, frozenset(options.split(","))))
    return found


class Limiter:
    """Control groups of one slice's machines.

    Args:
        slice_name: the slice.
        hierarchies: the host's trees; read from the kernel where not given.
        systemd: whether systemd is PID 1; found out where not given.
    """

    def __init__(
        self, slice_name: str, hierarchies: list[Hierarchy] | None = None, systemd: bool | None = None
    ) -> None:
        self.slice_name = slice_name
        if hierarchies is None:
            hierarchies = read_hierarchies(Path("/proc/self/mountinfo").read_text())
        # The same tree may be mounted more than once.
        self._hierarchies = list({item.mount: item for item in hierarchies}.values())
        self.systemd = Path("/run/systemd/system").is_dir() if systemd is None else systemd

    @property
    def kind(self) -> str:
        """How limits are set here: systemd, v2, v1 or none."""
        if self.systemd:
            return "systemd"
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
        wanted = {"cpu", "memory", "name=systemd"}
        return [item for item in self._hierarchies if item.version == 2 or item.controllers & wanted]

    def unit(self, machine: str) -> str:
        """Name of the machine's scope where systemd keeps it."""
        return f"{PREFIX}-{self.slice_name}.{machine}.scope"

    def groups(self, machine: str) -> list[Path]:
        """Folders of a machine's control groups; they need not exist."""
        if self.kind == "systemd":
            pattern = f"**/{self.unit(machine)}"
            return [path for item in self._hierarchies for path in item.mount.glob(pattern)]
        return [item.mount / _GROUP / self.slice_name / machine for item in self._used()]

    def problems(self) -> list[str]:
        """Why machines cannot be limited on this host; empty where they can."""
        if self.kind == "none":
            return ["no control groups are mounted at /sys/fs/cgroup: machines could not be limited or found again"]
        if self.kind == "systemd":
            missing = [name for name in ("systemd-run", "systemctl") if shutil.which(name) is None]
            return [f"the program {name} is missing" for name in missing]
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
        """Make a machine's groups, set its limits, and return the command words that run inside them.

        Args:
            machine: its name.
            cores: CPU limit in cores, None for none.
            memory_mb: memory limit in MB (2^20 bytes), None for none.

        Raises:
            SliceError: the kernel refuses a group or a limit.
        """
        if self.kind == "systemd":
            return self._scope(machine, cores, memory_mb)
        try:
            for item, group in zip(self._used(), self.groups(machine), strict=True):
                group.mkdir(parents=True, exist_ok=True)
                if item.version == 2 and self.kind == "v2":
                    for folder in (item.mount, group.parent.parent, group.parent):
                        self._delegate(folder)
                    (group / "cpu.max").write_text(f"{quota_us(cores)} {period_us(cores)}" if cores else "max")
                    (group / "cpu.weight").write_text(str(weight(cores)))
                    (group / "memory.max").write_text(str(memory_mb * 2**20) if memory_mb else "max")
                if "cpu" in item.controllers:
                    _set_v1(group, cores)
                if "memory" in item.controllers:
                    (group / "memory.limit_in_bytes").write_text(str(memory_mb * 2**20 if memory_mb else -1))
        except OSError as error:
            raise SliceError(f"machine {machine} cannot be limited: {error.filename}: {error.strerror}") from error
        return [str(KEEPER), *(str(group / "cgroup.procs") for group in self.groups(machine)), "--"]

    def limit_cpu(self, machine: str, cores: float) -> None:
        """Change the CPU limit of a machine that is on, in cores.

        Raises:
            SliceError: the machine has no group, or the kernel refuses the limit.
        """
        groups = [group for group in self.groups(machine) if group.exists()]
        if not groups:
            raise SliceError(f"machine {machine} is not on; `make slice-up` switches it on")
        if self.kind == "systemd":
            run(["systemctl", "set-property", "--runtime", self.unit(machine), *_unit_properties(cores)])
            return
        try:
            for group in groups:
                if (group / "cpu.cfs_quota_us").exists():
                    _set_v1(group, cores)
                elif (group / "cpu.max").exists():
                    (group / "cpu.max").write_text(f"{quota_us(cores)} {period_us(cores)}")
                    (group / "cpu.weight").write_text(str(weight(cores)))
        except OSError as error:
            raise SliceError(f"machine {machine} cannot be limited: {error.filename}: {error.strerror}") from error

    def _scope(self, machine: str, cores: float | None, memory_mb: int | None) -> list[str]:
        words = ["systemd-run", "--quiet", "--scope", "--collect", f"--unit={self.unit(machine)}", "-p", "Delegate=yes"]
        if cores:
            words += [word for item in _unit_properties(cores) for word in ("-p", item)]
        if memory_mb:
            words += ["-p", f"MemoryMax={memory_mb}M"]
        return [*words, str(KEEPER), "--"]

    def processes(self, machine: str) -> list[int]:
        """Every process id of a machine: its keeper, its systemd-nspawn and all that runs inside."""
        found: set[int] = set()
        for group in self.groups(machine):
            for listing in group.glob("**/cgroup.procs"):
                # A group may end while it is read.
                with contextlib.suppress(OSError):
                    found.update(int(word) for word in listing.read_text().split())
        return sorted(found - {0})

    def running(self, machine: str) -> bool:
        """Whether the machine is on: its systemd-nspawn lives."""
        return any(_command(process) == "systemd-nspawn" for process in self.processes(machine))

    def machines(self) -> list[str]:
        """Names of all machines of the slice that still have a group, known to a plan or not."""
        if self.kind == "systemd":
            prefix = f"{PREFIX}-{self.slice_name}."
            pattern = f"**/{prefix}*.scope"
            names = {path.name for item in self._hierarchies for path in item.mount.glob(pattern)}
            return sorted(name.removeprefix(prefix).removesuffix(".scope") for name in names)
        parents = [item.mount / _GROUP / self.slice_name for item in self._used()]
        children = (child for parent in parents if parent.is_dir() for child in parent.iterdir())
        return sorted({child.name for child in children if child.is_dir()})

    def kill(self, machine: str, *, patience_s: float = 15) -> bool:
        """End every process of a machine, at once and by force; return whether there was any.

        Raises:
            SliceError: some process outlived SIGKILL for `patience_s` seconds.
        """
        deadline = time.monotonic() + patience_s
        any_found = False
        while processes := self.processes(machine):
            any_found = True
            if time.monotonic() > deadline:
                raise SliceError(f"processes of machine {machine} do not end: {processes}")
            for process in processes:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            time.sleep(0.05)
        return any_found

    def remove(self, machine: str) -> bool:
        """Remove the groups of a machine that has no process any more; return whether there were any."""
        if self.kind == "systemd":
            if not self.groups(machine):
                return False
            run(["systemctl", "stop", self.unit(machine)])
            return True
        existing = [group for group in self.groups(machine) if group.exists()]
        for group in existing:
            _remove_tree(group)
        return bool(existing)

    def remove_empty(self) -> bool:
        """Remove the slice's own group, and the one above it where no other slice is left; return whether any went."""
        if self.kind == "systemd":
            return False
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
    (group / "cpu.shares").write_text(str(weight(cores) * 1024 // 100))


def _unit_properties(cores: float) -> list[str]:
    """A CPU limit as properties of a systemd unit."""
    percent = quota_us(cores) * 100 / period_us(cores)
    return [f"CPUQuota={percent:g}%", f"CPUQuotaPeriodSec={period_us(cores)}us", f"CPUWeight={weight(cores)}"]


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


def _command(process: int) -> str:
    """Name of a process's program, empty where it ended."""
    try:
        return re.sub(r"\s+$", "", Path(f"/proc/{process}/comm").read_text())
    except OSError:
        return ""
