"""Traces: what is read, what is refused, and how one is made of the balancer's access log."""

import gzip
import json
import re
from collections.abc import Callable
from itertools import repeat
from pathlib import Path

import numpy as np
import pytest

from loadtest.cli import main
from loadtest.errors import LoadtestError
from loadtest.generate import arrivals, punctual
from loadtest.generate.client import Client
from loadtest.generate.payload import encode
from loadtest.generate.recording import record_load
from loadtest.generate.samples import read_trial
from loadtest.generate.traces import Trace, read_trace, trace_of_log

# As nginx writes it (roles/balancer, log.j2).
LINE = (
    '{"time":"2026-11-26T09:20:11+00:00","msec":%.3f,"id":"1f","trace":"","client":"10.10.2.9","method":"%s",'
    '"path":"%s","status":%d,"request_bytes":%d,"response_bytes":812,"request_s":%.3f,"worker":"worker1",'
    '"upstream_addr":"%s","upstream_status":"200","upstream_connect_s":"0.000","upstream_header_s":"0.021",'
    '"upstream_response_s":"0.021"}'
)
BEGAN = 1795684811.0


def line(ended_s: float, took_s: float, *, method: str = "POST", path: str = "/predict", status: int = 200,
         size: int = 20_000, worker: str = "10.10.2.1:5000") -> str:  # fmt: skip
    return LINE % (BEGAN + ended_s, method, path, status, size, took_s, worker)


def test_a_trace_is_read_with_comments_and_cut_at_the_duration(tmp_path: Path) -> None:
    path = tmp_path / "trace.txt"
    path.write_text("# morning\n0\n0.5  # twice\n0.5\n\n2.25\n9\n")
    assert read_trace(path) == Trace((0, 0.5, 0.5, 2.25, 9))
    assert read_trace(path).until(2.25) == Trace((0, 0.5, 0.5))


def test_a_trace_with_sizes_is_read_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    trace = Trace((0.0, 0.25, 1.5), (900, 20_000, 5))
    path.write_text("\n".join(trace.lines()) + "\n")
    assert read_trace(path) == trace
    assert read_trace(path).until(1.0) == Trace((0.0, 0.25), (900, 20_000))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param("", "no arrival", id="empty"),
        pytest.param("1\nsoon\n", "line 2: 'soon'", id="not-a-number"),
        pytest.param("2\n1\n", "line 2: 1 is negative or earlier", id="out-of-order"),
        pytest.param("-1\n", "negative", id="negative"),
        pytest.param("0\nnan\n", "line 2", id="not-a-time"),
        pytest.param("0,100\n1,0\n", "line 2: '0' is not a number of bytes", id="no-bytes"),
        pytest.param("0,100\n1,²\n", "line 2: '²' is not a number of bytes", id="not-a-digit"),
        pytest.param("0,100\n1\n", "line 2: some lines have a size and others none", id="size-missing"),
        pytest.param("0\n1,100\n", "line 2: some lines have a size and others none", id="size-of-one"),
    ],
)
def test_a_bad_trace_is_refused_with_its_line(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "trace.txt"
    path.write_text(content)
    with pytest.raises(LoadtestError, match=says):
        read_trace(path)


def test_a_missing_trace_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadtestError, match="cannot read the trace"):
        read_trace(tmp_path / "none.txt")


def test_a_log_gives_when_requests_came_and_their_sizes() -> None:
    """A line is written when its request ends: a slow one that came first stands last."""
    log = [
        line(0.5, 0.1, size=300),
        line(0.55, 0.05, method="GET", path="/"),
        line(0.7, 0.2, path="/submit", size=400),
        line(0.9, 0.8, size=500, status=504),
    ]
    trace, notes = trace_of_log(log, "access.log")
    assert trace.offsets_s == pytest.approx((0.0, 0.3, 0.4), abs=1e-6)
    assert trace.sizes == (500, 300, 400)
    assert notes == []


def test_a_log_whose_end_is_cut_short_says_so() -> None:
    trace, notes = trace_of_log([line(0.5, 0.1), line(0.8, 0.1)[:90], ""], "access.log")
    assert len(trace.offsets_s) == 1
    assert notes == ["1 lines of access.log could not be read; they are left out"]


