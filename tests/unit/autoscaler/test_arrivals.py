"""What counts say of a rate: chance must not fool them, and they must not be blind."""

from __future__ import annotations

import math

import numpy as np
import pytest

from imagerec_autoscaler.arrivals import at_most_hz, is_nothing, recent_hz, surely_hz


@pytest.mark.parametrize("rate_hz", [0.1, 2.0, 30.0])
def test_chance_seldom_passes_the_bounds_of_a_rate_that_stays(rate_hz: float) -> None:
    courses = np.random.default_rng(11).poisson(rate_hz, (2000, 300)).tolist()
    assert sum(surely_hz(counts) > rate_hz for counts in courses) <= 4
    assert sum(at_most_hz(counts) < rate_hz for counts in courses) <= 4


def test_the_bounds_are_near_where_much_arrives() -> None:
    counts = [100] * 300
    assert 0.97 * 100 < surely_hz(counts) < 100 < at_most_hz(counts) < 1.1 * 100


@pytest.mark.parametrize(
    ("counts", "surely", "most"),
    [
        pytest.param([0] * 298 + [100] * 2, (60, 100), (60, 110), id="a load that begins"),
        pytest.param([100] * 270 + [0] * 30, (0, 0.2), (0.1, 0.2), id="a load that ended"),
        pytest.param([5] * 29, (0, 5), (math.inf, math.inf), id="too short to be sure of less"),
        pytest.param([], (0, 0), (math.inf, math.inf), id="nothing known"),
    ],
)
def test_a_rate_that_changes_is_followed(
    counts: list[float], surely: tuple[float, float], most: tuple[float, float]
) -> None:
    assert surely[0] <= surely_hz(counts) <= surely[1]
    assert most[0] <= at_most_hz(counts) <= most[1]


def test_now_is_the_last_seconds() -> None:
    assert (recent_hz([9, 1, 2, 3]), recent_hz([4]), recent_hz([])) == (2, 4, 0)
    assert is_nothing([1] + [0] * 30)
    assert not is_nothing([0] * 29)
    assert not is_nothing([0] * 29 + [1])
