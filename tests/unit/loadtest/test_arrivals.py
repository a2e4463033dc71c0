"""The arrival laws: each has the law it names, not only its mean."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from loadtest.errors import LoadtestError
from loadtest.generate import arrivals
from tests.unit.loadtest.laws import poisson_faults

RATE_HZ = 20.0
DURATION_S = 2000.0


def test_poisson_has_the_law_of_a_poisson_process() -> None:
    offsets = np.fromiter(arrivals.poisson(RATE_HZ, DURATION_S, np.random.default_rng(7)), float)
    assert poisson_faults(offsets, RATE_HZ, DURATION_S) == []


def rescaled_to_fill_each_second(rng: np.random.Generator) -> Iterator[float]:
    """A common fault: the right number of exponential gaps, stretched so that they fill each second."""
    for second in range(int(DURATION_S)):
        gaps = rng.exponential(1 / RATE_HZ, int(RATE_HZ))
        yield from second + np.cumsum(gaps) / gaps.sum()


def poisson_count_rescaled(rng: np.random.Generator) -> Iterator[float]:
    """The subtler form: the count of each second is Poisson's, but its gaps still fill the second."""
    for second in range(int(DURATION_S)):
        gaps = rng.exponential(1 / RATE_HZ, rng.poisson(RATE_HZ))
        yield from second + np.cumsum(gaps) / gaps.sum()


def original_law(rng: np.random.Generator) -> Iterator[float]:
    pauses = arrivals.original_pauses(1 / RATE_HZ, np.random.RandomState(int(rng.integers(1000))))
    now = 0.0
    while now < DURATION_S:
        yield now
        now += next(pauses)


@pytest.mark.parametrize(
    ("law", "fault"),
    [
        pytest.param(rescaled_to_fill_each_second, "dispersion of counts in 1.0 s", id="gaps-fill-each-second"),
        pytest.param(poisson_count_rescaled, "position within the second", id="poisson-count-fills-each-second"),
        pytest.param(lambda _: arrivals.constant(RATE_HZ, DURATION_S), "dispersion of counts in 0.1 s", id="constant"),
        pytest.param(
            lambda rng: arrivals.jittered(RATE_HZ, DURATION_S, rng), "dispersion of counts in 1.0 s", id="jittered"
        ),
        pytest.param(original_law, "dispersion of counts in 10.0 s", id="original"),
    ],
)
def test_the_check_of_the_law_rejects_other_processes(
    law: Callable[[np.random.Generator], Iterator[float]], fault: str
) -> None:
    offsets = np.fromiter(law(np.random.default_rng(7)), float)
    assert any(found.startswith(fault) for found in poisson_faults(offsets, RATE_HZ, DURATION_S))


def test_same_seed_gives_same_offsets_and_another_seed_others() -> None:
    one, same, other = (list(arrivals.poisson(5, 60, np.random.default_rng(seed))) for seed in (1, 1, 2))
    assert one == same
    assert one != other


@pytest.mark.parametrize("law", ["poisson", "constant", "jittered"])
def test_no_arrival_at_or_after_the_end(law: str) -> None:
    rng = () if law == "constant" else (np.random.default_rng(3),)
    offsets = list(getattr(arrivals, law)(100.0, 2.0, *rng))
    assert offsets == sorted(offsets)
    assert offsets[0] >= 0
    assert offsets[-1] < 2.0
    assert 150 < len(offsets) <= 250


def test_jittered_gaps_stay_within_their_range() -> None:
    gaps = np.diff(list(arrivals.jittered(10, 500, np.random.default_rng(1), jitter=0.3)))
    assert 0.07 <= gaps.min() < 0.071
    assert 0.129 < gaps.max() <= 0.13


def test_original_pauses_are_whole_seconds_of_poisson_counts() -> None:
    from scipy import stats

    pauses = arrivals.original_pauses(0.5, np.random.RandomState(4))
    drawn = [next(pauses) for _ in range(20000)]
    assert all(isinstance(pause, int) for pause in drawn)
    observed = np.bincount(drawn, minlength=5)[:5]
    expected = stats.poisson.pmf(range(5), 0.5) * len(drawn)
    assert np.all(np.abs(observed - expected) < 4 * np.sqrt(expected) + 1)
    assert drawn[:500] == np.random.RandomState(4).poisson(0.5, 500).tolist()


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda rng: arrivals.poisson(0, 1, rng), id="no-rate"),
        pytest.param(lambda rng: arrivals.poisson(float("nan"), 1, rng), id="rate-not-a-number"),
        pytest.param(lambda _: arrivals.constant(1, 0), id="no-duration"),
    ],
)
def test_impossible_arguments_are_refused(call: Callable[[np.random.Generator], object]) -> None:
    with pytest.raises(LoadtestError):
        call(np.random.default_rng(1))
