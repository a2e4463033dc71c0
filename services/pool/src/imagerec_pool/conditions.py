"""Which workers serve: from what was seen of each to what it is. No clock, file or socket is touched here."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

UP, DRAINING, DOWN, FAILING = "up", "draining", "down", "failing"
# Told to sleep by the autoscaler, and told to come back.
STANDBY, WAKING = "standby", "waking"
READY = "ready"
_TOO_SLOWLY = "is reached too slowly"


@dataclass(frozen=True, slots=True)
class Rules:
    """The numbers of the law.

    Attributes:
        silent_s: Seconds without any answer after which a worker that was asked is down.
        patience: Factor of silent_s before the connections of a second worker are cut off. A request has two tries:
            one that moved from the first must not be cut off again by a second worker that is only slow.
        calm_s: Seconds after a cut for which that patience lasts.
        memory_s: Seconds for which a fall counts. After n falls a worker must answer 2^n probes to return.
        latest: Answers of a worker that are looked at.
        enough: Answers without which nothing is said of them.
        mostly: Share of 500s from which a worker fails.
        rarely: Share of 500s that the others must stay below, or it is the requests' fault.
        retry_s: Seconds after which a failing worker is tried again; they double each time.
    """

    silent_s: float = 1.2
    patience: float = 3.0
    calm_s: float = 10.0
    memory_s: float = 60.0
    latest: int = 8
    enough: int = 5
    mostly: float = 0.6
    rarely: float = 0.2
    retry_s: float = 10.0

    @property
    def late_s(self) -> float:
        """Seconds on the way to a worker, of two requests, after which its link is too slow."""
        return self.silent_s / 2


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of a worker since the last decision.

    Attributes:
        answer: ``ready``, ``draining`` or ``standby``, or in words why the probe failed; None while there is no news.
        waited_s: Seconds for which a probe has been under way without any sign of life, in the access log either.
        failures: Of each answer in the access log, whether it was a 500.
        late_s: Seconds for which two requests have been on their way to it.
    """

    answer: str | None = None
    waited_s: float = 0.0
    failures: tuple[bool, ...] = ()
    late_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Condition:
    """What a worker is.

    Attributes:
        state: ``up``, ``draining``, ``down`` or ``failing``.
        since_s: When it became so, on the agent's clock.
        why: The reason, in words.
        ready: Probes in a row that were answered by ready.
        falls: When it went down, lately.
        ejections: When it was found failing, lately.
        latest: Of its latest answers, whether they were a 500.
        retry_s: When a failing worker is tried again.
        cut_s: When its connections were cut off last.
        heard: Whether there was any news of it since it is watched; its silence is news too.
    """

    state: str = UP
    since_s: float = 0.0
    why: str = "not asked yet"
    ready: int = 0
    falls: tuple[float, ...] = ()
    ejections: tuple[float, ...] = ()
    latest: tuple[bool, ...] = ()
    retry_s: float = 0.0
    cut_s: float = -math.inf
    heard: bool = False


def serving(pool: Mapping[str, Condition]) -> list[str]:
    """Return the names of the workers that serve."""
    return [name for name, condition in pool.items() if condition.state == UP]


def left_out(pool: Mapping[str, Condition]) -> set[str]:
    """Return whom nginx must not ask: who does not serve, but nobody where nobody serves.

    With an open list a worker that returns is found by the first request.
    """
    up = serving(pool)
    return set(pool) - set(up) if up else set()


def decide(
    pool: Mapping[str, Condition], seen: Mapping[str, Seen], now_s: float, rules: Rules
) -> tuple[dict[str, Condition], set[str]]:
    """Decide what each worker is now.

    Args:
        pool: What each was until now, by name.
        seen: What was seen of it since; of a name that lacks, nothing.
        now_s: The time, in seconds of any clock that only goes forward.
        rules: The numbers of the law.

    Returns:
        What each worker is now, and the names of those whose connections are to be cut off, so that nginx asks another
        worker. Nobody is cut off while nobody else serves.
    """
    slow = _slow(pool, seen, rules)
    seen = {name: replace(each, answer=_TOO_SLOWLY) if name in slow else each for name, each in seen.items()}
    after = {name: _step(was, seen.get(name, Seen()), now_s, rules) for name, was in pool.items()}
    for name in _failing(after, rules):
        was = after[name]
        times = (*was.ejections, now_s)
        bad = f"{sum(was.latest)} of its last {len(was.latest)} answers were 500"
        wait_s = rules.retry_s * 2 ** min(len(times) - 1, 4)
        after[name] = replace(
            _become(was, FAILING, bad, now_s), ejections=times, latest=(), retry_s=now_s + wait_s, ready=0
        )
    cut = _cut(after, seen, slow, now_s, rules)
    fresh = {name for name in cut if _moved(after[name], now_s)}
    return {name: replace(each, cut_s=now_s) if name in fresh else each for name, each in after.items()}, cut


