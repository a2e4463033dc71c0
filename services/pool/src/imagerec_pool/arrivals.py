"""Whether a worker that does not answer is being sent a large photograph over a slow link."""

from __future__ import annotations

import math
from collections.abc import Collection

from imagerec_pool import kernel
from imagerec_pool.under_way import Place


class Arrivals:
    """What the kernel said last of the workers that have been silent for a while.

    A worker with one process cannot be asked while it reads. One that reads acknowledges ever more of what it is sent.
    """

    def __init__(self, silent_s: float) -> None:
        self._silent_s = silent_s
        self._before: dict[str, tuple[float, dict[bytes, int]]] = {}

    def grow(self, name: str, waited_s: float, places: Collection[Place], now_s: float) -> bool:
        """Tell whether a worker has acknowledged more since it was last looked at.

        The kernel is asked in the second half of the time of silence, once in each quarter.

        Args:
            name: The worker's.
            waited_s: For how long it has been silent.
            places: Where it listens; nowhere while its address is not known.
            now_s: The time, on the agent's clock.
        """
        if not places or waited_s < self._silent_s / 2:
            self._before.pop(name, None)
            return False
        then_s, before = self._before.get(name, (-math.inf, {}))
        if now_s - then_s < self._silent_s / 4:
            return False
        try:
            now = {each: count for place in places for each, count in kernel.arrived(*place).items()}
        except OSError:  # who counts what is under way says why
            return False
        self._before[name] = now_s, now
        return any(now[connection] > before[connection] for connection in now.keys() & before.keys())
