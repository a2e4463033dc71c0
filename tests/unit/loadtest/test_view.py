"""The live view: what it shows of what it is told, and that it never holds up who tells it."""

import io
import json
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from rich.console import Console

from loadtest.experiments.execute import run_level
from loadtest.experiments.folder import RunFolder
from loadtest.experiments.host import HostWatch
from loadtest.experiments.reader import load_design
from loadtest.generate.attack import Attack, run_attack
from loadtest.generate.payload import encode
from loadtest.generate.view import Glimpse, View
from loadtest.generate.viewer import Board, watch

Message = dict[str, object]


def board(messages: Iterable[Message]) -> str:
    shown = Board()
    for message in messages:
        shown.take(json.loads(json.dumps(message)))
    console = Console(file=io.StringIO(), width=120)
    console.print(shown.drawn())
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def glimpses(seconds: float, *, failing: int = 0) -> list[Message]:
    """Four a second: ten requests end in each, of 20 ms and 0.05 ms of lag; the first ones of each fail."""
    seen = [(20_000, 50, number >= failing) for number in range(10)]
    return [{"glimpse": Glimpse(number / 4, 10 * number + 3, 3, seen)} for number in range(1, int(4 * seconds) + 1)]


def begin(**known: float | None) -> Message:
    return {"begin": "poisson-u0.8", "asked_hz": None, "length_s": None, "requests": None, **known}


def test_rates_latencies_and_what_is_left_are_shown() -> None:
    text = board([{"trials": [2, 45]}, begin(asked_hz=41.5, length_s=10), *glimpses(6)])
    for word in ("trial 3 of 45", "poisson-u0.8", "asked 41.5/s", "answered 40.0/s", "sent 40.0/s", "in flight 3"):
        assert word in text
    for word in ("errors 0", "p50 20.00 ms", "p99 20.00 ms", "lag p99 0.05 ms", "requests 240", "4 s left"):
        assert word in text


def test_errors_are_counted_and_are_no_answers() -> None:
    text = board([begin(requests=500), *glimpses(6, failing=5)])
    assert "errors 120" in text
    assert "answered 20.0/s" in text
    assert "sent 40.0/s" in text
    assert "240 of 500" in text
    assert "asked –" in text


def test_a_new_load_begins_with_nothing() -> None:
    text = board([begin(length_s=10), *glimpses(5), begin(length_s=10)])
    assert "requests 0" in text
    assert "p99 –" in text
    assert "10 s left" in text


def test_lines_stay_and_the_board_goes() -> None:
    terminal = io.StringIO()
    lines = [begin(length_s=1), *glimpses(1), {"say": "1/5  pool [1] done"}]
    feed = io.StringIO("".join(json.dumps(line) + "\n" for line in lines))
    watch(feed, Console(file=terminal, force_terminal=True, highlight=False, width=100))
    text = terminal.getvalue()
    assert "1/5  pool [1] done" in text
    assert "in flight" in text
    assert text.rindex("\x1b[2K") > text.rindex("in flight")  # it is wiped at the end


def test_a_view_whose_process_does_not_read_holds_up_nobody() -> None:
    """A terminal that was stopped: what nobody reads is forgotten, and sending goes on."""
    with View() as view:
        assert view._process is not None
        view._process.send_signal(signal.SIGSTOP)
        try:
            for message in range(300):
                view.show(Glimpse(message / 4, message, 1, [(20_000, 50, True)] * 1000))
            assert len(view._unread) < 2 << 20
        finally:
            view._process.kill()
    assert view._process.returncode == -9


def test_a_view_that_cannot_start_disturbs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/nosuch/python")
    with View() as view:
        view.begin("x")
        view.show(Glimpse(0.0, 0, 0, []))
        view.say("y")


DESIGN = """
name: seen
goal: Is the view counted as another program?
seed: 1
repetitions: 5
dirty: true
cells: [{arrivals: closed, in_flight: 1, image_px: 16, requests: 1}]
"""


def command_of(pid: int) -> bytes:
    for _ in range(500):
        if command := Path(f"/proc/{pid}/cmdline").read_bytes():
            return command
        time.sleep(0.01)  # it is just being started
    return b""


@pytest.mark.slow
def test_who_draws_the_view_works_for_the_run(
    serve: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal trials were disturbed by another program, which was the view."""
    told: list[list[bytes]] = []

    class Watch(HostWatch):
        def __init__(self, target: str, helpers: Iterable[int] = ()) -> None:
            told.append([command_of(pid) for pid in helpers])
            super().__init__(target, helpers)

    monkeypatch.setattr("loadtest.generate.attack.HostWatch", Watch)
    monkeypatch.setattr("loadtest.experiments.execute.HostWatch", Watch)
    target = serve()
    payloads = (encode("16px", bytes(500), "image/jpeg", multipart=True),)
    run_attack(Attack(target, payloads, rate_hz=50, duration_s=0.1), None, terminal=True)
    (tmp_path / "seen.yml").write_text(DESIGN)
    folder = RunFolder.create(tmp_path / "run", load_design(tmp_path / "seen.yml"), "2026-01-01T00:00:00+00:00")
    run_level(folder, folder.design.levels[0], target, {}, None, dirty=True, bars=True)
    assert len(told) == 1 + 5
    assert all(len(commands) == 1 and b"loadtest.generate.viewer" in commands[0] for commands in told)
