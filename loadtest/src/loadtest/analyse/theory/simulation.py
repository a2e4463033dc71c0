"""Arrays of times, and the waits before one FIFO worker."""

from typing import Any

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float64]]
Ints = np.ndarray[Any, np.dtype[np.int64]]


def lindley(arrivals_s: Floats, services_s: Floats) -> Floats:
    """Waits before one FIFO worker by Lindley's recursion.

    W₁ = 0, Wᵢ₊₁ = max(0, Wᵢ + Sᵢ − (Aᵢ₊₁ − Aᵢ)), with A the arrival times and S the service times.

    Args:
        arrivals_s: Arrival times in seconds, ascending, shape (m,).
        services_s: Service times in seconds, shape (m,).

    Returns:
        The waits in seconds, shape (m,).
    """
    if len(arrivals_s) == 0:
        return np.zeros(0)
    # a random walk that is reflected at 0: subtract its running minimum
    walk = np.concatenate(([0.0], np.cumsum(services_s[:-1] - np.diff(arrivals_s))))
    waits: Floats = walk - np.minimum.accumulate(walk)
    return waits
