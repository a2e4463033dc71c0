"""What is under way to each worker, asked of the kernel three times a second: how many connections, and who is late."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from imagerec_pool import kernel

# An address and a port.
Place = tuple[str, int]
# Whoever asks this program often must not make it ask the kernel as often.
_ASKED_S = 0.3


class UnderWay:
    """What the kernel said last.

    Attributes:
        places: Returns where each worker listens; nowhere while its address is not known.
        notice: Called with what is wrong; with None when nothing is any more.
    """

    def __init__(
        self, places: Callable[[], Mapping[str, Collection[Place]]], notice: Callable[[str | None], None]
    ) -> None:
        self.places, self.notice = places, notice
        self._told: dict[str, list[kernel.Connection]] = {}
        self._asked_s = -_ASKED_S

    def counts(self, now_s: float) -> dict[str, int]:
        """Return the connections to each worker, at a time of the agent's clock; of one that is not known no number."""
        return {name: len(found) for name, found in self._connections(now_s).items()}

    def late(self, now_s: float) -> dict[str, float]:
        """Return for how many seconds two requests have been on their way to each worker, or half of one's seconds.

        A packet that is lost delays one request. A link that is too slow for what it is given delays several. Of a
        large photograph there is always something on its way; it is late only while little has arrived.
        """
        late = {}
        for name, found in self._connections(now_s).items():
            waits = sorted((each.sending_s for each in found if each.unsent and not each.begun), reverse=True)
            longest, second = (*waits, 0.0, 0.0)[:2]
            late[name] = max(longest / 2, second)
        return late

    def _connections(self, now_s: float) -> dict[str, list[kernel.Connection]]:
        if now_s - self._asked_s >= _ASKED_S:
            self._asked_s = now_s
            places = {name: known for name, known in self.places().items() if known}
            try:
                told = kernel.under_way([place for known in places.values() for place in known])
            except OSError as error:
                self._told = {}
                self.notice(f"connections to the workers cannot be counted ({error})")
            else:
                self._told = {name: [each for place in known for each in told[place]] for name, known in places.items()}
                self.notice(None)
        return self._told
