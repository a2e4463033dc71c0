"""Figures as a page writes them: a dash where there is none, ± where there is an interval."""

from collections.abc import Callable
from typing import Any

_NONE = "–"


def number(value: float | None, half: float | None = None, digits: int = 0) -> str:
    """Return a number, with ± the half-width of its interval where there is one."""
    if value is None:
        return _NONE
    text = f"{value:.{digits}f}"
    return text if half is None else f"{text} ± {half:.{digits}f}"


def milliseconds(value: float | None, half: float | None = None, digits: int = 1) -> str:
    """Return seconds as milliseconds, with ± the half-width of their interval where there is one."""
    return _NONE if value is None else number(1000 * value, None if half is None else 1000 * half, digits)


def percent(value: float | None, digits: int = 0) -> str:
    """Return a share as a percentage, without the sign."""
    return _NONE if value is None else f"{100 * value:.{digits}f}"


def share(part: float | None, whole: float | None) -> float | None:
    """Return part ÷ whole; None where one is not known, or the whole is nothing."""
    return None if part is None or not whole else part / whole


def less(value: float | None, other: float | None) -> float | None:
    """Return a difference; None where one of both is not known."""
    return None if value is None or other is None else value - other


def off(value: float | None) -> str:
    """Return a share as a percentage with its sign; a dash where there is none."""
    return _NONE if value is None else f"{100 * value:+.0f}"


def few(cell: dict[str, Any]) -> str:
    """Return how many trials of a cell count, where not all of them do."""
    return "" if cell["valid_trials"] == cell["trials"] else f" ({cell['valid_trials']} of {cell['trials']})"


def intervals(one: dict[str, Any], other: dict[str, Any], name: str) -> str:
    """Return whether the intervals of a figure of two cells overlap, as the end of a sentence."""
    low, high, lower, higher = (cell[f"{name}_{end}"] for cell in (one, other) for end in ("low", "high"))
    if None in (low, high, lower, higher):
        return "are not known"
    return "overlap" if low <= higher and lower <= high else "are apart"


def times(value: float | None, other: float | None, digits: int = 1) -> str:
    """Return how many times `other` goes into a value."""
    return number(share(value, other), digits=digits)


def count(value: int) -> str:
    """Return a number of requests with a comma between thousands."""
    return f"{value:,}"


FILTERS: dict[str, Callable[..., Any]] = {
    "number": number,
    "ms": milliseconds,
    "percent": percent,
    "times": times,
    "count": count,
    "share": share,
    "less": less,
    "off": off,
    "few": few,
}
