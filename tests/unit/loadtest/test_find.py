"""Capacity and the rate of an objective, found of queues whose answers are known, and of a real server."""

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from loadtest.analyse.theory.formulas import settling_s
from loadtest.cli import main
from loadtest.errors import LoadtestError
from loadtest.find.knee import find_knee
from loadtest.find.objective import find_rate
from loadtest.find.probe import Answers, Live
from loadtest.generate.limits import Limits
from loadtest.generate.samples import read_trial
from tests.unit.loadtest.queues import SERVICE_S, Queues


@dataclass
class Tally:
    """How many runs were right, and how many intervals held the truth."""

    right: int = 0
    covered: int = 0

    def add(self, truth: float, found: float, low: float, high: float) -> None:
        self.right += abs(found / truth - 1) <= 0.03
        self.covered += low <= truth <= high


RUNS = [pytest.param(10, id="ten-runs"), pytest.param(100, id="a-hundred-runs", marks=pytest.mark.long)]


@pytest.mark.parametrize("runs", RUNS)
@pytest.mark.parametrize(("workers", "cv2"), [(1, 1.0), (4, 0.1), (2, 0.0)])
def test_capacity_is_right_and_its_interval_holds_it(workers: int, cv2: float, runs: int) -> None:
    tally = Tally()
    for seed in range(runs):
        found = find_knee(Queues(seed, workers, cv2), 0.3 * workers / SERVICE_S, precision=0.03)
        tally.add(workers / SERVICE_S, found.capacity_hz, found.low_hz, found.high_hz)
        assert found.rungs[0].follows
        assert not found.rungs[-1].follows
    assert tally.right >= 0.95 * runs
    assert tally.covered >= 0.95 * runs


@pytest.mark.parametrize("runs", [pytest.param(3, id="three-runs"), *RUNS[1:]])
@pytest.mark.parametrize(("slo_s", "workers"), [(0.3, 1), (0.15, 4)])
def test_the_rate_of_an_objective_is_right_and_its_interval_holds_it(slo_s: float, workers: int, runs: int) -> None:
    """Of M/M/1 P(T > t) = exp(−(μ − λ)t), so 1 % are late at λ = μ − ln(100)/t."""
    truth_hz = workers * (1 / SERVICE_S - math.log(100) / slo_s)
    tally = Tally()
    for seed in range(runs):
        found = find_rate(Queues(seed, workers), slo_s, SERVICE_S, precision=0.03)
        tally.add(truth_hz, found.rate_hz, found.low_hz, found.high_hz)
    misses = max(1, round(0.05 * runs))  # one of a few may be chance
    assert tally.right >= runs - misses
    assert tally.covered >= runs - misses


def test_blocks_begin_when_queues_have_settled_as_everywhere_else() -> None:
    """Of M/M/1 99 of 100 are in time at ρ = 1 − ln(100) S/t."""
    queues = Queues(1)
    objective_s = 2.0
    settled_s = settling_s(SERVICE_S, 1.0, 1 - math.log(100) * SERVICE_S / objective_s)
    with pytest.raises(LoadtestError, match="give more --minutes"):
        find_rate(queues, objective_s, SERVICE_S, precision=0.03, longest_s=6 * settled_s)
    assert queues.asked_s == pytest.approx(4 * settled_s)


def test_no_more_is_asked_than_may_be() -> None:
    queues = Queues(1)
    found = find_knee(queues, 15.0, precision=0.03, most_hz=60.0)
    assert found.low_hz < 1 / SERVICE_S < found.high_hz
    assert queues.highest_hz <= 60.0
    queues = Queues(2)
    find_rate(queues, 0.3, SERVICE_S, precision=0.05, most_hz=38.0)
    assert queues.highest_hz <= 38.0


def test_a_capacity_is_measured_until_it_is_as_precise_as_was_asked() -> None:
    assert all(find_knee(Queues(seed), 15.0, precision=0.03).reached for seed in range(10))


@pytest.mark.long
def test_a_rate_is_measured_until_it_is_as_precise_as_was_asked() -> None:
    assert all(find_rate(Queues(seed), 0.3, SERVICE_S, precision=0.03).reached for seed in range(5))


def test_what_the_time_allows_is_said() -> None:
    queues = Queues(1)
    knee = find_knee(queues, 15.0, precision=0.01, longest_s=120.0)
    assert not knee.reached
    assert knee.low_hz < 1 / SERVICE_S < knee.high_hz
    assert queues.asked_s <= 120.0 * 1.2
    queues = Queues(1)
    rate = find_rate(queues, 0.3, SERVICE_S, precision=0.01, longest_s=2400.0)
    assert not rate.reached
    assert rate.low_hz < 1 / SERVICE_S - math.log(100) / 0.3 < rate.high_hz
    assert queues.asked_s <= 2400.0


