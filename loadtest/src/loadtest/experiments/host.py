"""What else the client's host did during a trial: other programs, the hypervisor, its link."""

import contextlib
import os
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from loadtest.experiments import link, processes
from loadtest.generate.effort import MachineTimes, cpu_s, machine_times

# What all machines of a slice on one host have used, and all programs of that host: `make slice-up` shows it to each of
# them. The second is there with control groups of version 1.
_SLICE_CPU, _HOST_CPU = Path("/run/imagerec-slice-cpu"), Path("/run/imagerec-host-cpu")


@dataclass(frozen=True, slots=True)
class Reading:
    """Counters at one moment: seconds of processor time, and of each interface the bytes received and sent."""

    at_s: float
    machine: MachineTimes | None
    programs_s: float | None
    ours_s: float | None
    link_bytes: dict[str, tuple[int, int]]
    segments: tuple[int, int] | None


class HostWatch:
    """Reads the host's counters when a trial begins, and again at its end.

    A service that runs on this host is none of the others; its processes are found by the socket that listens.

    Args:
        target: Address of the service.
        helpers: Processes that work for the run beside this one, such as who draws its view, with all below them.
    """

    def __init__(self, target: str, helpers: Iterable[int] = ()) -> None:
        self._helpers = tuple(helpers)
        parts = urlsplit(target)
        self._here = _is_here(parts.hostname or "")
        port = parts.port or (443 if parts.scheme == "https" else 80)
        self._service = processes.root_of_listener(port) if self._here else None
        self._container = not processes.all_are_seen()
        self._before = self._read()

    def facts(self) -> dict[str, Any]:
        """What happened since, as JSON values for the footer of a samples file; None where it cannot be told.

        Returns:
            `others` and `steal`: shares of the time of all cores that other programs used, and that the hypervisor gave
            to others. `link`: the share of its rate that the busiest network interface carried in its busier
            direction, and `link_rate`: that rate and where it is known from. `resent`: the share of TCP segments that
            were sent again. These are None for a service on this host: it has no link, and the segments are those of
            other programs too. `ahead`: whether the generator ran before ordinary programs (`punctual.ahead`).
        """
        before, after = self._before, self._read()
        facts: dict[str, Any] = dict.fromkeys(("others", "steal", "link", "link_rate", "resent"))
        facts["ahead"] = os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK == os.SCHED_RR
        if before.machine is not None and after.machine is not None:
            spent = MachineTimes(*(new - old for new, old in zip(after.machine, before.machine, strict=True)))
            facts["steal"] = _share(spent.stolen_s / spent.all_s)
            if before.ours_s is not None and after.ours_s is not None:
                if before.programs_s is not None and after.programs_s is not None:
                    programs_s = after.programs_s - before.programs_s
                else:
                    programs_s = programs_of(spent)
                facts["others"] = _share((programs_s - (after.ours_s - before.ours_s)) / spent.all_s)
        if not self._here:
            passed_s = after.at_s - before.at_s
            share, facts["link_rate"] = link.busiest(before.link_bytes, after.link_bytes, passed_s, link.rates())
            facts["link"] = None if share is None else _share(share)
            if before.segments is not None and after.segments is not None:
                sent, again = (new - old for new, old in zip(after.segments, before.segments, strict=True))
                facts["resent"] = _share(again / (sent + again)) if sent > 0 else None  # `sent` counts no repetitions
        return facts

    def _read(self) -> Reading:
        programs_s = account_s(_HOST_CPU) if self._container else None
        return Reading(time.perf_counter(), machine_times(), programs_s, self._ours_s(), link.counters(), _segments())

    def _ours_s(self) -> float | None:
        """Seconds of a core that the run has used on this host; None where they cannot be told from those of others."""
        if self._container:
            # all machines of the slice, less what other programs used in this one
            slice_s = account_s(_SLICE_CPU)
            return None if slice_s is None else slice_s - (processes.cpu_s([1]) - self._run_s())
        if not self._here:
            return self._run_s()
        if self._service is None or not processes.stat(self._service):
            return None
        return self._run_s(self._service)

    def _run_s(self, *services: int) -> float:
        """Seconds of a core that this process, its helpers and these services have used."""
        return cpu_s() + processes.cpu_s([*self._helpers, *services], but=os.getpid())


def programs_of(spent: MachineTimes) -> float:
    """Seconds of a core that programs used, without interrupts, since most of them are the load's own.

    The lower of two counts: ticks of programs are too many where timers wake them, and ticks of interrupts too few.
    """
    return min(spent.programs_s, spent.all_s - spent.idle_s - spent.interrupts_s - spent.stolen_s)


def account_s(path: Path) -> float | None:
    """Seconds of a core in an account of a control group; None where there is no such file.

    Args:
        path: `cpuacct.usage` of a control group of version 1, nanoseconds, or `cpu.stat` of version 2.
    """
    with contextlib.suppress(OSError, ValueError, IndexError):
        words = path.read_text().split()
        return int(words[0]) / 1e9 if len(words) == 1 else int(words[words.index("usage_usec") + 1]) / 1e6
    return None


def _share(value: float) -> float:
    return round(max(0.0, float(value)), 5)


def _is_here(host: str) -> bool:
    """Whether an address is one of this host's: only those can be bound."""
    with contextlib.suppress(OSError):
        family, kind, protocol, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as one:
            one.bind(address)
            return True
    return False


def _segments() -> tuple[int, int] | None:
    """TCP segments sent, and sent again."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = (line.split() for line in Path("/proc/net/snmp").read_text().splitlines())
        names, values = next(lines_of for lines_of in zip(lines, lines, strict=False) if lines_of[0][0] == "Tcp:")
        tcp = dict(zip(names[1:], values[1:], strict=True))
        return int(tcp["OutSegs"]), int(tcp["RetransSegs"])
    return None
