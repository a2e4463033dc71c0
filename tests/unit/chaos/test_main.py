"""What a run does where a fault itself goes wrong."""

from __future__ import annotations

import dataclasses
import itertools
import json
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chaos import __main__ as chaos
from chaos import planned, recorded
from chaos.fault import Fault, nothing
from chaos.faults import ALL
from chaos.scene import CALIBRATION_S, SETTINGS, Scene
from chaos.verdict import Marks, judge
from deployed.checkout import CommandError
from deployed.slice import Slice
from loadtest.generate.samples import Sample

FACTS = {"version": {"model": {"name": "ours", "version": "1"}}}
SAMPLES = [Sample(n, n / 10, n / 10, n / 10 + 0.05, 200, "w", None, "cat", answer="x") for n in range(200)]


class Stage:
    """A slice that answers everything and takes no time."""

    capacity_hz, service_s, seed, moved_s, struck_s = 100.0, 0.1, 1, None, None

    def __init__(self, *_: object) -> None:
        self.golden = {"cat": "x"}
        self.plan = SimpleNamespace(machines=[], wirings=[])
        self.calibrations = 0

    def send_phases(self, _phases: object, **_: object) -> Any:
        return SimpleNamespace(now=lambda: 10.0, stop=lambda: SAMPLES)

    def calibrate(self) -> None:
        self.calibrations += 1

    def prepare(self) -> dict[str, Any]:
        return FACTS

    def need(self) -> None: ...

    def balance(self) -> None: ...

    def suit(self, settings: Mapping[str, str]) -> None:
        self.settings = dict(settings)

    def deploy_balancers(self, _settings: object) -> None: ...

    def log_places(self) -> dict[str, Any]:
        return {}

    def log_since(self, _places: object) -> str:
        return ""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)


def fails(_scene: Any, _marks: Any) -> None:
    raise RuntimeError("not within 30 s:  nobody\ntakes the address")


def cannot(*_: Any) -> None:
    raise CommandError("balancer: date failed")


def silent(_scene: Any, _marks: Any) -> None:
    float("")


@pytest.mark.parametrize(
    ("inject", "recover", "said"),
    [
        (fails, nothing, "the fault went wrong: not within 30 s: nobody takes the address"),
        (silent, nothing, "the fault went wrong: could not convert string to float: ''"),
        (nothing, cannot, "its end went wrong: balancer: date failed"),
    ],
)
def test_a_fault_that_goes_wrong_is_a_bar_that_was_not_met(
    tmp_path: Path, inject: Any, recover: Any, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fault = Fault("drop", "x", inject, recover, lambda *_: {"0 lost": True})
    stage: Any = Stage()
    bar = chaos.run(stage, fault, 200, tmp_path, FACTS)
    assert bar == {"0 lost": True, "sent late (p99) by 0 ms, ≤ 50 ms": True, said: False}
    record = json.loads((tmp_path / "drop.json").read_text())
    assert record["bar"] == bar
    assert record["row"]["requests"] == 200
    assert f"NOT met: {said}" in capsys.readouterr().err


def test_the_cause_is_taken_away_also_where_a_fault_fails(tmp_path: Path) -> None:
    ends: list[str] = []
    fault = Fault("drop", "x", fails, lambda *_: ends.append("taken away"), lambda *_: {})
    stage: Any = Stage()
    chaos.run(stage, fault, 200, tmp_path, FACTS)
    assert ends == ["taken away"]


def test_a_fault_that_cannot_be_measured_does_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured: list[str] = []

    def run(_scene: Any, fault: Fault, *_: Any) -> dict[str, bool]:
        if fault.name == "freeze":
            raise CommandError("the load generator on the client does not start")
        measured.append(fault.name)
        return {"0 lost": True}

    monkeypatch.setattr(chaos, "Scene", Stage)
    monkeypatch.setattr(chaos, "run", run)
    names = [fault.name for fault in ALL if fault.name in ("kill-worker", "freeze", "grey")]
    assert chaos.main(["--out", str(tmp_path), "--faults", *names]) == 1
    assert measured == ["kill-worker", "grey"]
    said = capsys.readouterr().err
    assert "freeze: not measured: the load generator on the client does not start" in said
    assert "bars not met: freeze" in said


def test_the_plan_says_what_happens_and_what_does_not_before_anything_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said_before: list[str] = []

    def run(*_: Any) -> dict[str, bool]:
        said_before.append(capsys.readouterr().err)
        return {"0 lost": True}

    monkeypatch.setattr(chaos, "Scene", Stage)
    monkeypatch.setattr(chaos, "run", run)
    done = {"row": dataclasses.asdict(judge("freeze", SAMPLES, [], Marks(), {"cat": "x"})), "bar": {"0 lost": True}}
    (tmp_path / "freeze.json").write_text(json.dumps(done))
    asked = ["--requests", "5000", "--faults", "kill-worker", "freeze", "balancer-cut"]
    assert chaos.main(["--out", str(tmp_path), *asked]) == 0
    assert said_before == [
        # 5,000 requests at 50 a second, after 12 s of calibration
        "1 fault, about 2 minutes; 2 skipped\n"
        "  kill-worker    1.9 min\n"
        f"  freeze        skipped: measured already, {tmp_path / 'freeze.json'}\n"
        "  balancer-cut  skipped: needs two balancers and --virtual-address\n"
    ]


def test_a_run_with_nothing_left_touches_no_slice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "freeze.json").write_text(json.dumps({"bar": {"0 lost": True}}))
    monkeypatch.setattr(chaos, "Scene", None)
    assert chaos.main(["--out", str(tmp_path), "--faults", "freeze"]) == 0
    assert capsys.readouterr().err.startswith("0 faults, about 0 minutes; 1 skipped\n  freeze  skipped: measured")


