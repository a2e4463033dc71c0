"""How many connections to each worker are under way, asked of the kernel twice a second at most."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from imagerec_pool import kernel

# Whoever asks this program often must not make it ask the kernel as often.
_COUNTED_S = 0.5


class UnderWay:
    """What the kernel said last.

    Attributes:
        notice: Called with what is wrong; with None when nothing is any more.
    """

    def __init__(self, notice: Callable[[str | None], None]) -> None:
        self.notice = notice
        self._counts: dict[str, int] = {}
        self._counted_s = -_COUNTED_S

    def counts(self, known: Mapping[str, tuple[str, int] | None], now_s: float) -> dict[str, int]:
        """Return the connections to each worker; of one that cannot be counted there is no number.

        Args:
            known: Each worker's address and port; None where its address is not known.
            now_s: The time, on the agent's clock.
        """
        if now_s - self._counted_s >= _COUNTED_S:
            self._counted_s = now_s
            places = {name: place for name, place in known.items() if place is not None}
            try:
                counts = kernel.under_way(places.values())
            except OSError as error:
                self._counts = {}
                self.notice(f"connections to the workers cannot be counted ({error})")
            else:
                self._counts = {name: counts[place] for name, place in places.items()}
                self.notice(None)
        return self._counts
