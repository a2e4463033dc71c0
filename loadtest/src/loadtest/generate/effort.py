"""What a trial costs the machine that sends it."""

import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from loadtest.generate import punctual

_TICKS = os.sysconf("SC_CLK_TCK")
_CORES = os.sysconf("SC_NPROCESSORS_ONLN")


class MachineTimes(NamedTuple):
    """Seconds of all cores together.

    Busy time is what was not idle. A kernel that counts by ticks gives a whole tick to whoever runs when it comes. That
    is too much for a program that a timer wakes for a moment, such as one with a control-group quota, and too little
    for an interrupt. Idle time is measured by the clock.

    Attributes:
        all_s: The clock's time, times the cores.
        idle_s: Nothing ran.
        programs_s: Ticks of programs.
        interrupts_s: Ticks of interrupts.
        stolen_s: The hypervisor ran others.
    """

    all_s: float
    idle_s: float
    programs_s: float
    interrupts_s: float
    stolen_s: float


@dataclass(frozen=True, slots=True)
class Effort:
    """What a trial cost the generator.

    Attributes:
        wall_s: From the first request to the last answer.
        cpu_share: CPU seconds of this process for each second of wall time; near 1 its one core was full.
        spin_share: The part of it that was spent awake, waiting for the moment to send.
        machine_busy: Share of all cores of this machine that were busy, by anyone; None where it cannot be read.
        peak_in_flight: Most requests under way at one time.
        mean_in_flight: Time average of the requests under way, counted as they come and go.
        not_sent: Requests dropped because of the in-flight limit; each is also a failed sample.
    """

    wall_s: float
    cpu_share: float
    spin_share: float
    machine_busy: float | None
    peak_in_flight: int
    mean_in_flight: float
    not_sent: int

    def facts(self) -> dict[str, Any]:
        """The same as JSON values for the footer of a samples file."""
        return {
            "wall_s": round(self.wall_s, 6),
            "cpu_share": round(self.cpu_share, 4),
            "spin_share": round(self.spin_share, 4),
            "machine_busy": None if self.machine_busy is None else round(self.machine_busy, 4),
            "peak_in_flight": self.peak_in_flight,
            "mean_in_flight": round(self.mean_in_flight, 6),
            "not_sent": self.not_sent,
        }


class Meter:
    """What this process and this machine have spent since it was made."""

    def __init__(self) -> None:
        self._busy, self._cpu_s, self._spun_s = machine_times(), cpu_s(), punctual.spun_s()

    def shares(self, wall_s: float) -> dict[str, Any]:
        """Three of the attributes of an Effort, over so many seconds."""
        return {
            "cpu_share": (cpu_s() - self._cpu_s) / wall_s,
            "spin_share": (punctual.spun_s() - self._spun_s) / wall_s,
            "machine_busy": busy_share(self._busy, machine_times()),
        }


def raise_file_limit() -> int:
    """Allow as many open connections as the system lets this process have; return how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return int(hard)


def cpu_s() -> float:
    """Seconds of a core that this process has used."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def machine_times(stat: Path = Path("/proc/stat")) -> MachineTimes | None:
    """What all cores have spent since the start; None where that cannot be read."""
    # proc(5): user nice system idle iowait irq softirq steal, in ticks, over all cores
    try:
        words = stat.read_text("ascii").split("\n", 1)[0].split()[1:9]
        user, nice, system, idle, waiting, irq, softirq, steal = (int(word) / _TICKS for word in words)
    except (OSError, ValueError):
        return None
    return MachineTimes(time.perf_counter() * _CORES, idle + waiting, user + nice + system, irq + softirq, steal)


def busy_share(before: MachineTimes | None, after: MachineTimes | None) -> float | None:
    """Share of the cores' time between two readings that was spent on anything, by anyone; None if unknown."""
    if before is None or after is None or after.all_s <= before.all_s:
        return None
    return max(0.0, 1.0 - (after.idle_s - before.idle_s) / (after.all_s - before.all_s))
