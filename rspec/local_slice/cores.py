"""How a share of the host's cores is dealt out: period, quota and weight of a control group, and which cores."""

from __future__ import annotations

import math
import os

_LEAST_QUOTA_US = 1_000  # the kernel refuses less
_SHORTEST_PERIOD_US = 2_000
_LONGEST_PERIOD_US = 10_000
LEAST_CORES = _LEAST_QUOTA_US / _LONGEST_PERIOD_US


def too_few(cores: float) -> bool:
    """Whether the kernel cannot deal out so few cores. What rounding took is let pass."""
    return cores < 0.999 * LEAST_CORES


def period_us(cores: float) -> int:
    """Length in microseconds of the period over which `cores` cores are dealt out: as short as the kernel allows.

    With long periods an idle machine answers faster than a busy one, and a throttled one stalls. Measured with bursts
    of 5 ms at 0.3 cores, mean ± sd in ms, idle and busy: 11.3 ± 6.1 and 18.5 ± 10.5 with 10 ms, 16.1 ± 3.0 and
    17.2 ± 1.4 with this.
    """
    return max(_SHORTEST_PERIOD_US, min(_LONGEST_PERIOD_US, math.ceil(_LEAST_QUOTA_US / cores)))


def quota_us(cores: float) -> int:
    """CPU time in microseconds that `cores` cores may use in one period."""
    return max(_LEAST_QUOTA_US, round(cores * period_us(cores)))


def weight(cores: float | None) -> int:
    """How much a machine counts when the host's cores are all wanted: 100 a core, as without a limit.

    With equal weights four workers of 0.3 cores kept the client of one core waiting, and its requests left late.
    """
    return max(1, round(100 * cores)) if cores else 100


def allowed_cores(cores: float | None, number: int) -> set[int]:
    """Which of the host's cores a machine with `cores` cores may run on: one where it has less than one, or all.

    On several cores the kernel deals a quota out to whoever asks first: a program of the lowest priority had half of
    it, as long as its neighbour was on another core. On one core the neighbour goes first, as on a slow computer.

    Args:
        cores: its CPU limit, None for none.
        number: the machine's; consecutive numbers get the host's cores in turn.
    """
    ours = sorted(os.sched_getaffinity(0))
    return set(ours) if cores is None or cores >= 1 else {ours[number % len(ours)]}