@pytest.mark.parametrize(
    ("search", "says"),
    [
        (lambda: find_knee(Queues(1), 5.0, precision=0.03, most_hz=20.0), "answers still follow at 20 requests/s"),
        (lambda: find_rate(Queues(1), 0.03, SERVICE_S, precision=0.03), "no rate keeps p99 within 0.03 s"),
        (
            lambda: find_rate(Queues(1), 0.3, SERVICE_S, precision=0.03, most_hz=20.0),
            "is within 0.3 s at 20 requests/s",
        ),
        (lambda: find_rate(Queues(1), 0.3, SERVICE_S, precision=0.03, longest_s=9.0), "give more --minutes"),
    ],
    ids=["low-ladder", "faster-than-service", "low-most", "no-time"],
)
def test_a_search_without_an_answer_says_why(search: Callable[[], object], says: str) -> None:
    with pytest.raises(LoadtestError, match=says):
        search()


def test_refusals_are_no_answers() -> None:
    """A service that refuses every second request: what it answers is half, and the rest is never in time."""

    def refusing(rate_hz: float, length_s: float) -> Answers:
        found = Queues(1)(rate_hz, length_s)
        done = np.where(np.arange(len(found.due_s)) % 2, found.done_s, np.inf)
        return Answers(found.due_s, done, length_s)

    knee = find_knee(refusing, 15.0, precision=0.03)
    assert knee.rungs[-1].failed == pytest.approx(0.5, abs=0.01)
    with pytest.raises(LoadtestError, match="no rate keeps"):
        find_rate(refusing, 0.3, SERVICE_S, precision=0.03)


@pytest.mark.slow
def test_capacity_of_a_real_server(
    serve: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A second or two of load; how fast this machine is decides the figures, and is not asserted."""
    target = serve("--service-ms", "5", "--exponential")
    out = tmp_path / "capacity"
    words = ["capacity", "--target", target, "--out", str(out), "--minutes", "0.02"]
    assert main(words) == 0
    text = capsys.readouterr().out
    answer = json.loads((out / "answer.json").read_text())["capacity"]
    assert answer["low_hz"] <= answer["capacity_hz"]
    rungs = sorted(out.glob("rung-*.jsonl.gz"))
    assert len(rungs) == len(answer["rungs"])
    for path, rung in zip(rungs, answer["rungs"], strict=True):
        trial = read_trial(path)
        assert trial.header["asked_hz"] == rung["asked_hz"]
        assert all(one.ok for one in trial.samples)
    assert re.search(rf"Capacity: (at least |about )?{answer['capacity_hz']:.1f} answers a second", text)
    assert main(words) == 1
    assert "samples are never overwritten: choose another --out" in capsys.readouterr().err


def test_a_limit_of_one_address_is_told_once_and_before(serve: Callable[..., str], tmp_path: Path) -> None:
    said: list[str] = []
    live = Live(serve(), tmp_path / "live", side_px=16, seed=1, say=said.append)
    live.alone_s()
    live.limits = Limits(address_rate_hz=30)
    for rate_hz in (20.0, 40.0, 60.0):
        answers = live(rate_hz, 0.2)
        assert (np.diff(answers.due_s) >= 0).all()
    told = [number for number, line in enumerate(said) if "it will refuse the rest" in line]
    assert told == [2]
    assert "40 requests a second and the balancer takes 30 from one address" in said[2]


def test_an_objective_needs_time_and_seconds(
    serve: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = serve("--service-ms", "1")
    words = ["slo", "--target", target, "--minutes", "0.001", "--out", str(tmp_path / "slo")]
    assert main([*words, "--p99", "0.3"]) == 1
    assert "the time was over before the rate was near; give more --minutes" in capsys.readouterr().err
    assert read_trial(tmp_path / "slo/alone.jsonl.gz").damage is None
    assert main([*words, "--p99", "300"]) == 1
    assert "--p99 300 is in seconds; 300 ms are 0.3" in capsys.readouterr().err


@pytest.mark.long
def test_the_rate_of_an_objective_of_a_real_server(
    serve: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two minutes of load; what is printed is what the samples say, however fast this machine is."""
    monkeypatch.setattr("loadtest.find.objective._REQUESTS", 150)
    out = tmp_path / "slo"
    target = serve("--service-ms", "5", "--exponential")
    words = ["slo", "--p99", "0.1", "--target", target, "--out", str(out), "--precision", "0.2", "--minutes", "2"]
    assert main(words) == 0
    answer = json.loads((out / "answer.json").read_text())["rate"]
    assert answer["low_hz"] <= answer["rate_hz"]
    paths = sorted(out.glob("rung-*.jsonl.gz"))
    assert len(paths) == len(answer["blocks"])
    for path, block in zip(paths, answer["blocks"], strict=True):
        samples = read_trial(path).samples
        late = sum(one.response_s > 0.1 for one in samples)
        assert block["late"] <= late
        assert block["sent"] <= len(samples)
    assert f"p99 is within 0.1 s up to {answer['rate_hz']:.1f} requests/s" in capsys.readouterr().out
