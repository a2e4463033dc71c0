"""The client's link: what its interfaces carried, and how much they can carry."""

import contextlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_BITS = 8
_INTERFACES = Path("/sys/class/net")
_TBF = re.compile(r"^qdisc tbf \S+ dev (\S+) .*?\brate ([\d.]+)([KMGT]?)bit\b", re.MULTILINE)
_UNITS = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
UNKNOWN = "no rate known"


@dataclass(frozen=True, slots=True)
class Rate:
    """How much an interface can carry.

    Attributes:
        bits_hz: Bits a second.
        source: Where that is known from.
    """

    bits_hz: float
    source: str


def counters() -> dict[str, tuple[int, int]]:
    """Bytes received and sent by each interface but the loopback."""
    found = {}
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/net/dev").read_text().splitlines()[2:]:
            name, _, counts = line.partition(":")
            fields = counts.split()
            if name.strip() != "lo":
                found[name.strip()] = int(fields[0]), int(fields[8])
    return found


def rates(shaped: str | None = None, interfaces: Path = _INTERFACES) -> dict[str, Rate]:
    """The rate of each interface that has one: the lower of its speed and of what a token bucket lets through.

    The token bucket shapes what the interface sends. What it receives is shaped at the other end, which cannot be seen
    from here, and is taken for as fast.

    Args:
        shaped: What `tc qdisc show` says; None asks it.
        interfaces: Where the kernel says their speeds.
    """
    found = {}
    for name, bits_hz in _speeds(interfaces).items():
        found[name] = Rate(bits_hz, "the interface's speed")
    for name, number, unit in _TBF.findall(_shaped() if shaped is None else shaped):
        bits_hz = float(number) * _UNITS[unit]
        if name not in found or bits_hz < found[name].bits_hz:
            found[name] = Rate(bits_hz, "its token bucket")
    return found


def busiest(
    before: dict[str, tuple[int, int]],
    after: dict[str, tuple[int, int]],
    passed_s: float,
    known: dict[str, Rate],
) -> tuple[float | None, str]:
    """The share of its rate that the busiest interface carried in its busier direction, and what that rate is.

    Returns:
        None and UNKNOWN where no interface has a rate.
    """
    shares = []
    for name in before.keys() & after.keys() & known.keys():
        carried = max(new - old for new, old in zip(after[name], before[name], strict=True))
        shares.append((_BITS * carried / max(passed_s, 1e-9) / known[name].bits_hz, name))
    if not shares:
        return None, UNKNOWN
    share, name = max(shares)
    return share, f"{name}: {known[name].bits_hz / 1e6:g} Mbit/s, {known[name].source}"


def _speeds(interfaces: Path) -> dict[str, float]:
    """Bits a second of interfaces that are a device, or stand on others; a virtual one's speed is a mere name."""
    found = {}
    with contextlib.suppress(OSError):
        for one in sorted(interfaces.iterdir()):
            if not (one / "device").exists() and not any(one.glob("lower_*")):
                continue
            with contextlib.suppress(OSError, ValueError):
                megabits = int((one / "speed").read_text())
                if megabits > 0:
                    found[one.name] = megabits * 1e6
    return found


def _shaped() -> str:
    program = shutil.which("tc", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin")))
    if program is None:
        return ""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        words = [program, "qdisc", "show"]
        return subprocess.run(words, capture_output=True, text=True, timeout=5, check=True).stdout  # noqa: S603 — all fixed
    return ""