def test_refusals_that_the_log_leaves_out_are_told() -> None:
    _, notes = trace_of_log([line(0.5, 0.1), line(0.6, 0.0, status=429, worker="")], "access.log")
    assert "one in a hundred (1 lines)" in notes[0]


def test_photographs_of_v2_that_the_trace_lacks_are_told() -> None:
    log = [line(0.5, 0.1), *(line(0.6, 0.1, path=f"/v2/models/{name}/infer") for name in ("net", "net/versions/1"))]
    log.append(line(0.7, 0.1, path="/v2/models/net/nothing"))
    trace, notes = trace_of_log(log, "access.log")
    assert len(trace.offsets_s) == 1
    assert notes == ["2 requests below /v2 are left out: a trial sends to /predict alone"]


@pytest.mark.parametrize(
    ("log", "says"),
    [
        pytest.param(
            ['10.0.0.1 - - [26/Nov/2026:09:20:11 +0000] "POST /predict HTTP/1.1" 200 812 "-" "curl"'],
            r"line 1 is no line of the balancer's access log, which is JSON",
            id="another-log",
        ),
        pytest.param(
            [line(0.5, 0.1).replace('"request_bytes":20000,', "")],
            r"line 1 has no size \(request_bytes\).*--times-only",
            id="no-sizes",
        ),
        pytest.param([line(0.5, 0.1).replace('"msec"', '"at"')], r"does not say when its request came", id="no-times"),
        pytest.param([line(0.5, 0.1, method="GET")], r"holds no photograph that was sent", id="no-photographs"),
    ],
)
def test_a_log_of_which_no_trace_can_be_made_is_refused(log: list[str], says: str) -> None:
    with pytest.raises(LoadtestError, match=says):
        trace_of_log(log, "access.log")


def test_the_command_prints_the_trace_of_parts_of_a_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = tmp_path / "access.log.2.gz", tmp_path / "access.log"
    old.write_bytes(gzip.compress((line(0.5, 0.1, size=300) + "\n").encode()))
    new.write_text(line(1.0, 0.1, size=400) + "\n")
    assert main(["trace", str(new), str(old)]) == 0
    assert capsys.readouterr().out == "# offset_s,bytes\n0.000000,300\n0.500000,400\n"
    new.write_text(line(1.0, 0.1).replace('"request_bytes":20000,', ""))
    assert main(["trace", str(new)]) == 1
    assert "has no size" in capsys.readouterr().err
    assert main(["trace", "--times-only", str(new), str(old)]) == 0
    assert capsys.readouterr().out == "# offset_s\n0.000000\n0.500000\n"
    assert main(["trace", str(tmp_path / "none.log")]) == 1
    assert "cannot read the log" in capsys.readouterr().err


DESIGN = """
name: again
goal: Does a replay send what was recorded?
seed: 7
repetitions: 5
dirty: true
calibration: {unloaded_requests: 12, saturated_s: 0.3, idle_requests: 0}
validity: {lag_of_service: 50, client_cpu: 64}
client: {body: raw}
cells:
  - {arrivals: trace, trace: recorded.csv}
"""


@pytest.fixture
def recorded(tmp_path: Path, serve: Callable[..., str]) -> tuple[str, Path, Path]:
    """A service that logs as the balancer does, and what it logged of a load: its address, the log, the trace."""
    log, trace = tmp_path / "access.log", tmp_path / "recorded.csv"
    target = serve("--workers", "4", "--access-log", str(log))
    sizes = np.random.default_rng(4).integers(3000, 200_000, 1000).tolist()
    payloads = (encode("any", bytes(size), "image/jpeg", multipart=False) for size in sizes)

    async def send() -> None:
        offsets = arrivals.poisson(100, 0.4, np.random.default_rng(3))
        async with Client(target) as client:
            await client.predict(encode("any", b"first", "image/jpeg", multipart=False))
            await record_load(client, tmp_path / "t", {}, payloads, lambda runner: runner.open_loop(offsets))

    punctual.run(send())
    made, _ = trace_of_log(log.read_text().splitlines()[1:], "access.log")
    trace.write_text("\n".join(made.lines()) + "\n")
    return target, log, trace


