"""Limits where systemd is PID 1: a scope for each machine."""

from __future__ import annotations

import shutil
from pathlib import Path

from rspec.local_slice.control_groups import Hierarchy
from rspec.local_slice.cores import period_us, quota_us, weight
from rspec.local_slice.host import run
from rspec.local_slice.limiter import KEEPER, Limiter
from rspec.local_slice.naming import PREFIX


class Scopes(Limiter):
    """Scopes of one slice's machines; see `Limiter`."""

    def __init__(self, slice_name: str, hierarchies: list[Hierarchy]) -> None:
        super().__init__(slice_name)
        self._hierarchies = hierarchies

    def _unit(self, machine: str) -> str:
        return f"{PREFIX}-{self.slice_name}.{machine}.scope"

    def groups(self, machine: str) -> list[Path]:
        """The folders of a machine's scope."""
        pattern = f"**/{self._unit(machine)}"
        return [path for item in self._hierarchies for path in item.mount.glob(pattern)]

    def problems(self) -> list[str]:
        """Which of systemd's programs are missing."""
        missing = [name for name in ("systemd-run", "systemctl") if shutil.which(name) is None]
        return [f"the program {name} is missing" for name in missing]

    def prepare(self, machine: str, cores: float | None, memory_mb: int | None) -> list[str]:
        """Return the command words of the machine's scope; see `Limiter.prepare`."""
        words = [
            "systemd-run",
            "--quiet",
            "--scope",
            "--collect",
            f"--unit={self._unit(machine)}",
            "-p",
            "Delegate=yes",
        ]
        if cores:
            words += [word for item in _unit_properties(cores) for word in ("-p", item)]
        if memory_mb:
            words += ["-p", f"MemoryMax={memory_mb}M"]
        return [*words, str(KEEPER), "--"]

    def _change(self, machine: str, groups: list[Path], cores: float) -> None:  # noqa: ARG002  the unit names them
        run(["systemctl", "set-property", "--runtime", self._unit(machine), *_unit_properties(cores)])

    def machines(self) -> list[str]:
        """Names of all machines that have a scope."""
        prefix = f"{PREFIX}-{self.slice_name}."
        pattern = f"**/{prefix}*.scope"
        names = {path.name for item in self._hierarchies for path in item.mount.glob(pattern)}
        return sorted(name.removeprefix(prefix).removesuffix(".scope") for name in names)

    def remove(self, machine: str) -> bool:
        """Stop the machine's scope; return whether there was one."""
        if not self.groups(machine):
            return False
        run(["systemctl", "stop", self._unit(machine)])
        return True


def _unit_properties(cores: float) -> list[str]:
    """A CPU limit as properties of a systemd unit."""
    percent = quota_us(cores) * 100 / period_us(cores)
    return [f"CPUQuota={percent:g}%", f"CPUQuotaPeriodSec={period_us(cores)}us", f"CPUWeight={weight(cores)}"]
