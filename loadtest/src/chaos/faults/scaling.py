"""What happens to a worker while an autoscaler lets the pool grow."""

from __future__ import annotations

import time
from collections.abc import Sequence

from chaos.bars import nothing_lost, of_enough
from chaos.fault import VICTIM, Fault
from chaos.faults.workers import power_off, power_on
from chaos.scene import Scene
from chaos.verdict import Marks, Row, refused
from loadtest.generate.samples import Sample

_QUIET_S, _QUIET_SHARE, _STEP = 20.0, 0.1, 4
# Of one worker: a large pool would grow under a tenth of its capacity already.
_QUIET_WORK = 0.4
_LOOK_S = 2.0
_GROWS_S = 30.0
# A woken worker has 30 s to serve before another one is woken, which then needs some to start.
_FOLLOWED_S = 45.0
_HOLD_S = 60.0


def _step(scene: Scene) -> list[tuple[float, float]]:
    before_hz = min(_QUIET_SHARE * scene.capacity_hz, _QUIET_WORK / scene.service_s)
    least_s = _GROWS_S + _HOLD_S + 20
    return [(_QUIET_S, before_hz), (max(least_s, 5000 / (_STEP * before_hz)), _STEP * before_hz)]


def _power_off_while_it_grows(scene: Scene, marks: Marks) -> None:
    """Wait for the step, and until more workers are wanted; the victim is the first that is woken."""
    scene.struck_s = scene.served = None
    time.sleep(max(0.0, _QUIET_S - _LOOK_S - scene.load.now()))
    _need_small(scene)
    time.sleep(max(0.0, _QUIET_S - scene.load.now()))
    scene.until("the pool grows", lambda: (told := scene.scaled())["minimum"] < (told["target"] or 0), _GROWS_S)
    marks.victim = VICTIM
    marks.injected_s = scene.load.now()
    power_off(scene, marks)
    scene.struck_s = marks.injected_s, scene.load.now()


def _need_small(scene: Scene) -> None:
    """Refuse to strike where the step would not wake the victim.

    Raises:
        RuntimeError: More workers are wanted already than the minimum, or the victim does not sleep.
    """
    told = scene.scaled()
    target, least = told["target"], told["minimum"]
    if target is None:
        why = "the autoscaler does not know yet how many workers are wanted"
    elif target != least:
        why = f"{target} workers are wanted, its minimum is {least}"
    elif VICTIM not in told["asleep"]:
        why = f"{VICTIM} does not sleep, so it cannot be woken"
    else:
        return
    raise RuntimeError(f"before the load grows, {why}")


def _power_on(scene: Scene, marks: Marks) -> None:
    if not marks.victim:
        return  # nothing was struck
    try:
        told = scene.scaled()
        scene.served = None if told["target"] is None else (told["active"], told["target"])
    finally:
        power_on(scene, marks)


def _followed(row: Row, samples: Sequence[Sample], scene: Scene) -> dict[str, bool]:
    """Nothing lost; others were woken in the dead one's place, and then nobody was refused."""
    if scene.struck_s is None or scene.served is None:
        return nothing_lost(row, samples, scene) | {"how many workers served without it is missing": False}
    serve, wanted = scene.served
    since_s = scene.struck_s[0] + _FOLLOWED_S
    late = sum(refused(each) and each.scheduled_s >= since_s for each in samples)
    return nothing_lost(row, samples, scene) | {
        f"{serve} workers served without it, ≥ {wanted} wanted": serve >= wanted,
        f"{late} refused from {_FOLLOWED_S:g} s after it on, 0 allowed": late == 0,
    }


FAULTS = (
    Fault(
        "scale-under-fault",
        f"power off a worker that is being woken, by a load of ×{_STEP}",
        _power_off_while_it_grows,
        _power_on,
        of_enough(_followed),
        hold_s=_HOLD_S,
        phases=_step,
        scaled=True,
    ),
)
