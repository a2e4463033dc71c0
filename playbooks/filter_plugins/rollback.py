"""Ansible filter: which deployment a whole pool goes back to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Names = dict[str, str]


def _identity(names: Names) -> tuple[str, str]:
    """What names the same deployment on every host: a release's name ends with the host's kind of Python."""
    return names["code"].rpartition("-cp")[0], names["model"]


def rollback_target(pool: dict[str, dict[str, Any]]) -> dict[str, Names]:
    """Choose one deployment for all hosts: the newest that was good on each, but not what each of them runs already.

    A rollback that was cut off is carried on: its choice stands until it is through.

    Args:
        pool: For each host what it recalls: `runs`, the names of the `code` and the `model` that it runs; `good`,
            those of the deployments that it survived and still has, newest first; `staged`, with `rollback` where a
            rollback has put them there.

    Returns:
        For each host the names of the deployment to go back to; empty where the pool has none in common.
    """
    # Where the host's Python was upgraded in between, two names are of one deployment: the newer one counts.
    good = {host: {_identity(names): names for names in reversed(record["good"])} for host, record in pool.items()}
    running = {_identity(record["runs"]) for record in pool.values()}
    begun = [record["staged"] for record in pool.values() if record.get("staged", {}).get("rollback")]
    for names in begun + [names for record in pool.values() for names in record["good"]]:
        candidate = _identity(names)
        if (names in begun or running != {candidate}) and all(candidate in known for known in good.values()):
            return {host: known[candidate] for host, known in good.items()}
    return {}


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return it by its name."""
        return {"rollback_target": rollback_target}
