"""Levels of an autoscaler: held as they say, few workers before a trial, counted each second."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from loadtest.analyse.pool import trial_columns, worker_seconds
from loadtest.analyse.summary import summarize
from loadtest.cli import main
from loadtest.draw import draw
from loadtest.experiments.awake import at_its_least, awake_otherwise, watch_of
from loadtest.experiments.cells import Cell, Level
from loadtest.experiments.folder import RunFolder
from loadtest.generate.client import Client
from loadtest.generate.knownserver import Pool, application
from loadtest.generate.samples import Sample, Trial

DESIGN = """
name: small
goal: Does the pool follow?
seed: 7
repetitions: 5
dirty: true
deployment: {workers_awake: [auto, least, all]}
calibration: {unloaded_requests: 10, saturated_s: 0.2, idle_requests: 0}
figures: [pool]
validity: {lag_of_service: 50, client_cpu: 64, other_cpu: 1, steal: 1}
cells:
  - {arrivals: step, utilisation: 0.1, factor: 2, at_s: 0.1, image_px: 16, duration_s: 0.3}
"""


class Scaled:
    """Two workers behind an autoscaler that is told what to answer."""

    def __init__(self) -> None:
        self.told: dict[str, Any] | None = None
        self.shrinks_at: int | None = None
        self.asked = 0

    async def answer(self, _: web.Request) -> web.Response:
        self.asked += 1
        if self.told is None:
            return web.json_response({"on": False})
        if self.shrinks_at is not None and self.asked >= self.shrinks_at:
            self.told |= {"active": 1, "target": 1, "asleep": ["worker2"]}
        return web.json_response(self.told | {"on": True, "notices": ["worker2 is stuck"], "objective_s": 0.25})


@pytest.fixture
def served() -> Iterator[Callable[[Scaled], str]]:
    """Start the service in a thread; gives its address."""
    with ExitStack() as stack:

        def start(scaled: Scaled) -> str:
            loop, ready = asyncio.new_event_loop(), threading.Event()
            over = asyncio.Event()
            addresses: list[tuple[str, int]] = []

            async def serve() -> None:
                app = application(Pool([0.002, 0.002], "random", exponential=False, seed=1))
                app.router.add_get("/autoscaler", scaled.answer)
                runner = web.AppRunner(app, access_log=None)
                await runner.setup()
                await web.TCPSite(runner, "127.0.0.1", 0).start()
                addresses.extend(runner.addresses)
                ready.set()
                await over.wait()
                await runner.cleanup()

            def run() -> None:
                loop.run_until_complete(serve())
                loop.close()

            thread = threading.Thread(target=run, daemon=True)
            thread.start()
            stack.callback(thread.join)
            stack.callback(loop.call_soon_threadsafe, over.set)
            assert ready.wait(60)
            return f"http://127.0.0.1:{addresses[0][1]}"

        yield start


def run(folder: Path, target: str, level: str) -> int:
    (folder / "small.yml").write_text(DESIGN)
    options = ["--target", target, "--out", str(folder / "run"), "--level", level, "--resume"]
    return main(["run", str(folder / "small.yml"), *options])


@pytest.mark.parametrize(
    ("awake", "told", "says"),
    [
        pytest.param("auto", None, "no autoscaler answers; deploy with `autoscaler: true`", id="none"),
        pytest.param("auto", (2, 2, 2), "keeps 2 workers whatever comes", id="held"),
        pytest.param("least", (1, 2, 1), "decides on 1 to 2 workers and is not held", id="free"),
        pytest.param("all", (1, 1, 1), "keeps 1 of 2 workers", id="held-at-few"),
        pytest.param("all", (2, 2, 1), "1 workers serve, not 2", id="still-starting"),
    ],
)
def test_an_autoscaler_that_does_otherwise_is_said(awake: str, told: tuple[int, int, int] | None, says: str) -> None:
    answer = None if told is None else dict(zip(("minimum", "maximum", "active"), told, strict=True))
    assert says in "".join(awake_otherwise(Level(workers_awake=awake), answer, 2))


@pytest.mark.parametrize(("awake", "told"), [("auto", (1, 2, 2)), ("least", (1, 1, 1)), ("all", (2, 2, 2))])
def test_an_autoscaler_that_does_as_it_should_is_accepted(awake: str, told: tuple[int, int, int]) -> None:
    answer = dict(zip(("minimum", "maximum", "active"), told, strict=True))
    assert not awake_otherwise(Level(workers_awake=awake), answer, 2)
    assert not awake_otherwise(Level(), None, 2)


@pytest.mark.parametrize(
    ("target", "active", "small"),
    [(1, 1, True), (1, 0, True), (1, 2, False), (3, 1, False), (None, 1, False)],
    ids=["small", "one-restarts", "shrinks", "grows", "has-not-looked-yet"],
)
def test_a_pool_is_small_only_where_no_more_are_wanted(target: int | None, active: int, *, small: bool) -> None:
    assert at_its_least({"minimum": 1, "target": target, "active": active}) == small


def test_worker_seconds_are_those_of_who_was_awake() -> None:
    seen = [(0.1, 1, 1), (1.0, 1, 3), (2.0, 3, 3), (3.0, 2, 2)]
    assert worker_seconds(seen, 0.0, 4.0) == pytest.approx(1 + 3 + 3 + 2)
    assert worker_seconds(seen, 0.5, 3.5) == pytest.approx(0.5 + 3 + 3 + 1)
    assert worker_seconds(seen, 1.5, 1.75) == pytest.approx(0.75)
    assert worker_seconds([], 0.0, 4.0) is None


def test_what_was_refused_is_known_from_what_was_lost() -> None:
    ends = [(200, None), (429, "busy"), (503, "nobody"), (500, "broken"), (None, "timeout"), (None, "reset")]
    samples = tuple(
        Sample(number, number / 10, number / 10, number / 10 + 0.01, status, "w", error, "16px")
        for number, (status, error) in enumerate(ends)
    )
    trial = Trial(Path("x"), {"duration_s": 1.0}, samples, {"pool": [[0, 1, 2]]}, None)
    cell = Cell("poisson", ((16, 1.0),), rate_hz=5, duration_s=1.0)
    assert trial_columns(trial, cell, "") == {"refused": 2, "lost": 3, "worker_s": 2.0}


@pytest.mark.slow
def test_a_trial_waits_for_a_small_pool_and_counts_its_workers(
    tmp_path: Path, served: Callable[[Scaled], str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("loadtest.experiments.awake._LOOK_S", 0.01)
    monkeypatch.setattr("loadtest.experiments.awake._ENDED_S", 0.1)
    scaled = Scaled()
    target = served(scaled)
    scaled.told = {"minimum": 1, "maximum": 2, "target": 2, "active": 2, "asleep": []}
    assert run(tmp_path, target, "awake-auto") == 1
    assert "run the level with workers_awake: all first" in capsys.readouterr().err
    scaled.told |= {"minimum": 2}
    assert run(tmp_path, target, "awake-all") == 0
    scaled.told |= {"minimum": 1}
    scaled.shrinks_at = scaled.asked + 4
    assert run(tmp_path, target, "awake-auto") == 0

    folder = RunFolder.open(tmp_path / "run")
    counted = {
        awake: [trial.footer["pool"] for _, _, trial in folder.trials(folder.design.level(f"awake-{awake}"))]
        for awake in ("all", "auto")
    }
    assert len(counted["all"]) == len(counted["auto"]) == 5
    for awake, workers in (("all", [2, 2]), ("auto", [1, 1])):
        for pool in counted[awake]:
            assert len(pool) > 2
            assert all(entry[1:] == workers for entry in pool)
            assert [entry[0] for entry in pool] == sorted(entry[0] for entry in pool)
    record = folder.read_level(folder.design.level("awake-auto"))
    assert record is not None
    assert record["autoscaler"] == {"minimum": 1, "maximum": 2, "objective_s": 0.25}
    whole = folder.read_level(folder.design.level("awake-all"))
    assert whole is not None
    assert record["capacity"] == whole["capacity"]
    kinds = {path.name for path in (folder.path / "calibration").iterdir()}
    assert kinds == {f"as-deployed.16px.{kind}.jsonl.gz" for kind in ("unloaded", "saturated")}

    rows = {row["level"]: row for row in summarize(folder).cells}
    assert {row["workers_awake"] for row in rows.values()} == {"auto", "all"}
    assert [rows[f"awake-{awake}"]["worker_s"] for awake in ("all", "auto")] == pytest.approx([2 * 0.3, 0.3])
    assert {(row["refused"], row["lost"]) for row in rows.values()} == {(0, 0)}
    assert [bar["met"] for bar in summarize(folder).bars] == ["no"] * 4  # so few requests show nothing
    assert main(["summarize", str(folder.path)]) == 0
    assert draw(folder) == ["pool"]
    assert (folder.path / "figures/pool.png").stat().st_size > 10_000


def test_a_trial_waits_until_who_sleeps_has_ended(
    served: Callable[[Scaled], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was put to sleep a moment ago would be back at once, and no worker would have been started."""
    monkeypatch.setattr("loadtest.experiments.awake._LOOK_S", 0.01)
    monkeypatch.setattr("loadtest.experiments.awake._ENDED_S", 0.5)
    scaled = Scaled()
    scaled.told = {"minimum": 1, "maximum": 2, "target": 1, "active": 1, "asleep": ["worker2"]}
    target = served(scaled)
    begun_s = time.monotonic()
    asyncio.run(watch_of(Level("awake-auto", workers_awake="auto"), lambda: Client(target)))
    assert time.monotonic() - begun_s >= 0.5


@pytest.mark.slow
def test_a_pool_that_does_not_shrink_ends_the_run_with_the_reason(
    tmp_path: Path, served: Callable[[Scaled], str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("loadtest.experiments.awake._LOOK_S", 0.05)
    monkeypatch.setattr("loadtest.experiments.awake._PATIENCE_S", 0.2)
    scaled = Scaled()
    target = served(scaled)
    scaled.told = {"minimum": 2, "maximum": 2, "target": 2, "active": 2, "asleep": []}
    assert run(tmp_path, target, "awake-all") == 0
    scaled.told |= {"minimum": 1}
    assert run(tmp_path, target, "awake-auto") == 1
    assert "still keeps more than its minimum (worker2 is stuck)" in capsys.readouterr().err
