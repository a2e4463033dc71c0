"""What came through several balancers, added up; and what of another's word is no number."""

from __future__ import annotations

from typing import Any

import pytest

from imagerec_autoscaler.law import Seen
from imagerec_autoscaler.together import read, tell, together

SECOND = {"arrivals": 40, "answers": 38, "refused": 2, "busy_s": 0.8, "waited_s": 0.1, "in_flight": 3}


def test_a_second_is_read_as_it_is_told() -> None:
    seen = Seen(7.0, True, 40, 38, 0.8, 0.1, 2, None, serving=2, processes=(1, 1))
    assert read(tell(seen)) == Seen(0.0, True, 40, 38, 0.8, 0.1, 2, None)
    assert (tell(None), tell(Seen(7.0, known=False))) == (None, None)


@pytest.mark.parametrize(
    "said",
    [
        None,
        [],
        {},
        SECOND | {"arrivals": None},
        SECOND | {"answers": "38"},
        SECOND | {"refused": True},
        SECOND | {"busy_s": -0.1},
        SECOND | {"waited_s": float("nan")},
        SECOND | {"arrivals": 1e300},
        SECOND | {"in_flight": -1},
    ],
)
def test_what_is_no_second_counts_nothing(said: Any) -> None:
    assert read(said) is None


def test_seconds_are_added_up() -> None:
    own = Seen(7.0, True, 10, 9, 0.2, 0.5, 1, 4, serving=2, processes=(1, 1))
    other = read(SECOND)
    assert other is not None
    assert together(own, ()) == own
    assert together(own, (other, other)) == Seen(
        7.0, True, 90, 85, pytest.approx(1.8), pytest.approx(0.7), 5, 10, serving=2, processes=(1, 1)
    )
    assert together(own, (read(SECOND | {"in_flight": None}) or own,)).in_flight is None
    assert not together(Seen(7.0, known=False), (other,)).known
