"""A worker that dies while the pool grows: when it is struck, what must hold, and where it can be had."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chaos import __main__ as chaos
from chaos import planned
from chaos.faults import ALL, scaling
from chaos.scene import CALIBRATION_S, SHRINKS_S, Scene
from chaos.verdict import Marks, judge
from deployed.checkout import CommandError
from loadtest.generate.samples import Sample

(FAULT,) = (fault for fault in ALL if fault.scaled)


class Stage:
    """A slice whose autoscaler wants more workers from 25 s on; its clock is the test's own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s, self.done = 0.0, list[str]()
        self.capacity_hz, self.seed, self.struck_s, self.served = 100.0, 1, (1.0, 1.0), (9, 9)
        self.service_s, self.active, self.target_before = 0.04, 3, 1
        self.asleep = ["worker2", "worker3", "worker4"]
        self.load = SimpleNamespace(now=lambda: self.now_s, wait=samples)
        monkeypatch.setattr(time, "sleep", self.sleep)
        monkeypatch.setattr(scaling, "power_off", lambda *_: self.note("off"))
        monkeypatch.setattr(scaling, "power_on", lambda *_: self.note("on"))

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def note(self, what: str) -> None:
        self.done.append(f"{what} at {self.now_s:.0f}")

    def scaled(self) -> dict[str, Any]:
        target = 3 if self.now_s >= 25 else None if self.now_s >= 20 else self.target_before
        return {"minimum": 1, "target": target, "active": self.active, "asleep": self.asleep}

    def until(self, what: str, probe: Any, patience_s: float) -> None:
        until_s = self.now_s + patience_s
        while not probe():
            self.now_s += 1
            if self.now_s > until_s:
                raise RuntimeError(f"not within {patience_s:.0f} s: {what}")

    def send_phases(self, phases: list[tuple[float, float]], **_: object) -> Any:
        self.done.append(f"{sum(seconds * rate_hz for seconds, rate_hz in phases):.0f} requests")
        return self.load


def samples(refused_at: float | None = None) -> list[Sample]:
    good, busy = (200, "w", None), (429, "w", "busy")
    return [
        Sample(n, due, due, due + 0.05, *(busy if due == refused_at else good), "cat", answer="x", retry_after="1")
        for n, due in ((number, number / 100) for number in range(16_000))
    ]


def test_it_is_struck_once_more_workers_are_wanted_and_gets_its_power_back(monkeypatch: pytest.MonkeyPatch) -> None:
    stage: Any = Stage(monkeypatch)
    marks = Marks()
    chaos._under_load(stage, FAULT, 5000, marks)
    assert stage.done == ["5200 requests", "off at 25", "on at 85"]
    assert (marks.injected_s, marks.recovered_s, marks.victim, marks.failures) == (25, 85, "worker2", [])
    assert (stage.struck_s, stage.served) == ((25, 25), (3, 3))


def test_a_pool_that_does_not_grow_is_a_bar_that_was_not_met(monkeypatch: pytest.MonkeyPatch) -> None:
    stage: Any = Stage(monkeypatch)
    stage.scaled = lambda: {"minimum": 1, "target": 1, "active": 1, "asleep": ["worker2"]}
    marks = Marks()
    sent = chaos._under_load(stage, FAULT, 5000, marks)
    assert stage.done == ["5200 requests"]
    assert marks.failures == ["the fault went wrong: not within 30 s: the pool grows"]
    bar = FAULT.bar(judge(FAULT.name, sent, [], marks, {"cat": "x"}), sent, stage)
    assert [text for text, met in bar.items() if "missing" in text and "served" in text and not met]


@pytest.mark.parametrize(
    ("target", "asleep", "said"),
    [
        (2, ["worker3", "worker4"], "2 workers are wanted, its minimum is 1"),
        (None, ["worker2"], "the autoscaler does not know yet how many workers are wanted"),
        (1, ["worker1", "worker3", "worker4"], "worker2 does not sleep, so it cannot be woken"),
    ],
    ids=["grew-early", "not-known", "another-serves"],
)
def test_a_pool_that_is_not_small_before_the_step_is_not_struck(
    monkeypatch: pytest.MonkeyPatch, target: int | None, asleep: list[str], said: str
) -> None:
    stage: Any = Stage(monkeypatch)
    stage.target_before, stage.asleep = target, asleep
    marks = Marks()
    chaos._under_load(stage, FAULT, 5000, marks)
    assert stage.done == ["5200 requests"]
    assert marks.failures == [f"the fault went wrong: before the load grows, {said}"]


