"""Which factors of a cell go together, each of them sound by itself; each rule says when it is broken."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from loadtest.experiments.cells import Cell, Level
from loadtest.experiments.checks import PRECISION

Values = Mapping[str, Any]

RATES = ("rate_hz", "interval_s", "utilisation")
_STEADY = ("poisson", "constant", "jittered")
_CHANGING = ("step", "ramp", "sine")
_NEEDS_RATE = (*_STEADY, *_CHANGING)
# Five trials of this length are too long for anybody; the times within one are many.
_LONG_S = 300.0
# Factors that mean something for some arrivals alone.
_ONLY = {
    "in_flight": ("closed",),
    "jitter": ("jittered",),
    "factor": ("step", "ramp"),
    "at_s": ("step", "ramp"),
    "until_s": ("step", "ramp"),
    "amplitude": ("sine",),
    "period_s": ("sine",),
    "measured_every": ("original",),
    "min_duration_s": _STEADY,
    "max_duration_s": _STEADY,
}


class Rule(NamedTuple):
    """One thing that a cell must keep to.

    Attributes:
        reason: What to say of a cell that breaks it; `{arrivals}` is filled in.
        broken: Whether these factors break it; the second argument says whether the images are labelled.
    """

    reason: str
    broken: Callable[[Values, bool], bool]


def reasons_against(values: Values, *, labelled: bool) -> list[str]:
    """Why such a cell cannot be run; empty where it can."""
    arrivals = values.get("arrivals")
    found = [rule.reason.format(arrivals=arrivals) for rule in _RULES if rule.broken(values, labelled)]
    return found + [
        f"{key} has no meaning for {arrivals} arrivals"
        for key, laws in _ONLY.items()
        if key in values and arrivals not in laws
    ]


def against_levels(levels: Sequence[Level]) -> list[str]:
    """Why no deployment can have such levels; empty where one can."""
    found = []
    if any(level.slow_worker != 1 and level.pool_size == 1 for level in levels):
        found.append("slow_worker slows one of several workers, but pool_size is 1")
    if any(level.batch_window_ms is not None and level.batch is None for level in levels):
        found.append("batch_window_ms needs batch, the most photographs of a run")
    awake = {level.workers_awake for level in levels}
    if awake != {None} and levels and "all" not in awake:
        found.append("workers_awake needs the level all: loads are shares of what all workers can do")
    return found


def against_cells(cells: Sequence[Cell], levels: Sequence[Level]) -> list[str]:
    """Why some cells would be run at no level, or measure nothing; empty where each does."""
    awake = {level.workers_awake for level in levels}
    found = [
        f"{cell.id}: only_awake is {cell.only_awake}, and no level of the deployment has that workers_awake"
        for cell in cells
        if cell.only_awake not in {None, *awake}
    ]
    return found + [
        f"{cell.id}: warmup_s leaves nothing of the {cell.shortest_s:g} s to measure"
        for cell in cells
        if cell.shortest_s is not None and cell.warmup_s >= cell.shortest_s > 0
    ]


def against_precision(given: object, cells: Sequence[Cell]) -> list[str]:
    """Why a design's precision cannot end its trials; empty where it can, or there is none."""
    if given is None:
        return []
    if not isinstance(given, dict):
        return ["precision is not a mapping, such as {of: mean, half_width: 0.05}"]
    found = [
        f"precision.{key} is not a known factor; known are of, half_width" for key in given if key not in PRECISION
    ]
    if "half_width" not in given:
        found.append("precision.half_width is missing: give a share of the value, such as 0.05")
    wrong = {key: check(given[key]) for key, check in PRECISION.items() if key in given}
    found += [f"precision.{key}: {reason}" for key, reason in wrong.items() if reason]
    if cells and not any(cell.may_end_early for cell in cells):
        found.append("precision can end no trial of this design: its cells send a fixed list of requests")
    return found


def _rates(values: Values) -> int:
    return sum(key in values for key in RATES)


def _is(values: Values, *arrivals: str) -> bool:
    return values.get("arrivals") in arrivals


def _outside(values: Values, _labelled: bool) -> bool:
    length_s = values.get("duration_s", math.inf)
    return not values.get("at_s", 0) < values.get("until_s", length_s) <= length_s


_RULES = (
    Rule("arrivals is missing", lambda v, _: "arrivals" not in v),
    Rule(
        "give one of image_px and image_mix; only trace arrivals may have neither, where the trace has sizes",
        lambda v, _: ("image_px" in v) == ("image_mix" in v) and ("image_px" in v or not _is(v, "trace")),
    ),
    Rule(
        "{arrivals} arrivals need one of " + ", ".join(RATES),
        lambda v, _: _is(v, *_NEEDS_RATE) and _rates(v) != 1,
    ),
    Rule("step arrivals need factor and at_s", lambda v, _: _is(v, "step") and not {"factor", "at_s"} <= v.keys()),
    Rule("ramp arrivals need factor", lambda v, _: _is(v, "ramp") and "factor" not in v),
    Rule(
        "sine arrivals need amplitude and period_s",
        lambda v, _: _is(v, "sine") and not {"amplitude", "period_s"} <= v.keys(),
    ),
    Rule(
        "{arrivals} arrivals need duration_s, in which their rate changes",
        lambda v, _: _is(v, *_CHANGING) and "duration_s" not in v,
    ),
    Rule("at_s must come before until_s, and both within duration_s", _outside),
    Rule(
        "a closed loop needs in_flight and has no rate",
        lambda v, _: _is(v, "closed") and (_rates(v) > 0 or "in_flight" not in v),
    ),
    Rule(
        "the original's loop needs interval_s, measured_every and requests",
        lambda v, _: _is(v, "original") and not {"interval_s", "measured_every", "requests"} <= v.keys(),
    ),
    Rule(
        "the original's loop lasts as long as its requests take, and interval_s gives its rate",
        lambda v, _: _is(v, "original") and ("duration_s" in v or _rates(v) != 1),
    ),
    Rule(
        "trace arrivals need trace, a file of offsets, and have no rate; others have none",
        lambda v, _: _is(v, "trace") != ("trace" in v) or (_is(v, "trace") and _rates(v) > 0),
    ),
    Rule(
        "give one of requests and duration_s",
        lambda v, _: not _is(v, "trace") and ("requests" in v) == ("duration_s" in v),
    ),
    Rule(
        "requests: all needs images.labelled and a closed loop",
        lambda v, labelled: v.get("requests") == "all" and not (labelled and _is(v, "closed")),
    ),
    Rule(
        f"repetitions under 5 are for requests: all, and for duration_s of {_LONG_S:g} or more; of other trials fewer "
        "give no interval",
        lambda v, _: v.get("repetitions", 5) < 5 and v.get("requests") != "all" and v.get("duration_s", 0) < _LONG_S,
    ),
    Rule("labelled images have one size a cell; give image_px", lambda v, labelled: labelled and "image_px" not in v),
    Rule(
        "min_duration_s is over max_duration_s",
        lambda v, _: v.get("min_duration_s", 0) > v.get("max_duration_s", math.inf),
    ),
)
