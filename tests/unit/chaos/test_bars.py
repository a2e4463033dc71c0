"""What the bars ask for, and what they say of a figure that is missing."""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace
from typing import Any

import pytest

from chaos import bars
from chaos.faults import ALL
from chaos.verdict import Marks, Row, judge
from loadtest.generate.samples import Sample

SCENE: Any = SimpleNamespace(struck_s=(10.0, 10.03), moved_s=1.0, service_s=0.1, capacity_hz=10.0)
GOOD = Row("x", 5000, 5000, 0, 0, 0, 10, 20, 20, 1.0, 1.0, 500, 0.0)
OF_A_WORKER = [
    "kill-process",
    "kill-worker",
    "freeze",
    "grey",
    "failing",
    "power-off",
    "link-down",
    "drop",
    "slow-link",
    "disk-full",
    "memory",
    "clock",
    "broken-upgrade",
]


def missed(bar: bars.Bar, row: Row, samples: tuple[Sample, ...] = (), scene: Any = SCENE) -> list[str]:
    return [text for text, met in bar(row, samples, scene).items() if not met]


def bar_of(name: str) -> bars.Bar:
    return next(fault.bar for fault in ALL if fault.name == name)


@pytest.mark.parametrize("figure", [None, math.nan])
def test_a_missing_figure_is_not_met_and_says_so(figure: float | None) -> None:
    assert bars.at_most("address moved in", figure, 1.5, " s") == {"address moved in is missing, ≤ 1.50 s": False}


def test_a_figure_is_said_with_its_limit() -> None:
    assert bars.at_most("p99", 21, 20, " ms", digits=0) == {"p99 21 ms, ≤ 20 ms": False}
    assert bars.at_most("p99", 20, 20, " ms", digits=0) == {"p99 20 ms, ≤ 20 ms": True}
    assert bars.at_most("p99", 20, None, " ms", digits=0) == {
        "p99 20 ms, but what it is compared with is missing": False
    }


@pytest.mark.parametrize(
    "bar", [bars.detected, bars.rolled, bars.barely_felt, bars.moved, bars.held], ids=lambda bar: bar.__name__
)
def test_a_run_that_measured_nothing_is_not_met(bar: bars.Bar) -> None:
    nothing = judge("x", [], [], Marks(injected_s=10), {})
    scene = SimpleNamespace(struck_s=None, moved_s=None, service_s=0.1, capacity_hz=10.0)
    assert (nothing.p99_ms, nothing.quiet_p99_ms, nothing.refused_share) == (None, None, None)
    assert any("missing" in text for text in missed(bar, nothing, scene=scene))


@pytest.mark.parametrize("name", OF_A_WORKER)
def test_nobody_waits_longer_than_2_s_in_a_fault_of_a_worker(name: str) -> None:
    scene = SimpleNamespace(**vars(SCENE), workers=["worker1"])
    assert (
        missed(bar_of(name), dataclasses.replace(GOOD, worst_ms=2001), scene=scene)[0]
        == "longest wait 2001 ms, ≤ 2000 ms"
    )


@pytest.mark.parametrize("name", ["freeze", "grey", "failing", "power-off", "link-down", "drop"])
def test_one_in_a_thousand_is_refused_while_a_worker_is_gone(name: str) -> None:
    assert missed(bar_of(name), dataclasses.replace(GOOD, refused_share=0.001)) == []
    assert missed(bar_of(name), dataclasses.replace(GOOD, refused_share=0.0015)) == ["refused 0.15 %, ≤ 0.10 %"]


@pytest.mark.parametrize("name", ["upgrade-bundle", "upgrade-wheel", "rollback"])
def test_a_rolling_upgrade_keeps_p99_within_half_more(name: str) -> None:
    assert missed(bar_of(name), dataclasses.replace(GOOD, p99_ms=30)) == []
    assert missed(bar_of(name), dataclasses.replace(GOOD, p99_ms=31)) == ["p99 within 1.5 × quiet p99: 31 ms, ≤ 30 ms"]


@pytest.mark.parametrize("name", ["grey", "drain", "rollback", "reload-slow-client"])
def test_a_promise_of_5_000_requests_takes_as_many(name: str) -> None:
    assert missed(bar_of(name), GOOD) == []
    assert missed(bar_of(name), dataclasses.replace(GOOD, requests=4999)) == ["4,999 requests, ≥ 5,000"]


def test_what_is_refused_counts_while_the_fault_lasts() -> None:
    """The quiet part and the time after it would hide it."""
    samples = [Sample(second, second, second, second + 0.1, 200, "w", None, "cat", answer="x") for second in range(40)]
    samples[15] = dataclasses.replace(samples[15], status=429, retry_after="1", worker=None, answer=None)
    row = judge("x", samples, [], Marks(injected_s=10, recovered_s=20), {"cat": "x"})
    assert row.refused_share == 0.1


def sent(sent_s: float, done_s: float, status: int | None = 200) -> Sample:
    return Sample(0, sent_s, sent_s, done_s, status, None, None if status else "timeout", "cat", answer="x")


def test_under_way_is_what_a_strike_met_from_its_begin_to_its_end() -> None:
    met = (sent(9.9, 100, None), sent(10.02, 100, None), sent(9.8, 10.02))
    others = (sent(9.8, 9.99), sent(10.04, 11.1))
    row = dataclasses.replace(GOOD, lost=2)
    assert next(iter(bars.moved(row, (*met, *others), SCENE))) == "2 lost, ≤ 3 under way"
    assert missed(bars.moved, row, (*met, *others)) == []


def test_under_way_are_as_many_as_were_so_at_one_moment() -> None:
    """A shutdown takes a second, in which many requests come and go."""
    scene = SimpleNamespace(**vars(SCENE) | {"struck_s": (10.0, 11.0)})
    samples = [sent(10 + n / 10, 10.05 + n / 10) for n in range(10)] + [sent(10.5, 10.52)]
    assert next(iter(bars.moved(GOOD, samples, scene))) == "0 lost, ≤ 2 under way"


def test_what_is_sent_after_a_strike_may_not_be_lost() -> None:
    samples = (sent(9.9, 10.1), sent(10.04, 100, None))
    assert missed(bars.moved, dataclasses.replace(GOOD, lost=1), samples) == [
        "1 lost of those that came later, 0 allowed"
    ]
