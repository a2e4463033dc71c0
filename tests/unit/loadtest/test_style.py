"""The bars of figures: on a logarithmic axis none ends below zero, and short ones are the interval itself."""

from __future__ import annotations

import math

import pytest

from loadtest.draw.style import log_bars


def test_a_bar_on_a_logarithmic_axis_stays_above_zero_and_is_as_long_to_both_sides_there() -> None:
    rows = [{"mean_s": 0.045, "mean_ci": 0.039}, {"mean_s": 0.1, "mean_ci": 0.2}]
    for row, below, above in zip(rows, *log_bars(rows, "mean"), strict=True):
        mean_ms = 1e3 * row["mean_s"]
        assert below < mean_ms
        assert math.log((mean_ms + above) / mean_ms) == pytest.approx(math.log(mean_ms / (mean_ms - below)))


def test_without_an_interval_there_is_no_bar() -> None:
    (below,), (above,) = log_bars([{"mean_s": 0.1, "mean_ci": None}], "mean")
    assert math.isnan(below)
    assert math.isnan(above)


def test_a_narrow_interval_is_drawn_as_it_is() -> None:
    (below,), (above,) = log_bars([{"p99_s": 0.2, "p99_ci": 0.002}], "p99")
    assert (below, above) == (pytest.approx(2, rel=0.01), pytest.approx(2, rel=0.01))
