"""What limits the CPU and memory of a slice's machines, and finds every process that belongs to one."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from abc import ABC, abstractmethod
from pathlib import Path

from rspec.local_slice.host import SliceError

KEEPER = Path(__file__).with_name("keeper.sh")


class Limiter(ABC):
    """Control groups of one slice's machines."""

    def __init__(self, slice_name: str) -> None:
        self.slice_name = slice_name

    @abstractmethod
    def groups(self, machine: str) -> list[Path]:
        """Folders of a machine's control groups; they need not exist."""

    @abstractmethod
    def problems(self) -> list[str]:
        """Why machines cannot be limited on this host; empty where they can."""

    @abstractmethod
    def prepare(self, machine: str, cores: float | None, memory_mb: int | None) -> list[str]:
        """Make a machine's groups, set its limits, and return the command words that run inside them.

        Args:
            machine: its name.
            cores: CPU limit in cores, None for none.
            memory_mb: memory limit in MB (2^20 bytes), None for none.

        Raises:
            SliceError: the kernel refuses a group or a limit.
        """

    def used_cpu(self) -> dict[str, Path]:
        """Files with what all machines of the `slice`, and all programs of the `host`, have used of the processor.

        They are `cpuacct.usage` of version 1, in nanoseconds, or `cpu.stat` of version 2. The latter's root counts by
        ticks and is left out. Nothing where there are no such files.
        """
        return {}

    def limit_cpu(self, machine: str, cores: float) -> None:
        """Change the CPU limit of a machine that is on, in cores.

        Raises:
            SliceError: the machine has no group, or the kernel refuses the limit.
        """
        groups = [group for group in self.groups(machine) if group.exists()]
        if not groups:
            raise SliceError(f"machine {machine} is not on; `make slice-up` switches it on")
        self._change(machine, groups, cores)

    @abstractmethod
    def _change(self, machine: str, groups: list[Path], cores: float) -> None:
        """Change the CPU limit of the groups that a machine has."""

    @abstractmethod
    def machines(self) -> list[str]:
        """Names of all machines of the slice that still have a group, known to a plan or not."""

    @abstractmethod
    def remove(self, machine: str) -> bool:
        """Remove the groups of a machine that has no process any more; return whether there were any."""

    def remove_empty(self) -> bool:
        """Remove the slice's own group, and the one above it where no other slice is left; return whether any went."""
        return False

    def processes(self, machine: str) -> list[int]:
        """Every process id of a machine: its keeper, its systemd-nspawn and all that runs inside."""
        found: set[int] = set()
        for group in self.groups(machine):
            for listing in group.glob("**/cgroup.procs"):
                # A group may end while it is read.
                with contextlib.suppress(OSError):
                    found.update(int(word) for word in listing.read_text().split())
        return sorted(found - {0})

    def place(self, machine: str, cores: set[int]) -> None:
        """Let a machine that is on run on these cores of the host alone, with all it starts from now on.

        Raises:
            SliceError: the kernel allows it none of them.
        """
        moved = True
        while moved:  # a process that was started meanwhile may be where its parent was
            moved = False
            for task in (task for process in self.processes(machine) for task in _tasks(process)):
                try:
                    before = os.sched_getaffinity(task)
                    os.sched_setaffinity(task, cores)
                    moved |= os.sched_getaffinity(task) != before
                except ProcessLookupError:
                    continue
                except OSError as error:
                    raise SliceError(f"machine {machine} may not run on {sorted(cores)}: {error.strerror}") from error

    def running(self, machine: str) -> bool:
        """Whether the machine is on: its systemd-nspawn lives."""
        return any(_command(process) == "systemd-nspawn" for process in self.processes(machine))

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


def _tasks(process: int) -> list[int]:
    """Every thread of a process, none where it ended."""
    try:
        return [int(folder.name) for folder in Path(f"/proc/{process}/task").iterdir()]
    except OSError:
        return []


def _command(process: int) -> str:
    """Name of a process's program, empty where it ended."""
    try:
        return re.sub(r"\s+$", "", Path(f"/proc/{process}/comm").read_text())
    except OSError:
        return ""