@pytest.mark.parametrize("asked", ["unknown", "silent"])
def test_the_power_comes_back_also_where_the_autoscaler_does_not_say_who_serves(
    monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    stage: Any = Stage(monkeypatch)
    stage.served = None

    def silent() -> dict[str, Any]:
        if asked == "silent":
            raise CommandError("curl failed")
        return {"minimum": 1, "target": None, "active": 1, "asleep": []}

    stage.scaled = silent
    marks = Marks(victim="worker2")
    with chaos._noted("its end", marks):
        FAULT.recover(stage, marks)
    assert stage.done == ["on at 0"]
    assert stage.served is None


@pytest.mark.parametrize(("workers", "before_hz"), [(2, 5.0), (4, 10.0), (8, 10.0)])
def test_a_pool_of_any_size_is_small_before_the_load_grows(workers: int, before_hz: float) -> None:
    """Each worker can do 25 a second."""
    assert FAULT.phases is not None
    scene: Any = SimpleNamespace(capacity_hz=25.0 * workers, service_s=0.04)
    (_, quiet_hz), (_, step_hz) = FAULT.phases(scene)
    assert (quiet_hz, step_hz) == pytest.approx((before_hz, 4 * before_hz))


@pytest.mark.parametrize(
    ("active", "refused_at", "missed"),
    [
        (3, None, []),
        (3, 60.0, []),  # within 45 s after it
        (3, 71.0, ["1 refused from 45 s after it on, 0 allowed"]),
        (2, None, ["2 workers served without it, ≥ 3 wanted"]),
    ],
    ids=["followed", "refused-meanwhile", "refused-later", "nobody-in-its-place"],
)
def test_others_are_woken_in_its_place(
    monkeypatch: pytest.MonkeyPatch, active: int, refused_at: float | None, missed: list[str]
) -> None:
    stage: Any = Stage(monkeypatch)
    stage.active = active
    marks = Marks()
    chaos._under_load(stage, FAULT, 5000, marks)
    sent = samples(refused_at)
    bar = FAULT.bar(judge(FAULT.name, sent, [], marks, {"cat": "x"}), sent, stage)
    assert [text for text, met in bar.items() if not met and "tries" not in text] == missed


def test_it_takes_a_pool_that_follows_its_load_and_others_one_that_does_not(tmp_path: Path) -> None:
    happen, passed = planned.divide(ALL, ["scale-under-fault", "freeze"], tmp_path, "")
    assert [fault.name for fault in happen] == ["freeze"]
    assert passed == {"scale-under-fault": "needs a pool that follows its load, and --autoscaler"}
    happen, passed = planned.divide(ALL, ["scale-under-fault", "freeze"], tmp_path, "", autoscaler=True)
    assert [fault.name for fault in happen] == ["scale-under-fault"]
    assert passed == {"freeze": "needs a pool that stays as it is, without --autoscaler"}
    scene: Any = SimpleNamespace(capacity_hz=100.0, service_s=0.04)
    assert planned.seconds(FAULT, scene, 5000) == CALIBRATION_S + SHRINKS_S + 20 + 125


def test_a_pool_that_follows_is_calibrated_awake_and_left_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    told: list[str] = []
    pool = iter([(4, 1), (4, 2), (4, 4), (4, 4), (3, 3), ("null", 1), (2, 1), (1, 1)])

    def on(_machine: str, command: str, *, check: bool = True) -> str:
        assert check
        assert "127.0.0.1/autoscaler" in command
        target, active = next(pool)
        told.append(f"{active} serve")
        return f'{{"on": true, "minimum": 1, "target": {target}, "active": {active}}}'

    class Sent:
        def __init__(self, *options: str) -> None:
            told.append(" ".join(options[-4:]))

        def wait(self) -> list[Sample]:
            return samples()

        def stop(self) -> list[Sample]:
            told.append("stopped")
            return []

    played: list[dict[str, str]] = []
    system = SimpleNamespace(play=lambda *_, variables: played.append(variables))
    scene = Scene(system, autoscaler=True, workers=["w"] * 4)  # type: ignore[arg-type]
    monkeypatch.setattr(Scene, "balancers", ["balancer"])
    monkeypatch.setattr(Scene, "on", lambda _self, *words, **named: on(*words, **named))
    monkeypatch.setattr(Scene, "send", lambda _self, *options: Sent(*options))
    monkeypatch.setattr("chaos.scene.estimate", lambda *_: SimpleNamespace(capacity_hz=100.0))
    scene.calibrate()
    assert told == [
        "--users 12 --seconds 120",
        "1 serve",
        "2 serve",
        "4 serve",
        "stopped",
        "--users 12 --seconds 12.0",
        "4 serve",
        "3 serve",
        "1 serve",
        "1 serve",
        "1 serve",
    ]
    scene.deploy_balancers({})
    assert played == [{"autoscaler": "true"}]
