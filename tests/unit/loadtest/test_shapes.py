"""Rates that change, and several clients that share one load: each has the law it names."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.generate.arrivals import poisson
from loadtest.generate.shapes import Ramp, Shape, Sine, Step, share, varying
from tests.unit.loadtest.laws import poisson_faults

LENGTH_S = 1000.0
SHAPES = {
    "step": Step(10.0, 4.0, at_s=300.0, until_s=700.0),
    "step-down": Step(30.0, 0.1, at_s=500.0),
    "ramp": Ramp(5.0, 6.0, at_s=200.0, until_s=900.0),
    "ramp-down": Ramp(40.0, 0.0, at_s=0.0, until_s=1000.0),
    "sine": Sine(20.0, 0.9, period_s=170.0),
}


def numbers(offsets: Iterable[float]) -> npt.NDArray[np.float64]:
    return np.fromiter(offsets, float)


def steady(offsets: Iterable[float], shape: Shape) -> tuple[npt.NDArray[np.float64], float, float]:
    """Move arrivals to where those of a steady process of 20/s would be, with its rate and its length.

    Whoever has the rate λ(t) has it so, and nobody else (time-rescaling theorem): the integral of λ up to each arrival
    is a Poisson process of rate 1.
    """
    return numbers(shape.expected(offset) / 20 for offset in offsets), 20.0, shape.expected(LENGTH_S) / 20


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_arrivals_have_the_law_of_their_shape(shape: Shape) -> None:
    assert poisson_faults(*steady(varying(shape, LENGTH_S, np.random.default_rng(5)), shape)) == []


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_check_rejects_arrivals_whose_rate_does_not_change(shape: Shape) -> None:
    mean_hz = shape.expected(LENGTH_S) / LENGTH_S
    assert poisson_faults(*steady(poisson(mean_hz, LENGTH_S, np.random.default_rng(5)), shape))


RATES, FACTORS, TIMES = st.floats(0.1, 500), st.floats(0, 20), st.floats(0, 50)
LENGTHS = st.floats(0.1, 100)


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    rate_hz, at_s = draw(RATES), draw(TIMES)
    kind = draw(st.sampled_from([Step, Ramp, Sine]))
    if kind is Sine:
        return Sine(rate_hz, draw(st.floats(0, 1)), draw(st.floats(0.5, 100)))
    return kind(rate_hz, draw(FACTORS), at_s, at_s + draw(st.floats(0.1, 50)))  # type: ignore[no-any-return]


@given(shape=shapes(), length_s=LENGTHS)
@settings(max_examples=60)
def test_what_is_expected_is_the_integral_of_the_rate(shape: Shape, length_s: float) -> None:
    times = np.linspace(0, length_s, 20_001)
    rates = np.array([shape.rate_at(float(t)) for t in times])
    middle = (rates[:-1] + rates[1:]) / 2
    # a step inside an interval is wrong by that interval at the most
    slack = 3 * shape.highest_hz * length_s / 20_000
    assert shape.expected(length_s) == pytest.approx(float(middle.sum()) * length_s / 20_000, abs=slack + 1e-6)
    assert rates.max() <= shape.highest_hz * (1 + 1e-12)
    assert rates.min() >= -1e-12


@given(shape=shapes(), length_s=st.floats(0.1, 5), seed=st.integers(0, 2**32))
@settings(max_examples=40)
def test_arrivals_ascend_within_the_trial_and_are_as_many_as_expected(shape: Shape, length_s: float, seed: int) -> None:
    offsets = numbers(varying(shape, length_s, np.random.default_rng(seed)))
    assert np.all(np.diff(offsets) >= 0)
    assert np.all((offsets >= 0) & (offsets < length_s))
    expected = shape.expected(length_s)
    assert abs(len(offsets) - expected) <= 7 * np.sqrt(expected) + 8  # beyond that: once in 10^9 draws
    assert offsets.tolist() == list(varying(shape, length_s, np.random.default_rng(seed)))


@pytest.mark.slow
@pytest.mark.parametrize("parts", [2, 5])
def test_each_client_s_share_is_a_poisson_process_and_all_together_are_the_whole(parts: int) -> None:
    rate_hz, length_s = 20.0 * parts, 1000.0
    whole = list(poisson(rate_hz, length_s, np.random.default_rng(11)))
    shares = [list(share(iter(whole), part, parts, np.random.default_rng(3))) for part in range(parts)]
    assert sorted(offset for one in shares for offset in one) == whole
    for one in shares:
        assert poisson_faults(np.array(one), 20.0, length_s) == []


def test_the_check_rejects_shares_that_take_turns() -> None:
    """Every second arrival of a Poisson process is none: its gaps are the sums of two."""
    whole = list(poisson(40.0, 1000.0, np.random.default_rng(11)))
    assert "gaps" in poisson_faults(np.array(whole[::2]), 20.0, 1000.0)
