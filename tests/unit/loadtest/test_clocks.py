"""How far another clock is ahead: found within what it may be wrong by, and refused where it cannot be told."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.errors import LoadtestError
from loadtest.generate.clocks import Reading, compare, refuse_apart


def readings(
    ahead_s: float, *, drift: float = 0.0, link_s: float = 2e-4, seed: int = 1, set_by_s: float = 0.0
) -> list[Reading]:
    """Ask another clock for 10 s over a link that delays both ways by chance; half-way through, the clock is set."""
    rng = np.random.default_rng(seed)
    found = []
    for asked_s in np.arange(0.0, 10.0, 0.1) + 1.7e9:
        there, back = link_s * (0.5 + rng.exponential(0.5, 2))
        told_s = asked_s + there
        told_s += ahead_s + drift * (asked_s - 1.7e9) + (set_by_s if asked_s - 1.7e9 > 5 else 0.0)
        found.append(Reading(asked_s, told_s, asked_s + there + back))
    return found


@given(ahead_s=st.floats(-30, 30), drift=st.floats(-1e-4, 1e-4), seed=st.integers(0, 1000))
@settings(max_examples=60)
def test_a_clock_is_told_within_what_it_may_be_wrong_by(ahead_s: float, drift: float, seed: int) -> None:
    clock = compare(readings(ahead_s, drift=drift, seed=seed))
    refuse_apart("client 1", clock)
    for passed_s in (0.0, 5.0, 10.0):
        there_s = 1.7e9 + passed_s + ahead_s + drift * passed_s
        assert clock.here(there_s) == pytest.approx(1.7e9 + passed_s, abs=clock.error_s + 1e-4, rel=0)


@pytest.mark.parametrize(
    ("found", "says"),
    [
        pytest.param(readings(90.0), "clock of client 2 is 90 s ahead of this machine's: set it", id="wrong"),
        pytest.param(readings(-3600.0), "3600 s behind this machine's", id="behind"),
        pytest.param(readings(0.5, set_by_s=0.02), "cannot be told to 2 ms, only to", id="set-meanwhile"),
        pytest.param(readings(0.0, set_by_s=-0.5), "cannot be told to 2 ms, only to", id="set-back-meanwhile"),
        pytest.param(readings(0.0, link_s=0.03), "or the link to it is slow", id="slow-link"),
    ],
)
def test_a_clock_that_cannot_be_told_is_refused(found: list[Reading], says: str) -> None:
    with pytest.raises(LoadtestError, match=says):
        refuse_apart("client 2", compare(found))


def test_too_few_readings_say_nothing() -> None:
    with pytest.raises(LoadtestError, match="was read 3 times; 8 are needed"):
        compare(readings(0.0)[:3])