def test_what_a_clone_has_recorded_is_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recorded run came with the clone: `make chaos` passed by all that it has, and ended as if it had measured."""
    reference = tmp_path / "results/chaos/reference"
    reference.mkdir(parents=True)
    (reference / "freeze.json").write_text(json.dumps({"bar": {"0 lost": True}}))
    measured: list[Path] = []

    def run(_scene: Any, _fault: Fault, _requests: int, out: Path, *_: Any) -> dict[str, bool]:
        measured.append(out)
        return {"0 lost": True}

    monkeypatch.setattr(chaos, "REPOSITORY", tmp_path)
    monkeypatch.setattr(chaos, "Scene", Stage)
    monkeypatch.setattr(chaos, "run", run)
    assert chaos.main(["--faults", "freeze"]) == 0
    assert measured == [tmp_path / "results/runs/chaos"]


@pytest.mark.parametrize("others", [[], ["kill-worker"]], ids=["nothing-left", "one-left"])
def test_a_bar_that_was_not_met_before_is_named_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], others: list[str]
) -> None:
    row = dataclasses.asdict(judge("freeze", SAMPLES, [], Marks(), {"cat": "x"}))
    (tmp_path / "freeze.json").write_text(json.dumps({"row": row, "bar": {"3 lost, 0 allowed": False}}))
    monkeypatch.setattr(chaos, "Scene", Stage if others else None)
    monkeypatch.setattr(chaos, "run", lambda *_: {"0 lost": True})
    assert chaos.main(["--out", str(tmp_path), "--faults", "freeze", *others]) == 1
    assert capsys.readouterr().err.endswith("bars not met: freeze (measured before)\n")


def test_a_bar_of_a_fault_that_this_run_cannot_have_is_not_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = dataclasses.asdict(judge("freeze", SAMPLES, [], Marks(), {"cat": "x"}))
    (tmp_path / "freeze.json").write_text(json.dumps({"row": row, "bar": {"3 lost, 0 allowed": False}}))
    monkeypatch.setattr(chaos, "Scene", Stage)
    monkeypatch.setattr(chaos, "run", lambda *_: {"0 lost": True})
    assert chaos.main(["--out", str(tmp_path), "--autoscaler"]) == 0
    said = capsys.readouterr().err
    assert " skipped: needs a pool that stays as it is" in said
    assert "bars not met" not in said


def test_half_of_a_record_does_not_count_as_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a version that wrote it in place, and of a disk that was full."""
    measured: list[str] = []

    def run(_scene: Any, fault: Fault, *_: Any) -> dict[str, bool]:
        measured.append(fault.name)
        return {"0 lost": True}

    (tmp_path / "freeze.json").write_text('{"what": "SIGSTOP of a wor')
    monkeypatch.setattr(chaos, "Scene", Stage)
    monkeypatch.setattr(chaos, "run", run)
    assert chaos.main(["--out", str(tmp_path), "--faults", "freeze"]) == 0
    assert measured == ["freeze"]
    assert "skipped: measured" not in capsys.readouterr().err


