"""The controller's loop, step by step, with its real files: what it writes, says, and leaves alone."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from imagerec_autoscaler.controller import Controller
from imagerec_autoscaler.lease import Turn
from imagerec_autoscaler.settings import Settings
from imagerec_autoscaler.standby import Kept, Standby
from imagerec_autoscaler.together import read
from imagerec_worker import openapi

LINE = {
    "method": "POST",
    "status": 200,
    "upstream_addr": "10.0.0.1:5000",
    "timing": "queue;dur=0.1, total;dur=20.0",
}
NAMES = ("worker1", "worker2", "worker3")


class Loop:
    """A controller whose clock, pool and log are set by hand; a worker that is woken serves in the next second."""

    def __init__(self, folder: Path, **changed: Any) -> None:
        self.folder = folder
        (folder / "access.log").touch()
        paths = {
            "access_log": "access.log",
            "pool_socket": "pool.sock",
            "standby": "standby.json",
            "socket": "own.sock",
        }
        given = {"minimum": 1, "maximum": 3, "objective_s": 0.25, "processes": dict.fromkeys(NAMES, 1)} | changed
        self.settings = Settings(**{name: folder / file for name, file in paths.items()}, **given)
        self.states = dict.fromkeys(NAMES, "up")
        self.under_way = 0
        self.comes = set(NAMES)
        self.now_s = 0.0
        self.start()

    def start(self) -> None:
        """Begin anew, as a restart does."""
        if hasattr(self, "controller"):
            self.controller.close()
        self.controller = Controller(self.settings, Standby(self.settings.standby))

    @property
    def asleep(self) -> list[str]:
        return list(json.loads(self.settings.standby.read_text())["asleep"]) if self.settings.standby.exists() else []

    def seconds(self, count: int, *, requests: int = 0, **line: object) -> None:
        for _ in range(count):
            self.now_s += 1
            with (self.folder / "access.log").open("a") as log:
                log.write((json.dumps(LINE | line) + "\n") * requests)
            self.controller.look(
                [
                    {"name": name, "state": state, "under_way": self.under_way * (name == "worker1")}
                    for name, state in self.states.items()
                ],
                self.now_s,
            )
            for name, state in self.states.items():
                if name in self.asleep and state in {"up", "waking"}:
                    self.states[name] = "standby"
                elif name not in self.asleep and state == "standby":
                    self.states[name] = "up" if name in self.comes else "waking"

    def said(self, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
        return [json.loads(text) for text in capsys.readouterr().out.splitlines()]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Loop]]:
    """Makes a loop with other settings."""
    with contextlib.ExitStack() as made:

        def loop(folder: Path = tmp_path, **changed: Any) -> Loop:
            folder.mkdir(exist_ok=True)
            loop = Loop(folder, **changed)
            made.callback(lambda: loop.controller.close())  # noqa: PLW0108  it may be begun anew
            return loop

        yield loop


@pytest.fixture
def loop(make: Callable[..., Loop]) -> Loop:
    return make()


def test_an_idle_pool_goes_to_sleep_and_a_loaded_one_is_woken(loop: Loop, capsys: pytest.CaptureFixture[str]) -> None:
    loop.seconds(40, requests=5)
    loop.seconds(60, requests=5)
    assert loop.asleep == ["worker2", "worker3"]
    loop.seconds(8, requests=120)
    assert loop.asleep == []
    assert loop.controller.report()["active"] == 3
    decisions = [each for each in loop.said(capsys) if "reason" in each]
    assert [(each["from"], each["to"]) for each in decisions][:2] == [(3, 2), (2, 1)]
    assert decisions[-1]["to"] == 3
    assert decisions[-1]["metrics"]["arrivals_hz"] > 30
    assert loop.controller.report()["decisions"] == decisions
    assert {"on": True, "acts": True, "minimum": 1, "maximum": 3, "objective_s": 0.25, "target": 3}.items() <= (
        loop.controller.report().items()
    )


def test_what_an_answer_took_is_kept_by_its_model(make: Callable[..., Loop]) -> None:
    loop = make()
    loop.controller._models._said = {"worker1": "slow-0f"}
    loop.seconds(100, requests=5)
    record = json.loads(loop.settings.standby.read_text())
    assert (record["service_s"], record["model"]) == (pytest.approx(0.02), "slow-0f")
    kept = Kept(frozenset({"worker2", "worker3"}), 1, record["service_s"], "slow-0f")
    assert Standby(loop.settings.standby).read() == kept
    for model, says in (("slow-0f", "the objective of 0.01 s is below the service time"), ("fast-0f", "")):
        other = make(objective_s=0.01)
        other.controller._models._said = {"worker1": model}
        other.seconds(1)
        assert says in "".join(map(str, other.controller.report()["notices"]))
        assert bool(says) == bool(other.controller.report()["notices"])


def test_who_sleeps_is_kept_though_nothing_else_is_known(tmp_path: Path) -> None:
    standby, kept = Standby(tmp_path / "standby.json"), Kept(frozenset({"worker2"}))
    standby.write(kept)
    assert standby.read() == kept


def test_what_the_model_before_a_rollback_took_is_forgotten(make: Callable[..., Loop]) -> None:
    """A rollback tells this program nothing, and neither does a deployment that ends early."""
    loop = make()
    loop.controller._models._said = {"worker1": "new-0f"}
    loop.seconds(100, requests=5)
    for others in ("new-0f", "old-0f"):  # one worker is back, then all
        loop.controller._models._said = {"worker1": "old-0f", "worker2": others}
        loop.seconds(1)
        assert loop.controller._state is not None
        assert loop.controller._state.service_s is None
    loop.seconds(3, requests=5, timing="queue;dur=0.1, total;dur=40.0")
    record = json.loads(loop.settings.standby.read_text())
    assert (record["service_s"], record["model"]) == (pytest.approx(0.04), "old-0f")
    assert record["asleep"] == ["worker2", "worker3"]


def test_what_an_answer_took_is_kept_though_the_pool_stays_as_it_is(make: Callable[..., Loop]) -> None:
    """Where the objective is below it, the next deployment refuses it."""
    loop = make(objective_s=0.01)
    loop.seconds(5, requests=5)
    assert json.loads(loop.settings.standby.read_text())["service_s"] == pytest.approx(0.02)


def test_a_restart_leaves_the_pool_as_it_is(loop: Loop) -> None:
    loop.seconds(100, requests=5)
    before = loop.settings.standby.read_bytes()
    loop.start()
    loop.seconds(25, requests=5)
    assert loop.settings.standby.read_bytes() == before
    report = loop.controller.report()
    assert (report["target"], report["asleep"], report["decisions"]) == (1, ["worker2", "worker3"], [])


@pytest.mark.parametrize("state", ["draining", "down"])
def test_a_restart_wakes_nobody_for_one_that_another_stands_in_for(loop: Loop, state: str) -> None:
    loop.seconds(100, requests=5)
    loop.states["worker1"] = state
    loop.seconds(3, requests=5)
    assert loop.asleep == ["worker3"]
    loop.start()
    loop.seconds(3, requests=5)
    assert loop.asleep == ["worker3"]


def test_a_restart_while_one_is_away_leaves_it_its_place(loop: Loop) -> None:
    loop.seconds(5, requests=120)
    loop.states["worker3"] = "down"
    loop.seconds(1, requests=120)
    loop.start()
    loop.seconds(1, requests=120)
    loop.states["worker3"] = "up"
    loop.seconds(20, requests=120)
    assert loop.asleep == []


@pytest.mark.parametrize("lost", ["log", "agent"])
def test_without_metrics_the_pool_holds_and_it_is_said_once(
    loop: Loop, capsys: pytest.CaptureFixture[str], lost: str
) -> None:
    loop.seconds(100, requests=5)
    if lost == "log":
        (loop.folder / "access.log").unlink()
        for _ in range(90):
            loop.now_s += 1
            loop.controller.look([{"name": n, "state": s, "under_way": 9} for n, s in loop.states.items()], loop.now_s)
    else:
        for _ in range(90):
            loop.now_s += 1
            loop.controller.look(None, loop.now_s)
    assert loop.asleep == ["worker2", "worker3"]
    notices = [each["notice"] for each in loop.said(capsys) if "notice" in each]
    assert len(notices) == 1
    assert notices[0].endswith("the pool stays as it is")
    assert loop.controller.report()["notices"] == notices


def test_another_one_is_woken_for_one_that_fell_or_was_taken_out(loop: Loop) -> None:
    loop.seconds(100, requests=5)
    loop.states["worker1"] = "draining"
    loop.seconds(2, requests=5)
    assert loop.asleep == ["worker3"]
    loop.states["worker1"] = "up"
    loop.seconds(2, requests=5)
    assert loop.asleep == ["worker2", "worker3"]


def test_one_that_does_not_come_is_put_to_sleep_and_another_woken(
    loop: Loop, capsys: pytest.CaptureFixture[str]
) -> None:
    loop.seconds(100, requests=5)
    loop.comes = {"worker1", "worker3"}
    loop.seconds(5, requests=50)
    assert loop.asleep == ["worker3"]
    loop.seconds(int(loop.settings.start_timeout_s) + 3, requests=50)
    assert loop.asleep == ["worker2"]
    loop.comes = {"worker1"}
    loop.states["worker3"] = "down"
    loop.said(capsys)
    loop.seconds(3, requests=50)
    assert "2 workers are wanted, 1 can serve; start others" in [each.get("notice") for each in loop.said(capsys)]


def test_a_restart_gives_who_is_being_woken_no_more_time_than_anybody(loop: Loop) -> None:
    loop.seconds(100, requests=5)
    loop.comes = {"worker1", "worker3"}
    loop.seconds(5, requests=50)
    assert loop.states["worker2"] == "waking"
    loop.start()
    loop.seconds(int(loop.settings.start_timeout_s) + 3, requests=50)
    assert loop.asleep == ["worker2"]


def test_who_did_not_come_is_named_until_it_is_tried_again(loop: Loop, capsys: pytest.CaptureFixture[str]) -> None:
    loop.seconds(100, requests=5)
    loop.comes = {"worker1", "worker3"}
    loop.seconds(int(loop.settings.start_timeout_s) + 8, requests=50)
    assert "did not serve when woken: worker2" in loop.controller.report()["notices"]  # type: ignore[operator]
    assert {"did not serve when woken: worker2"} == {
        each["notice"] for each in loop.said(capsys) if "woken:" in each.get("notice", "")
    }
    loop.seconds(60, requests=50)
    assert loop.controller.report()["notices"] == []


def test_an_objective_that_nobody_can_hold_is_told_and_changes_nothing(
    make: Callable[..., Loop], capsys: pytest.CaptureFixture[str]
) -> None:
    loop = make(objective_s=0.015)
    loop.seconds(100, requests=5)
    assert loop.asleep == []
    notices = [each["notice"] for each in loop.said(capsys) if "notice" in each]
    assert len({text.split(":")[0] for text in notices}) == 1
    assert notices[0].startswith("the objective of 0.015 s is below the service time")


def test_who_waits_follows_the_one_that_acts(loop: Loop, capsys: pytest.CaptureFixture[str]) -> None:
    loop.controller._turn = Turn(acts=False, why="http://one goes first", asleep=frozenset({"worker2", "elsewhere"}))
    loop.seconds(100, requests=5)
    assert loop.asleep == ["worker2"]
    report = loop.controller.report()
    assert (report["acts"], report["target"], report["decisions"]) == (False, 2, [])
    assert [each["notice"] for each in loop.said(capsys) if "notice" in each] == ["waits: http://one goes first"]


@pytest.mark.parametrize("requests", [0, 1], ids=["which had no load", "which knows its service time"])
def test_who_takes_over_leaves_the_pool_as_it_is_until_it_has_watched_long_enough(loop: Loop, requests: int) -> None:
    """It waited beside another balancer: what that one was asked is in no log of its own."""
    loop.controller._turn = Turn(acts=False, why="http://one goes first", asleep=frozenset({"worker3"}))
    loop.seconds(100, requests=requests)
    assert loop.asleep == ["worker3"]
    loop.controller._turn = Turn(acts=True)
    patience_s = int(loop.settings.down_after_s)
    loop.seconds(patience_s, requests=requests)
    assert loop.asleep == ["worker3"]
    assert loop.controller.report()["decisions"] == []
    loop.seconds(2 * patience_s, requests=requests)
    assert loop.asleep == ["worker2", "worker3"]


@pytest.mark.parametrize(
    ("requests", "line"),
    [(120, {}), (20, {"status": 429, "upstream_addr": "workers", "timing": ""})],
    ids=["more than one worker may be given", "no room"],
)
def test_what_comes_through_another_balancer_counts(
    make: Callable[..., Loop], tmp_path: Path, requests: int, line: dict[str, object]
) -> None:
    """With two addresses in DNS each has but its own requests in its log, and one decides for both."""
    first, second = make(), make(tmp_path / "second")
    first.seconds(100, requests=5)
    assert first.asleep == ["worker2", "worker3"]
    second.seconds(1)
    for _ in range(5):
        second.seconds(1, requests=requests, **line)
        said = read(json.loads(json.dumps(second.controller.report()))["seen"])
        assert said is not None
        first.controller._turn = Turn(acts=True, seen=(said,))
        first.seconds(1, requests=5)
    assert len(first.asleep) < 2


@pytest.mark.parametrize("lost", ["log", "agent"])
def test_one_that_sees_nothing_tells_nothing(loop: Loop, lost: str) -> None:
    loop.seconds(2, requests=5)
    if lost == "agent":
        loop.controller.look(None, loop.now_s + 1)
    else:
        (loop.folder / "access.log").unlink()
        loop.controller.look([{"name": "worker1", "state": "up", "under_way": 0}], loop.now_s + 1)
    assert loop.controller.report()["seen"] is None


@pytest.mark.parametrize("acts", [True, False])
def test_one_that_stood_still_does_not_tell_all_that_came_meanwhile_as_one_second(loop: Loop, *, acts: bool) -> None:
    loop.controller._turn = Turn(acts=acts)
    told = []
    for pause_s, requests in ((0, 5), (0, 5), (3, 20), (0, 5), (-1, 5), (0, 5)):
        loop.now_s += pause_s
        loop.seconds(1, requests=requests)
        seen = read(loop.controller.report()["seen"])
        told.append(seen and seen.arrivals)
    assert told == [None, 5, None, 5, None, 5]


def test_the_api_describes_what_it_reports(loop: Loop) -> None:
    loop.seconds(100, requests=5)
    described, report = openapi._scaling()["properties"], loop.controller.report()
    assert described.keys() == report.keys()
    assert described["seen"]["properties"].keys() == report["seen"].keys()  # type: ignore[attr-defined]
    assert described["decisions"]["items"]["properties"].keys() == report["decisions"][0].keys()  # type: ignore[index]


def test_who_takes_over_wakes_nobody_for_one_that_another_stands_in_for(loop: Loop) -> None:
    loop.states["worker1"] = "draining"
    loop.controller._turn = Turn(acts=False, why="…", asleep=frozenset({"worker3"}), target=1)
    loop.seconds(3)
    loop.controller._turn = Turn(acts=False, why="…")  # the other one has died, and its address is on its way
    loop.seconds(2)
    loop.controller._turn = Turn(acts=True)
    loop.seconds(5)
    assert loop.asleep == ["worker3"]


def test_a_full_disk_leaves_the_pool_as_it_is(loop: Loop, capsys: pytest.CaptureFixture[str]) -> None:
    loop.seconds(100, requests=5)
    (loop.folder / ".standby.json.partial").mkdir()
    loop.seconds(8, requests=120)
    assert loop.asleep == ["worker2", "worker3"]
    (loop.folder / ".standby.json.partial").rmdir()
    loop.seconds(2, requests=120)
    assert loop.asleep == []
    assert "who sleeps cannot be written" in next(each["notice"] for each in loop.said(capsys) if "notice" in each)


def test_what_grows_under_way_has_arrived(loop: Loop) -> None:
    """Requests that are not answered yet are in no log; they count once."""
    loop.seconds(5, requests=20)
    arrived = []
    for under_way, requests in ((10, 20), (10, 20), (0, 50), (10, 20), (0, 5), (0, 20)):
        loop.under_way = under_way
        loop.seconds(1, requests=requests)
        assert loop.controller._state is not None
        arrived.append(loop.controller._state.counts[-1])
    assert arrived == [30, 20, 40, 30, 0, 15]


def test_what_ended_while_the_agent_was_away_is_not_taken_off_what_comes(loop: Loop) -> None:
    loop.seconds(5, requests=20)
    loop.under_way = 30
    loop.seconds(1, requests=20)
    loop.now_s += 1
    loop.controller.look(None, loop.now_s)
    loop.under_way = 0
    loop.seconds(1, requests=20)
    assert loop.controller._state is not None
    assert loop.controller._state.counts[-1] == 20


@pytest.mark.parametrize("status", [0, 3])
def test_the_hook_is_told_how_many_are_wanted(
    make: Callable[..., Loop], tmp_path: Path, capsys: pytest.CaptureFixture[str], status: int
) -> None:
    hook = (
        sys.executable,
        "-c",
        f"import sys; open({str(tmp_path / 'told')!r}, 'a').write(sys.argv[1]); print('TOKEN'); sys.exit({status})",
    )
    loop = make(maximum=5, hook=hook)

    async def course() -> None:
        loop.seconds(4, requests=20)
        loop.seconds(3, requests=400)
        await asyncio.wait_for(loop.controller._hook._task, 60)  # type: ignore[arg-type]

    asyncio.run(course())
    assert (tmp_path / "told").read_text() == "5"
    said = loop.said(capsys)
    notices = [each["notice"] for each in said if "notice" in each]
    assert any("ended with 3" in text for text in notices) == bool(status)
    assert [each["hook"] for each in said if "hook" in each] == ["TOKEN"] * bool(status)
    assert "TOKEN" not in json.dumps(loop.controller.report())
    assert "5 workers are wanted, 3 can serve; start others" in notices


def test_the_hook_is_told_again_at_a_start_and_at_a_takeover(make: Callable[..., Loop], tmp_path: Path) -> None:
    """What it was told before is known to nobody: a restart ends it, and a takeover finds another balancer's hook."""
    log = tmp_path / "told"
    loop = make(hook=("/bin/sh", "-c", f'echo "$0" >> {log}'))

    async def told() -> list[str]:
        if loop.controller._hook._task is not None:
            await asyncio.wait_for(loop.controller._hook._task, 60)
        numbers = log.read_text().split() if log.exists() else []
        log.unlink(missing_ok=True)
        return numbers

    async def course() -> None:
        loop.seconds(100, requests=5)
        assert await told() == ["1"]
        loop.seconds(5, requests=5)
        assert await told() == []
        loop.start()
        loop.seconds(5, requests=5)
        assert (await told(), loop.controller.report()["decisions"]) == (["1"], [])
        loop.controller._turn = Turn(acts=False, why="…", asleep=frozenset({"worker3"}), target=2)
        loop.seconds(5, requests=5)
        assert await told() == []
        for target in (2, 2, 1):
            loop.controller._turn = Turn(acts=False, why="…", asleep=frozenset({"worker3"}), target=target)
            loop.seconds(1)
            loop.controller._turn = Turn(acts=True)
            loop.seconds(1)
            assert await told() == [str(target)]

    asyncio.run(course())


def test_the_hook_is_not_told_what_another_one_decides_now(make: Callable[..., Loop], tmp_path: Path) -> None:
    log, go = tmp_path / "told", tmp_path / "go"
    loop = make(hook=("/bin/sh", "-c", f'echo "$0" >> {log}; until test -e {go}; do sleep 0.05; done'))

    async def course() -> None:
        loop.seconds(1)
        while not log.exists():
            await asyncio.sleep(0.02)
        loop.seconds(60, requests=5)
        assert loop.controller.report()["target"] != 3
        loop.controller._turn = Turn(acts=False, why="…", asleep=frozenset({"worker3"}), target=2)
        loop.controller.look(None, loop.now_s)
        go.touch()
        assert loop.controller._hook._task is not None
        await asyncio.wait_for(loop.controller._hook._task, 60)

    asyncio.run(asyncio.wait_for(course(), 60))
    assert log.read_text().split() == ["3"]
