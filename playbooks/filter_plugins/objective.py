"""Ansible filter: the shortest objective that a pool can hold, by the autoscaler's own law."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

_LAW = Path(__file__).parents[2] / "services/autoscaler/src"


def least_objective_s(processes: Sequence[Any], utilisation: float, service_s: float) -> float:
    """Return it, in seconds; see `imagerec_autoscaler.queueing`."""
    if str(_LAW) not in sys.path:
        sys.path.append(str(_LAW))
    from imagerec_autoscaler import queueing  # noqa: PLC0415 — found only now

    return queueing.least_objective_s([int(count) for count in processes], utilisation, service_s)


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return it by its name."""
        return {"least_objective_s": least_objective_s}
