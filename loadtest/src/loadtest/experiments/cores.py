"""Whether busy workers had cores of their own: only then are their service times those of a worker elsewhere."""

from typing import Any

from loadtest.errors import LoadtestError


def shared_cores(record: dict[str, Any]) -> str | None:
    """Say why a level's service times under load are this machine's and not a worker's; None where they are a worker's.

    On one machine the processes of all workers and the load generator need a core each. nginx needs little, and where
    it runs beside them it is part of what is measured.

    Args:
        record: A level's record. One that does not know whether it ran on one machine is taken to have run on several.

    Raises:
        LoadtestError: Cores or processes are no number.
    """
    if not (record.get("facts") or {}).get("one_machine"):
        return None
    cores = count_of(record["client"], "cores")
    capacities = (record.get("capacity") or {}).values()
    workers = len((record.get("status") or {}).get("workers") or [1])
    processes = workers * max((count_of(facts, "processes") for facts in capacities), default=1)
    if processes + 1 <= cores:
        return None
    return (
        f"{processes} worker processes and the load generator shared the {cores} cores of one machine, so busy workers "
        "took the processor from each other"
    )


def count_of(facts: dict[str, Any], key: str) -> int:
    """A number of things that a level's record says.

    Raises:
        LoadtestError: It is no whole number above 0.
    """
    said = facts.get(key)
    if isinstance(said, int) and said >= 1:
        return int(said)
    raise LoadtestError(
        f"a level's record says {said!r} {key}, which is no whole number above 0; measure the level again"
    )
