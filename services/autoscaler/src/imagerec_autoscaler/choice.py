"""Which workers serve when so many shall: from the states of the pool to the names of those that sleep."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

# As the pool's agent calls them.
UP, WAKING, STANDBY, UNKNOWN = "up", "waking", "standby", "unknown"


def sleepers(target: int, states: Mapping[str, str], asleep: Collection[str], unfit: Collection[str]) -> set[str]:
    """Return who shall sleep.

    A worker that is down, failing or taken out by an operator counts as none: another one is woken in its place, and
    it is left as it is.

    Args:
        target: Workers that shall serve.
        states: What the agent says of each worker, in the order in which they are taken.
        asleep: Who sleeps now.
        unfit: Who was woken lately and did not come.
    """
    awake = [name for name in states if name not in asleep]
    serve = [name for name in awake if states[name] in {UP, UNKNOWN}]
    start = [name for name in awake if states[name] in {WAKING, STANDBY}]
    kept = [*serve, *start][:target]
    more = [name for name in states if name in asleep and name not in unfit][: target - len(kept)]
    return (set(asleep) & set(states) | {*serve, *start}) - {*kept, *more}


def startable(states: Mapping[str, str], asleep: Collection[str], unfit: Collection[str]) -> Sequence[str]:
    """Return who serves, starts or could be woken, those that serve first."""
    can = [name for name in states if name not in unfit and (name in asleep or states[name] in {UP, UNKNOWN, WAKING})]
    return sorted(can, key=lambda name: states[name] not in {UP, UNKNOWN})