def _become(was: Condition, state: str, why: str, now_s: float) -> Condition:
    return replace(was, state=state, why=why, since_s=was.since_s if was.state == state else now_s)


def _slow(pool: Mapping[str, Condition], seen: Mapping[str, Seen], rules: Rules) -> set[str]:
    """Return whose link is too slow. Where that were more than half of those awake it is the balancer's own.

    Who is down for it counts too: its late requests were cut off, so they are seen no more.
    """
    awake = {
        name
        for name, was in pool.items()
        if was.state not in {STANDBY, WAKING} and seen.get(name, Seen()).answer != STANDBY
    }
    down = {name for name in awake if pool[name].state == DOWN and pool[name].why == _TOO_SLOWLY}
    slow = {
        name
        for name, each in seen.items()
        if each.late_s >= rules.late_s and name in awake and pool[name].state in {UP, DOWN}
    }
    return slow if 2 * len(slow | down) <= len(awake) and set(serving(pool)) - slow else set()


def _step(was: Condition, seen: Seen, now_s: float, rules: Rules) -> Condition:
    was = replace(
        was,
        latest=(*was.latest, *seen.failures)[-rules.latest :],
        falls=tuple(each for each in was.falls if now_s - each < rules.memory_s),
        ejections=tuple(each for each in was.ejections if now_s - each < 10 * rules.memory_s),
        heard=was.heard or seen.answer is not None or bool(seen.failures) or seen.waited_s >= rules.silent_s,
    )
    if seen.answer == STANDBY:
        return replace(_become(was, STANDBY, "sleeps until it is needed", now_s), ready=0, falls=(), latest=())
    if was.state == STANDBY:
        was = _become(was, WAKING, "is starting", now_s)
    if seen.waited_s >= rules.silent_s:
        return was if was.state == WAKING else _fall(was, "does not answer", now_s)
    if seen.answer is None:
        return was
    if seen.answer == DRAINING:
        return replace(_become(was, DRAINING, "is being taken out", now_s), ready=0, latest=())
    if seen.answer != READY:
        return _fall(was, seen.answer, now_s)
    return _answered(replace(was, ready=was.ready + 1), now_s)


def _fall(was: Condition, why: str, now_s: float) -> Condition:
    """A worker that was in service has fallen; one that was out may come back as it is: its process is another one."""
    falls = (*was.falls, now_s) if was.state == UP else was.falls
    return replace(_become(was, DOWN, why, now_s), falls=falls, ready=0, latest=())


def _answered(was: Condition, now_s: float) -> Condition:
    if was.state == UP:
        return replace(was, why="answers")
    if was.state == FAILING and now_s < was.retry_s:
        return was
    if was.state == DOWN and was.ready < 2 ** min(len(was.falls), 5):
        return was
    return replace(_become(was, UP, "answers", now_s), latest=())


def _failing(pool: Mapping[str, Condition], rules: Rules) -> list[str]:
    """Return whom to leave out for its 500s; never so many that more than half of the pool were, and never the last."""
    up = serving(pool)
    out = sum(condition.state == FAILING for condition in pool.values())
    room = min(len(pool) // 2 - out, len(up) - 1)
    found: list[str] = []
    for name in sorted(up, key=lambda each: -_share(pool[each].latest)):
        others = [failed for other in up if other != name and other not in found for failed in pool[other].latest]
        own = pool[name].latest
        if min(len(own), len(others)) < rules.enough:
            continue
        if _share(own) >= rules.mostly and _share(others) < rules.rarely and len(found) < room:
            found.append(name)
    return found


def _share(failures: Collection[bool]) -> float:
    return sum(failures) / len(failures) if failures else 0.0


def _cut(
    pool: Mapping[str, Condition], seen: Mapping[str, Seen], slow: Collection[str], now_s: float, rules: Rules
) -> set[str]:
    cut: set[str] = set()

    def is_fresh(name: str) -> bool:
        return now_s - pool[name].cut_s < rules.calm_s or (name in cut and _moved(pool[name], now_s))

    for name in pool if serving(pool) else ():
        if pool[name].state in {STANDBY, WAKING}:
            continue
        factor = rules.patience if any(is_fresh(other) for other in pool if other != name) else 1
        if seen.get(name, Seen()).waited_s >= rules.silent_s * factor or (name in slow and factor == 1):
            cut.add(name)
    return cut


def _moved(condition: Condition, now_s: float) -> bool:
    """Whether requests move from a worker now: what comes to it a second after it was left out is one of a kind."""
    return now_s - condition.since_s <= 1
