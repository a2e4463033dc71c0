"""What came through all balancers: each autoscaler tells the others its last second, and the one that acts adds up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from imagerec_autoscaler.law import Seen

_COUNTS, _SECONDS, _DEPTH = ("arrivals", "answers", "refused"), ("busy_s", "waited_s"), "in_flight"
_MOST = 1e9


def tell(seen: Seen | None) -> dict[str, float | None] | None:
    """Return the numbers of a second as another autoscaler reads them; None where there are none."""
    if seen is None or not seen.known:
        return None
    return {name: getattr(seen, name) for name in (*_COUNTS, *_SECONDS, _DEPTH)}


def read(said: Any) -> Seen | None:
    """Return the second that another autoscaler tells; None where it tells none, or none that can be."""
    if not isinstance(said, dict):
        return None
    numbers: dict[str, Any] = {name: said.get(name) for name in (*_COUNTS, *_SECONDS, _DEPTH)}
    if not all(_is_number(number) or (name == _DEPTH and number is None) for name, number in numbers.items()):
        return None
    numbers |= {name: numbers[name] and int(numbers[name]) for name in (*_COUNTS, _DEPTH)}
    return Seen(0.0, **numbers)


def together(own: Seen, others: Sequence[Seen]) -> Seen:
    """Return this balancer's second with those of the others added; how many are under way is known if all know it."""
    sums = {name: sum(getattr(each, name) for each in (own, *others)) for name in (*_COUNTS, *_SECONDS)}
    depths = [each.in_flight for each in (own, *others)]
    return replace(own, **sums, in_flight=None if None in depths else sum(filter(None, depths)))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _MOST
