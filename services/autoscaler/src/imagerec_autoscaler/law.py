"""How many workers shall serve: from what was seen to a number. No clock, file or socket is touched here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from imagerec_autoscaler.arrivals import LONGEST_S, at_most_hz, is_nothing, recent_hz, second_s, surely_hz
from imagerec_autoscaler.queueing import least_objective_s, slowest_s

# One worker less must do with this share of what it may do.
_HYSTERESIS = 0.9
_ANSWERS = 200
# Wait beyond the objective has to last so long, and so many service times, before it is no chance.
_LATE_S, _LATE_SERVICES = 2.0, 30
_REMEMBER_S, _REMEMBER_MOST_S = 600.0, 6 * 3600.0
_NO_ROOM = "requests found no room"
_NOTHING: Any = {"counts": (), "late_s": 0.0, "calm_s": 0.0}


@dataclass(frozen=True, slots=True)
class Rules:
    """The numbers of the law.

    Attributes:
        minimum: Workers that serve at least.
        maximum: Workers that serve at most.
        objective_s: Response time that 99 of 100 requests shall stay below, in seconds.
        utilisation: Share of their time that the workers may be busy.
        down_after_s: Seconds for which fewer workers must be enough before the pool shrinks.
    """

    minimum: int
    maximum: int
    objective_s: float
    utilisation: float = 0.7
    down_after_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen in the last second.

    Attributes:
        now_s: The time, in seconds of a clock that should only go forward.
        known: Whether the metrics could be read; where not, the numbers below mean nothing.
        arrivals: Requests that came.
        answers: Answers of which the service time is known.
        busy_s: Their service times, summed up.
        waited_s: Their waits for a worker's process, summed up.
        refused: Requests that no worker had room for.
        in_flight: Requests that wait at workers or are worked on; None where nobody counts them.
        serving: Workers that nginx asks.
        processes: Processes of each worker that serves or could, in the order in which they are taken.
    """

    now_s: float
    known: bool = True
    arrivals: int = 0
    answers: int = 0
    busy_s: float = 0.0
    waited_s: float = 0.0
    refused: int = 0
    in_flight: int | None = None
    serving: int = 0
    processes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Memory:
    """Under which load a pool was too small though the law had not foreseen it, and for how long that is remembered."""

    enough: int
    load: float
    left_s: float
    lasts_s: float


@dataclass(frozen=True, slots=True)
class State:
    """What is known between two looks.

    Attributes:
        target: Workers that shall serve.
        before_s: Time of the last look; None before the first.
        service_s: Seconds of one answer; None while none was seen.
        counts: Arrivals of each second, the latest last.
        late_s: Seconds for which requests have waited beyond the objective.
        calm_s: Seconds for which fewer workers would have been enough.
        memory: What the last surprise taught.
    """

    target: int
    before_s: float | None = None
    service_s: float | None = None
    counts: tuple[float, ...] = ()
    late_s: float = 0.0
    calm_s: float = 0.0
    memory: Memory | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """How many shall serve now, why, and what the reason was found in."""

    target: int
    reason: str
    metrics: dict[str, float | int | None]