@pytest.mark.slow
def test_a_replay_sends_what_was_recorded(recorded: tuple[str, Path, Path], tmp_path: Path) -> None:
    """Recorded, replayed, recorded again: due at the same moments, with the same sizes, in the same order."""
    target, log, trace = recorded
    before = read_trace(trace)
    log.write_text("")
    (tmp_path / "again.yml").write_text(DESIGN)
    run = tmp_path / "run"
    assert main(["run", str(tmp_path / "again.yml"), "--target", target, "--out", str(run)]) == 0
    trials = [read_trial(path) for path in sorted((run / "trials").rglob("*.gz"))]
    assert len(trials) == 5
    for trial in trials:
        samples = sorted(trial.samples, key=lambda one: one.seq)
        assert [one.scheduled_s for one in samples] == pytest.approx(before.offsets_s, abs=1e-6)
        assert len({one.image for one in samples}) == 3  # large and small photographs
    (level,) = (run / "levels").iterdir()
    assert "mix-" in level.read_text()
    assert before.sizes is not None
    again, _ = trace_of_log(log.read_text().splitlines(), "access.log")
    assert again.sizes is not None
    last = again.sizes[-len(before.sizes) :]  # nothing comes after the last trial
    assert sorted(last) == pytest.approx(sorted(before.sizes), abs=120)  # headers of another day


@pytest.mark.long
def test_gaps_of_a_replay_are_those_of_the_record_within_a_millisecond(
    recorded: tuple[str, Path, Path], tmp_path: Path
) -> None:
    """By the service's own log. A machine so busy that the generator itself is late is given another chance."""
    target, log, trace = recorded
    before = read_trace(trace)
    payload = encode("any", bytes(20_000), "image/jpeg", multipart=False)
    worst_ms = []
    for attempt in range(20):
        log.write_text("")

        async def send(path: Path) -> None:
            async with Client(target) as client:
                await record_load(client, path, {}, repeat(payload), lambda one: one.open_loop(before.offsets_s))

        path = tmp_path / f"replay{attempt}"
        punctual.run(send(path))
        again, _ = trace_of_log(log.read_text().splitlines(), "access.log")
        assert len(again.offsets_s) == len(before.offsets_s)
        off_s = np.abs(np.diff(again.offsets_s) - np.diff(before.offsets_s))
        worst_ms.append(round(float(np.quantile(off_s, 0.9)) * 1e3, 2))
        if worst_ms[-1] <= 1.0:
            return
    pytest.fail(f"nine of ten gaps were off by up to {worst_ms} ms, twenty times")


def test_a_trial_without_sizes_needs_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "recorded.csv").write_text("0\n0.5\n")
    (tmp_path / "again.yml").write_text(DESIGN)
    assert main(["show", str(tmp_path / "again.yml")]) == 1
    assert "has no sizes: give image_px, or make it with `loadtest trace`" in capsys.readouterr().err


def test_minutes_of_a_trace_are_those_that_it_lasts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "recorded.csv").write_text("0\n590\n")
    (tmp_path / "again.yml").write_text(DESIGN.replace("recorded.csv", "recorded.csv, image_px: 64"))
    assert main(["show", str(tmp_path / "again.yml"), "--json"]) == 0
    (cell,) = json.loads(capsys.readouterr().out)["design"]["cells"]
    assert cell["trace_s"] == 590
    assert main(["show", str(tmp_path / "again.yml")]) == 0
    assert re.search("about 5[0-2] minutes", capsys.readouterr().out)  # five times 590 s, and calibration


@pytest.mark.slow
def test_a_trial_of_a_trace_lasts_as_long_as_what_it_sends(tmp_path: Path, serve: Callable[..., str]) -> None:
    """Rates are counts over it: not over a longer length that was asked for, nor until the last answer came."""
    (tmp_path / "recorded.csv").write_text("".join(f"{number / 100:.2f}\n" for number in range(21)))
    cells = "recorded.csv, image_px: 16}\n  - {arrivals: trace, trace: recorded.csv, image_px: 32, duration_s: 1}"
    (tmp_path / "again.yml").write_text(DESIGN.replace("recorded.csv}", cells))
    run = tmp_path / "run"
    assert main(["run", str(tmp_path / "again.yml"), "--target", serve(), "--out", str(run)]) == 0
    trials = [read_trial(path) for path in (run / "trials").rglob("*.gz")]
    assert [(len(trial.samples), trial.header["duration_s"]) for trial in trials] == [(21, 0.2)] * 10
