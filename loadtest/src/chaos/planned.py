"""Which faults a run lets happen, which it passes by and why, and how long that takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from chaos import recorded
from chaos.fault import Fault
from chaos.scene import CALIBRATION_S, SHRINKS_S, Scene

QUIET_S = 10.0  # at least, before a fault
_QUIET_SHARE = 0.3
_MEASURED = "measured already"


def divide(
    faults: Sequence[Fault], asked: Sequence[str] | None, out: Path, virtual_address: str, *, autoscaler: bool = False
) -> tuple[list[Fault], dict[str, str]]:
    """Return the faults that happen, and why each of the others that were asked for does not."""
    happen: list[Fault] = []
    passed: dict[str, str] = {}
    for fault in faults:
        if asked and fault.name not in asked:
            continue
        if fault.pair and not virtual_address:
            passed[fault.name] = "needs two balancers and --virtual-address"
        elif fault.scaled and not autoscaler:
            passed[fault.name] = "needs a pool that follows its load, and --autoscaler"
        elif autoscaler and not fault.scaled:
            passed[fault.name] = "needs a pool that stays as it is, without --autoscaler"
        elif recorded.record_of(out, fault.name) is not None:
            passed[fault.name] = f"{_MEASURED}, {out / fault.name}.json"
        else:
            happen.append(fault)
    # Those that want other settings of the balancers come last: each change of the settings is a deployment.
    happen.sort(key=lambda fault: sorted(fault.settings.items()))
    return happen, passed


def measured(passed: Mapping[str, str]) -> list[str]:
    """Those of the faults that are passed by which have been measured, and nothing else."""
    return [name for name, reason in passed.items() if reason.startswith(_MEASURED)]


def quiet_s(needed_s: float) -> float:
    """Seconds of load before a fault, for a load of so many seconds."""
    return max(QUIET_S, _QUIET_SHARE * needed_s)


def seconds(fault: Fault, scene: Scene, requests: int) -> float:
    """How long a fault takes, with its calibration: about, since an upgrade takes as long as it takes."""
    if fault.phases:
        return CALIBRATION_S + fault.scaled * SHRINKS_S + sum(lasts for lasts, _ in fault.phases(scene))
    needed_s = requests / (fault.utilisation * scene.capacity_hz)
    at_least_s = quiet_s(needed_s) + fault.takes_s + fault.hold_s + fault.tail_s
    return CALIBRATION_S + max(at_least_s, needed_s)


def told(faults: Sequence[Fault], passed: dict[str, str], took_s: Callable[[Fault], float]) -> str:
    """The plan, for people."""
    minutes = {fault.name: took_s(fault) / 60 for fault in faults}
    width = max(map(len, [*minutes, *passed]), default=0)
    count = "1 fault" if len(minutes) == 1 else f"{len(minutes)} faults"
    lines = [f"{count}, about {sum(minutes.values()):.0f} minutes; {len(passed)} skipped"]
    lines += [f"  {name:{width}}  {each:4.1f} min" for name, each in minutes.items()]
    lines += [f"  {name:{width}}  skipped: {reason}" for name, reason in passed.items()]
    return "\n".join(lines) + "\n"