def decide(state: State, seen: Seen, rules: Rules) -> tuple[State, Decision]:
    """Decide how many workers shall serve.

    Returns:
        What to know at the next look, and the decision. Its reason is that of a change; without one it says why not.
    """
    bounded = min(max(state.target, rules.minimum), rules.maximum)
    moved = "the minimum or the maximum has changed" if bounded != state.target else ""
    passed_s = second_s(state.before_s, seen.now_s)
    state = replace(state, before_s=seen.now_s, target=bounded)
    if not seen.known:
        return replace(state, **_NOTHING), Decision(bounded, moved or "the metrics cannot be read", {})
    state = replace(state, service_s=_service_s(state.service_s, seen))
    if passed_s is None:
        return replace(state, **_NOTHING), Decision(bounded, moved or "the looks were not a second apart", {})
    state = replace(state, counts=(*state.counts, seen.arrivals / passed_s)[-LONGEST_S:])
    wait_s = _wait_s(state, seen)
    state = replace(state, late_s=_late_s(state, seen, wait_s, rules, passed_s))
    if state.memory is not None:
        state = replace(state, memory=replace(state.memory, left_s=max(0.0, state.memory.left_s - passed_s)))
    target, reason = _wanted(state, seen, rules)
    calm_s = state.calm_s + passed_s if target < bounded else 0.0
    if target < bounded and calm_s < rules.down_after_s:
        target, reason = bounded, "fewer would do, but not for long enough yet"
    elif target < bounded:
        target, calm_s = bounded - max(1, (bounded - target) // 2), 0.0
    if target > bounded and state.late_s and reason != _NO_ROOM:  # a crowd of a second teaches nothing
        state = replace(state, memory=_surprised(state, target), late_s=0.0)
    reason = moved if moved and target == bounded else reason
    return replace(state, target=target, calm_s=calm_s), Decision(target, reason, _metrics(state, seen, wait_s))


def need(load: float, processes: Sequence[int], service_s: float, rules: Rules) -> int:
    """Return how many workers a load needs: busy for no more than their share, and fast enough; at most the maximum."""
    for count in range(rules.minimum, rules.maximum):
        served = _first(processes, count)
        if not served:
            continue
        if load <= rules.utilisation * sum(served) and slowest_s(load, served, service_s) <= rules.objective_s:
            return count
    return rules.maximum


def impossible(state: State, processes: Sequence[int], rules: Rules) -> str:
    """Say why the objective cannot be held by any number of workers, and which one can; empty where it can."""
    service_s = state.service_s
    if service_s is None or rules.objective_s > service_s:
        return ""
    least_s = least_objective_s(_first(processes, rules.maximum), rules.utilisation, service_s)
    return (
        f"the objective of {rules.objective_s:g} s is below the service time: one answer takes {service_s:.3g} s, "
        f"however many workers serve; set autoscaler_objective_s to {least_s:.2g} or more, or use faster workers"
    )


def _first(processes: Sequence[int], count: int) -> list[int]:
    """Return the processes of the first workers; those that are not there yet are like the last."""
    known = list(processes[:count])
    return known + [known[-1] if known else 1] * (count - len(known))


def _service_s(before_s: float | None, seen: Seen) -> float | None:
    if not seen.answers:
        return before_s
    mean_s = seen.busy_s / seen.answers
    return mean_s if before_s is None else before_s + (mean_s - before_s) * seen.answers / (seen.answers + _ANSWERS)


def _wait_s(state: State, seen: Seen) -> float:
    """Return what answers have waited, or what those that wait now will have: the longer of the two."""
    measured_s = seen.waited_s / seen.answers if seen.answers else 0.0
    busy = sum(_first(seen.processes, seen.serving))
    if seen.in_flight is None or not busy or state.service_s is None:
        return measured_s
    return max(measured_s, (seen.in_flight - busy) / busy * state.service_s)


def _late_s(state: State, seen: Seen, wait_s: float, rules: Rules, passed_s: float) -> float:
    # While workers start, the wait says nothing about the number that was decided.
    late = seen.refused or wait_s + (state.service_s or 0.0) > rules.objective_s
    counts = late and state.service_s is not None and not _starts(state, seen)
    return state.late_s + passed_s if counts else 0.0


def _starts(state: State, seen: Seen) -> bool:
    return seen.serving < min(state.target, len(seen.processes))


def _surprised(state: State, target: int) -> Memory:
    lasts_s = min(2 * state.memory.lasts_s, _REMEMBER_MOST_S) if state.memory else _REMEMBER_S
    return Memory(target, recent_hz(state.counts) * (state.service_s or 0.0), lasts_s, lasts_s)


def _wanted(state: State, seen: Seen, rules: Rules) -> tuple[int, str]:
    """Return how many workers are wanted before it is asked for how long, and why."""
    target, service_s = state.target, state.service_s
    if service_s is None:
        nothing = is_nothing(state.counts)
        return (rules.minimum, "nothing arrives") if nothing else (target, "no service time is known yet")
    if impossible(state, seen.processes, rules):
        return target, "the objective is below the service time"
    return _wanted_for(service_s, state, seen, rules)


def _wanted_for(service_s: float, state: State, seen: Seen, rules: Rules) -> tuple[int, str]:
    target = state.target

    def needed(rate_hz: float) -> int:
        return need(rate_hz * service_s, seen.processes, service_s, rules)

    more = needed(surely_hz(state.counts))
    if state.late_s >= max(_LATE_S, _LATE_SERVICES * service_s):
        more = min(rules.maximum, max(more, target + 1, needed(recent_hz(state.counts))))
        return more, "requests wait beyond the objective" if more > target else "the pool is at its maximum"
    if seen.refused and (last := needed(state.counts[-1])) > max(more, target):  # no room is no chance
        return last, _NO_ROOM
    if more > target:
        return more, "more arrives than the workers may be given"
    if state.late_s or _starts(state, seen):
        return target, "requests wait" if state.late_s else "workers start"
    most_hz, memory = at_most_hz(state.counts), state.memory
    fewer = needed(most_hz / _HYSTERESIS)
    if memory is not None and memory.left_s and most_hz * service_s >= _HYSTERESIS * memory.load:
        fewer = max(fewer, min(memory.enough, target))
    return (fewer, "fewer workers are enough") if fewer < target else (target, "as many as are needed")


def _metrics(state: State, seen: Seen, wait_s: float) -> dict[str, float | int | None]:
    rate_hz, service_s = recent_hz(state.counts), state.service_s
    capacity = sum(_first(seen.processes, seen.serving))
    return {
        "arrivals_hz": round(rate_hz, 2),
        "service_s": None if service_s is None else round(service_s, 5),
        "wait_s": round(wait_s, 4),
        "in_flight": seen.in_flight,
        "serving": seen.serving,
        "utilisation": None if service_s is None or not capacity else round(rate_hz * service_s / capacity, 3),
    }
