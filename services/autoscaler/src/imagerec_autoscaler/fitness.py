"""Which workers come when they are woken: who did not is left alone for a while, each time for longer."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from imagerec_autoscaler.choice import STANDBY, UP, WAKING

_AGAIN_S, _MOST_DOUBLINGS = 60.0, 6


class Fitness:
    """Remembers who was woken, and who did not come within `timeout_s`."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._woken_s: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        self._until_s: dict[str, float] = {}

    def woken(self, names: Collection[str], now_s: float) -> None:
        """Take note of who was woken."""
        self._woken_s |= dict.fromkeys(names, now_s)

    def look(self, states: Mapping[str, str], asleep: Collection[str], now_s: float) -> set[str]:
        """Take note of who has come; return who has not come in time, and shall sleep again."""
        late = set()
        for name, since_s in list(self._woken_s.items()):
            state = states.get(name)
            if state == UP:
                self._failures.pop(name, None)
            elif name not in asleep and state in {WAKING, STANDBY, "down"}:
                if now_s - since_s < self._timeout_s:
                    continue
                late.add(name)
                self._failures[name] = min(self._failures.get(name, 0) + 1, _MOST_DOUBLINGS)
                self._until_s[name] = now_s + _AGAIN_S * 2 ** (self._failures[name] - 1)
            del self._woken_s[name]
        return late

    def unfit(self, now_s: float) -> set[str]:
        """Return who is not to be woken now."""
        return {name for name, until_s in self._until_s.items() if now_s < until_s}
