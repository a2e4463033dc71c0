"""Checks of single values in a design; each answers what is wrong, or None."""

import math
import re
from collections.abc import Callable

from loadtest.experiments.precision import QUANTILES

Check = Callable[[object], str | None]

POLICIES = ("random", "round_robin", "least_conn", "random_two")
ARRIVALS = ("poisson", "constant", "jittered", "step", "ramp", "sine", "trace", "closed", "original")


def number(low: float, high: float, *, above: bool = False) -> Check:
    """Accept numbers from low to high; with `above`, low itself is refused."""

    def check(value: object) -> str | None:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return f"{value!r} is not a number"
        if value > high or value < low or (above and value == low):
            return f"{value} is impossible; give {'more than ' if above else ''}{low:g} to {high:g}"
        return None

    return check


def whole(low: int, high: int) -> Check:
    """Accept whole numbers from low to high."""

    def check(value: object) -> str | None:
        if isinstance(value, bool) or not isinstance(value, int):
            return f"{value!r} is not a whole number"
        return None if low <= value <= high else f"{value} is impossible; give {low} to {high}"

    return check


def one_of(*choices: str) -> Check:
    """Accept one of these words."""

    def check(value: object) -> str | None:
        return None if value in choices else f"{value!r} is not one of {', '.join(choices)}"

    return check


def text(value: object) -> str | None:
    """Accept a non-empty string."""
    return None if isinstance(value, str) and value.strip() else f"{value!r} is not a text"


def model_name(value: object) -> str | None:
    """Accept the name of a model; a level's name holds it, and folders are named so."""
    if isinstance(value, str) and re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,63}", value):
        return None
    return f"{value!r} is not the name of a model, such as imagenet or lite0-160"


def file_beside(value: object) -> str | None:
    """Accept the bare name of a file that stands beside the design: it travels with the design."""
    if isinstance(value, str) and value not in ("", ".", "..") and not set(value) & {"/", "\\"}:
        return None
    return f"{value!r} is not the name of a file; put the trace beside the design and give its name alone"


def flag(value: object) -> str | None:
    """Accept true and false."""
    return None if isinstance(value, bool) else f"{value!r} is neither true nor false"


def count_or_all(value: object) -> str | None:
    """Accept a number of requests, or `all` for each labelled image once."""
    return None if value == "all" else whole(1, 10_000_000)(value)


def image_mix(value: object) -> str | None:
    """Accept a mapping of image side in pixels to its weight."""
    if not isinstance(value, dict) or not value:
        return f"{value!r} is not a mapping of pixels to weights, such as {{64: 0.5, 224: 0.5}}"
    for side, weight in value.items():
        if wrong := IMAGE_PX(side) or number(0, 1e6, above=True)(weight):
            return wrong
    return None


AWAKE = ("auto", "least", "all")
IMAGE_PX = whole(1, 8000)

DEPLOYMENT: dict[str, Check] = {
    "pool_size": whole(1, 1000),
    "policy": one_of(*POLICIES),
    "cpu_share": number(0, 64, above=True),
    "slow_worker": number(1, 100),
    "model": model_name,
    "batch": whole(1, 16),
    "batch_window_ms": number(0, 100),
    "workers_awake": one_of(*AWAKE),
}
LOAD: dict[str, Check] = {
    "arrivals": one_of(*ARRIVALS),
    "image_px": IMAGE_PX,
    "image_mix": image_mix,
    "rate_hz": number(0, 100_000, above=True),
    "interval_s": number(0, 3600, above=True),
    "utilisation": number(0, 100, above=True),
    "in_flight": whole(1, 10_000),
    "jitter": number(0, 1),
    "factor": number(0, 1000),
    "at_s": number(0, 86_400),
    "until_s": number(0, 86_400, above=True),
    "amplitude": number(0, 1),
    "period_s": number(0, 86_400, above=True),
    "trace": file_beside,
    "measured_every": whole(1, 1_000_000),
    "requests": count_or_all,
    "duration_s": number(0, 86_400, above=True),
    "min_duration_s": number(0, 86_400, above=True),
    "max_duration_s": number(0, 86_400, above=True),
    "warmup_s": number(0, 3600),
    "repetitions": whole(1, 1000),
    "only_awake": one_of(*AWAKE),
}
SECTIONS: dict[str, dict[str, Check]] = {
    "images": {"jpeg_quality": whole(1, 95), "photo": text, "labelled": flag},
    "client": {
        "timeout_s": number(0, 3600, above=True),
        "max_in_flight": whole(1, 100_000),
        "warmup_requests": whole(0, 10_000),
        "body": one_of("multipart", "raw"),
        "keep_alive": flag,
    },
    "calibration": {
        "unloaded_requests": whole(10, 100_000),
        "saturated_s": number(0, 3600, above=True),
        "in_flight_per_worker": whole(2, 1000),
        "idle_requests": whole(0, 100_000),
        "busy_s": number(0, 3600),
    },
    "validity": {
        "lag_of_service": number(0, 100, above=True),
        "client_cpu": number(0, 64, above=True),
        "other_cpu": number(0, 1, above=True),
        "steal": number(0, 1, above=True),
        "link": number(0, 1, above=True),
        "resent": number(0, 1, above=True),
    },
}
PRECISION: dict[str, Check] = {"of": one_of("mean", *QUANTILES), "half_width": number(0, 1, above=True)}
FIGURES = ("resolution", "rate", "ccdf", "shares", "timeseries", "method", "mix", "models", "batching", "pool")
TOP: dict[str, Check] = {
    "name": text,
    "goal": text,
    "seed": whole(0, 2**63 - 1),
    "repetitions": whole(5, 1000),  # from fewer trials no interval means anything
}