def test_a_record_that_cannot_be_written_whole_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(path: Path, text: str) -> int:
        with path.open("w") as file:
            file.write(text[: len(text) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", half)
    with pytest.raises(OSError, match="No space"):
        recorded.keep_record(tmp_path, "freeze", {"bar": {"0 lost": True}})
    assert not (tmp_path / "freeze.json").exists()


def test_a_fault_takes_at_least_what_stands_before_in_and_after_it() -> None:
    stage: Any = Stage()
    brief = Fault("drop", "x", nothing, takes_s=20, hold_s=30, tail_s=40)
    assert planned.seconds(brief, stage, 100) == CALIBRATION_S + 10 + 20 + 30 + 40
    phases = Fault("step", "x", nothing, phases=lambda _scene: [(20, 1), (40, 2)])
    assert planned.seconds(phases, stage, 100) == CALIBRATION_S + 60


@pytest.mark.parametrize(
    "name",
    ["drain", "kill-balancer", "balancer-off", "balancer-cut", "balancer-reboot", "hostile-idle", "scale-under-fault"],
)
def test_what_was_not_brought_about_can_be_taken_away(name: str) -> None:
    """No step of the fault has happened, so nothing of it is noted."""
    made: list[str] = []
    system = SimpleNamespace(make=lambda command, *_: made.append(command))
    scene: Any = SimpleNamespace(load=SimpleNamespace(now=lambda: 10.0), system=system)
    next(fault for fault in ALL if fault.name == name).recover(scene, Marks())
    assert made == (["undrain"] if name == "drain" else [])


def test_an_attack_that_was_not_carried_out_is_a_bar_that_was_not_met(tmp_path: Path) -> None:
    attack = next(fault for fault in ALL if fault.name == "hostile-idle")
    stage: Any = Stage()
    stage.system = SimpleNamespace(on=cannot)
    bar = chaos.run(stage, attack, 200, tmp_path, FACTS)
    assert [text for text, met in bar.items() if not met] == [
        "tries per request is missing, ≤ 2.00",
        "what the attack was answered is missing",
        "the fault went wrong: balancer: date failed",
    ]


def test_a_slice_that_is_broken_at_the_end_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(chaos, "Scene", Stage)
    monkeypatch.setattr(chaos, "run", lambda *_: {"0 lost": True})
    monkeypatch.setattr(Stage, "deploy_balancers", cannot)
    assert chaos.main(["--out", str(tmp_path), "--faults", "freeze"]) == 1
    said = capsys.readouterr().err
    assert "error: the balancers keep this run's settings: balancer: date failed; run make deploy" in said
    assert "bars not met" not in said


@pytest.mark.parametrize("step", ["balance", "prepare", "calibrate"])
def test_a_slice_that_cannot_be_measured_gets_its_settings_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], step: str
) -> None:
    deployed: list[object] = []
    monkeypatch.setattr(chaos, "Scene", Stage)
    monkeypatch.setattr(Stage, step, lambda self: fails(self, None))
    monkeypatch.setattr(Stage, "deploy_balancers", lambda _self, settings: deployed.append(settings))
    assert chaos.main(["--out", str(tmp_path), "--faults", "freeze"]) == 2
    assert deployed == [{}]
    assert capsys.readouterr().err == (
        "error: the slice local cannot be measured (not within 30 s: nobody takes the address); is it up and deployed? "
        "Run make slice-up, then make deploy INVENTORY=inventory/slice, both with SLICE=local\n"
    )


