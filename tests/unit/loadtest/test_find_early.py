"""What a search does, and says, where it ends without the interval that was asked for."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from loadtest.cli import main
from loadtest.find.knee import find_knee
from loadtest.find.objective import find_rate
from loadtest.find.probe import Answers, Probe
from tests.unit.loadtest.queues import SERVICE_S, Queues, lindley


class Slow:
    """A worker of 0.45 s, asked for evenly; another that has nothing to do is a little quicker."""

    def alone_s(self) -> float:
        return 0.4

    def __call__(self, rate_hz: float, length_s: float) -> Answers:
        due = np.arange(0.0, length_s, 1 / rate_hz)
        took = np.full(len(due), 0.45)
        return Answers(due, due + lindley(due, took) + took, length_s)


class Quicker:
    """A worker whose times vary more once it is measured for long, and are half as long from then on."""

    def __init__(self) -> None:
        self.ladder, self.measured = Queues(1, cv2=0.0), Queues(1, cv2=4.0)
        self.known = False

    def alone_s(self) -> float:
        return SERVICE_S

    def __call__(self, rate_hz: float, length_s: float) -> Answers:
        factor = 0.5 if self.known else 1.0
        self.known = self.known or length_s > 35
        return (self.measured if self.known else self.ladder).of_times(factor, rate_hz, length_s)


def test_blocks_are_asked_for_until_they_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit of theirs ended the search, and the minutes were blamed."""
    monkeypatch.setattr("loadtest.find.objective._AT_ONCE", 10)
    assert find_rate(Queues(1), 0.3, SERVICE_S, precision=0.03).reached


@pytest.mark.parametrize(
    ("service", "words", "says"),
    [
        pytest.param(
            Slow,
            ["--minutes", "1"],
            "Capacity: about 2.2 answers a second; too few came for an interval. The interval is wider than "
            "--precision 0.03: --minutes 1 were too few.",
            id="few",
        ),
        pytest.param(
            Slow, ["--minutes", "0.5"], "; the time was over before it was known from where on answers no", id="time"
        ),
        pytest.param(
            Quicker,
            [],
            "requests a second, so the service has become quicker. Measure it again.\n",
            id="quicker",
        ),
    ],
)
def test_a_capacity_says_why_it_is_no_better_known(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    service: Callable[[], Probe],
    words: list[str],
    says: str,
) -> None:
    monkeypatch.setattr("loadtest.find.cli._service", lambda _: service())
    assert main(["capacity", "--target", "http://127.0.0.1:1", "--out", str(tmp_path), *words]) == 0
    assert says in capsys.readouterr().out


def test_a_service_that_answers_less_of_more_is_measured_below_the_highest_rung() -> None:
    """At the highest rung it did not follow. It followed below, and that was called the highest rung."""
    queues = Queues(1)

    def collapses(rate_hz: float, length_s: float) -> Answers:
        return queues.of_times(2.0 if rate_hz > 90 else 1.0, rate_hz, length_s)

    knee = find_knee(collapses, 100.0, precision=0.03, most_hz=100.0)
    assert [rung.follows for rung in knee.rungs[:2]] == [False, True]
    assert knee.low_hz < 1 / SERVICE_S < knee.high_hz