@pytest.mark.parametrize("on", ["off", "missing"])
def test_a_pool_that_does_not_follow_is_refused_before_anything_is_deployed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], on: str
) -> None:
    def asked(_self: Scene, _machine: str, _command: str) -> str:
        if on == "missing":
            raise CommandError("balancer: curl failed")
        return '{"on": false}'

    monkeypatch.setattr(Scene, "balancers", ["balancer"])
    monkeypatch.setattr(Scene, "on", asked)
    monkeypatch.setattr(Slice, "on", lambda *_: "")
    monkeypatch.setattr(Slice, "play", None)
    assert chaos.main(["--out", str(tmp_path), "--autoscaler"]) == 2
    said = capsys.readouterr().err
    assert ("its pool does not follow its load" if on == "off" else "balancer: curl failed") in said
    assert "make deploy INVENTORY=inventory/slice ARGS='-e autoscaler=true', both with SLICE=local" in said
    assert "keep this run's settings" not in said


def test_a_fault_that_wants_other_settings_gets_them_and_the_next_one_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    deployed: list[dict[str, str]] = []
    system: Any = None
    scene = Scene(system)
    monkeypatch.setattr(Scene, "deploy_balancers", lambda _, settings: deployed.append(settings))
    for own in ({}, {"balancer_max_conns": "3"}, {"balancer_max_conns": "3"}, {}):
        scene.suit(own)
        assert scene.settings == SETTINGS | own
    assert deployed == [SETTINGS | {"balancer_max_conns": "3"}, SETTINGS]


def test_only_an_overload_has_fewer_places_than_what_people_deploy() -> None:
    assert {fault.name for fault in ALL if fault.settings} == {
        "overload-1_5x",
        "overload-3x",
        "overload-10x",
        "step",
    }


def test_faults_of_the_same_settings_follow_each_other(tmp_path: Path) -> None:
    """Another order would deploy the balancers between them."""
    happen, _ = planned.divide(ALL, [], tmp_path, "10.0.0.1/24")
    wishes = [dict(fault.settings) for fault in happen]
    assert [wish for wish, _ in itertools.groupby(wishes)] == [{}, {"balancer_max_conns": "3"}]
    assert [fault for fault in happen if not fault.settings] == [
        fault for fault in ALL if fault in happen and not fault.settings
    ]


def test_the_settings_of_a_fault_are_recorded(tmp_path: Path) -> None:
    stage: Any = Stage()
    chaos.run(stage, Fault("drop", "x", nothing, bar=lambda *_: {}, settings={"a": "1"}), 200, tmp_path, FACTS)
    assert json.loads((tmp_path / "drop.json").read_text())["settings"] == {"a": "1"}


def test_a_load_that_comes_late_is_no_measurement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    late = [dataclasses.replace(each, sent_s=each.scheduled_s + 0.06, done_s=each.done_s + 0.06) for each in SAMPLES]
    monkeypatch.setattr(Stage, "send_phases", lambda *_, **__: SimpleNamespace(now=lambda: 10.0, stop=lambda: late))
    stage: Any = Stage()
    bar = chaos.run(stage, Fault("drop", "x", nothing, bar=lambda *_: {}), 200, tmp_path, FACTS)
    assert bar == {"sent late (p99) by 60 ms, ≤ 50 ms": False}


def test_the_load_goes_on_until_as_many_requests_as_were_asked_for_are_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the time that they take on average, and 2 % more, one seed in twelve had fewer than 5,000."""
    said: list[tuple[str, ...]] = []

    def send(*words: str) -> Any:
        said.append(words)
        return SimpleNamespace(now=lambda: 10.0, stop=lambda: SAMPLES)

    monkeypatch.setattr(Stage, "send_phases", Scene.send_phases)
    stage: Any = Stage()
    stage.send = send
    chaos.run(stage, Fault("drop", "x", nothing, bar=lambda *_: {}), 200, tmp_path, FACTS)
    assert said == [("--phase", "1800.0", "50.0", "--at-least", "200")]


def test_a_log_that_is_rotated_meanwhile_is_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "access.log"
    system: Any = None
    scene = Scene(system)
    monkeypatch.setattr("chaos.scene._LOG", str(log))
    monkeypatch.setattr(Scene, "balancers", ["balancer"])
    monkeypatch.setattr(Scene, "on", lambda _, __, command: subprocess.check_output(["sh", "-c", command], text=True))
    log.write_text("before\n")
    places = scene.log_places()
    with log.open("a") as file:
        file.write("first\n")
    assert scene.log_since(places) == "first\n"
    log.rename(tmp_path / "access.log.1")
    log.write_text("second\n")
    assert scene.log_since(places) == "first\nsecond\n"
