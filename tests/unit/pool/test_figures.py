"""The live page's figures against the log that they come from, their bounds, and clocks that jump."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imagerec_pool.access_log import AccessLog, Entry, Request
from imagerec_pool.figures import COLUMNS, Figures

BEGAN_S = 1_764_000_000
NAMES = [f"worker{number}" for number in range(1, 5)]
ADDRESSES = {f"10.0.0.{number}:5000": name for number, name in enumerate(NAMES, 1)}
# What nginx writes of a request in the end: its status, of whom it was asked, what they said.
ENDS = (
    (200, "{0}", "200"),
    (200, "{1}, {0}", "502, 200"),
    (200, "{1}, {0}", "500, 200"),
    (422, "{0}", "422"),
    (413, "", ""),
    (429, "workers", "502"),
    (429, "{0}", "429"),
    (429, "", ""),
    (500, "{1}, {0}", "500, 500"),
    (502, "{1}, {0}", "502, 504"),
    (499, "{0}", "-"),
    (400, "", ""),
    (408, "", ""),
)
OUTCOME = {413: "answered", 422: "answered", 200: "answered", 429: "refused", 500: "errors", 502: "errors"}
OUTCOME |= {400: "lost", 408: "lost", 499: "lost"}


def up(*names: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "state": "up", "since": "2026-01-01T00:00:00Z", "why": "answers", "asked": True, "under_way": 1}
        for name in names
    ]


def line(ended_s: float, end: tuple[int, str, str], addresses: list[str], took_s: float, **more: str) -> dict[str, Any]:
    status, asked, said = end
    tries = len(said.split(", "))
    times = "" if not said else ", ".join(["0.001"] * (tries - 1) + [f"{took_s - 0.004:.3f}"])
    fields = {"msec": round(ended_s, 3), "method": "POST", "path": "/predict", "status": status}
    fields |= {"response_bytes": 0 if OUTCOME[status] == "lost" else 412}
    fields |= {"request_s": round(took_s, 3), "upstream_addr": asked.format(*addresses), "upstream_status": said}
    return fields | {"upstream_response_s": times} | more


def made_log(seconds: int, rate_hz: float, seed: int) -> list[dict[str, Any]]:
    """Lines of so many seconds, in the order of their times, with pages and questions in between."""
    rng = np.random.default_rng(seed)
    lines = []
    for ended_s in np.sort(BEGAN_S + rng.uniform(0, seconds, int(rate_hz * seconds))):
        end = ENDS[0] if rng.random() < 0.6 else ENDS[rng.integers(len(ENDS))]
        took_s = float(rng.lognormal(-3.5, 0.8)) + 0.005
        path = "/predict" if rng.random() < 0.8 else "/v2/models/m/infer"
        lines.append(line(float(ended_s), end, list(rng.permutation(list(ADDRESSES))), took_s, path=path))
        if rng.random() < 0.2:
            lines.append(line(float(ended_s), (200, "{0}", "200"), [*ADDRESSES], 9.0, path="/version", method="GET"))
        if rng.random() < 0.2:
            lines.append(line(float(ended_s), (200, "", ""), [*ADDRESSES], 9.0, path="/style.css", method="GET"))
    return lines


def replay(path: Path, lines: list[dict[str, Any]], until_s: float) -> Figures:
    """Let a log grow as nginx would, and be read ten times a second as the agent does."""
    path.touch()
    log, figures, waiting = AccessLog(path), Figures(BEGAN_S), list(lines)
    with path.open("ab") as file:
        for tick in range(int((until_s - BEGAN_S + 1) * 10)):
            now_s = BEGAN_S + tick / 10
            while waiting and waiting[0]["msec"] <= now_s:
                file.write(json.dumps(waiting.pop(0)).encode() + b"\n")
            file.flush()
            for entry in log.read():
                if entry.request is not None:
                    figures.add(entry.request, ADDRESSES.get(entry.request.by or ""))
            figures.close(now_s, 3, 4)
    log.close()
    return figures


def rank(times_ms: list[float], share: float) -> float | None:
    return float(np.percentile(times_ms, share, method="inverted_cdf")) if times_ms else None


def columns_of(lines: list[dict[str, Any]], second: int) -> dict[str, Any]:
    """What the log itself says of a second."""
    mine = [each for each in lines if int(each["msec"]) == second and each["method"] == "POST"]
    counts = Counter(OUTCOME[each["status"]] for each in mine)
    times_ms = well_answered(mine)
    counted = {name: counts[name] for name in ("answered", "refused", "errors", "lost")}
    return {"serving": 3, "members": 4, **counted, "p50_ms": rank(times_ms, 50), "p99_ms": rank(times_ms, 99)}


def well_answered(lines: list[dict[str, Any]], field: str = "request_s") -> list[float]:
    """The times of the requests that a worker answered, by neither a refusal nor an error."""
    good = [each for each in lines if each["status"] in {200, 422}]
    return [float(str(each[field]).split(", ")[-1]) * 1000 for each in good]


def test_the_figures_are_the_log_s(tmp_path: Path) -> None:
    lines = made_log(30, 80, seed=3)
    told = replay(tmp_path / "access.log", lines, BEGAN_S + 30).tell(up(*NAMES))
    assert (told["time"], told["window_s"]) == (BEGAN_S + 29, 10)

    seconds = told["seconds"]
    assert seconds["first"] == BEGAN_S
    for index in range(30):
        found = {name: seconds[name][index] for name in COLUMNS}
        expected = columns_of(lines, BEGAN_S + index)
        assert found == pytest.approx(expected, abs=0.51), index  # whole milliseconds

    last = [each for each in lines if each["msec"] >= BEGAN_S + 20 and each["method"] == "POST"]
    requests = told["requests"]
    assert requests["rate_hz"] == pytest.approx(len(last) / 10, abs=0.05)
    for outcome in ("answered", "refused", "errors", "lost"):
        assert requests[outcome] == sum(OUTCOME[each["status"]] == outcome for each in last)
        assert requests[outcome] > 0
    times_ms = well_answered(last)
    assert requests["mean_ms"] == pytest.approx(np.mean(times_ms), rel=0.01)
    assert requests["p50_ms"] == pytest.approx(rank(times_ms, 50), abs=0.51)
    assert requests["p99_ms"] == pytest.approx(rank(times_ms, 99), abs=0.51)

    given = [each for each in last if each["upstream_status"].split(", ")[-1] in {"200", "422", "429", "500"}]
    by = Counter(ADDRESSES[each["upstream_addr"].split(", ")[-1]] for each in given)
    for worker in told["workers"]:
        mine = [each for each in given if ADDRESSES[each["upstream_addr"].split(", ")[-1]] == worker["name"]]
        assert worker["rate_hz"] == pytest.approx(by[worker["name"]] / 10, abs=0.051)
        assert worker["share"] == pytest.approx(by[worker["name"]] / len(given), abs=0.00006)
        assert worker["p99_ms"] == pytest.approx(rank(well_answered(mine, "upstream_response_s"), 99), abs=0.51)
        assert worker.keys() == {"name", "state", "busy", "rate_hz", "share", "p99_ms"}


def request(ended_s: float, status: int = 200) -> Request:
    return Request(ended_s, status, 20.0, "10.0.0.1:5000", 15.0)


def fed(seconds: int, rate_hz: int, workers: int) -> tuple[Figures, list[dict[str, Any]]]:
    names = [f"image-worker-{number:02}" for number in range(workers)]
    figures = Figures(BEGAN_S)
    for second in range(seconds):
        for number in range(rate_hz):
            status = 429 if number % 9 == 0 else 200
            made = Request(BEGAN_S + second + number / rate_hz, status, 100.0 + number % 900, "x", 1234.0)
            figures.add(made, names[number % workers])
        figures.close(BEGAN_S + second + 1.5, workers - 1, workers)
    return figures, up(*names)


def test_what_is_told_of_the_largest_pool_is_small_and_what_is_new_smaller() -> None:
    figures, report = fed(seconds=310, rate_hz=300, workers=64)
    whole = figures.tell(report)
    assert len(whole["seconds"]["answered"]) == 300
    assert len(json.dumps(whole, separators=(",", ":"))) <= 20_000
    new = figures.tell(report, since=whole["time"] - 1)
    assert new["seconds"]["first"] == whole["time"]
    assert {name: new["seconds"][name] for name in COLUMNS} == {name: whole["seconds"][name][-1:] for name in COLUMNS}
    assert len(json.dumps(new, separators=(",", ":"))) <= 10_000
    assert figures.tell(report, since=whole["time"])["seconds"]["answered"] == []
    assert figures.tell(report, since=0) == whole


def test_the_part_of_each_worker_of_the_largest_pool_is_the_log_s_to_one_percent() -> None:
    figures, report = fed(seconds=12, rate_hz=300, workers=64)
    for number, worker in enumerate(figures.tell(report)["workers"]):
        given_hz = len(range(number, 300, 64))
        assert worker["rate_hz"] == pytest.approx(given_hz, rel=0.01)
        assert worker["share"] == pytest.approx(given_hz / 300, rel=0.01)


def test_memory_is_bounded() -> None:
    figures, _ = fed(seconds=1000, rate_hz=5, workers=2)
    assert (len(figures._rows), len(figures._recent), len(figures._open)) == (300, 10, 0)


def test_each_line_is_counted_once_however_late_it_is_read() -> None:
    figures = Figures(BEGAN_S)
    figures.close(BEGAN_S + 5.5, 1, 1)
    for ended_s in (BEGAN_S + 1.2, BEGAN_S + 5.1, BEGAN_S + 6.9, BEGAN_S + 9.0):  # the agent stood still
        figures.add(request(ended_s), "worker1")
    figures.close(BEGAN_S + 9.2, 1, 1)
    told = figures.tell(up("worker1"))["seconds"]
    assert told["answered"] == [0, 0, 0, 0, 0, 2, 1, 0]
    figures.close(BEGAN_S + 10.4, 1, 1)
    assert figures.tell(up("worker1"))["seconds"]["answered"][-1] == 1


def test_a_second_is_open_until_its_last_lines_have_been_read() -> None:
    figures = Figures(BEGAN_S)
    figures.close(BEGAN_S + 1.2, 1, 1)
    assert figures.tell([])["time"] == BEGAN_S - 1
    figures.add(request(BEGAN_S + 0.99), "worker1")
    figures.close(BEGAN_S + 1.31, 1, 1)
    assert figures.tell([])["seconds"]["answered"] == [1]


@pytest.mark.parametrize("jump_s", [3600, -3600], ids=["on", "back"])
def test_after_a_clock_that_jumped_the_series_begins_anew(jump_s: int) -> None:
    figures, report = fed(seconds=20, rate_hz=5, workers=2)
    now_s = BEGAN_S + 20.5 + jump_s
    figures.close(now_s, 2, 2)
    assert figures.tell(report)["seconds"]["answered"] == []
    figures.add(request(now_s), report[0]["name"])
    figures.close(now_s + 1.5, 2, 2)
    told = figures.tell(report)
    assert (told["time"], sum(told["seconds"]["answered"])) == (BEGAN_S + 20 + jump_s, 1)
    assert told["requests"]["answered"] == 1


def test_without_requests_there_are_no_times() -> None:
    figures = Figures(BEGAN_S)
    assert figures.tell(up("worker1"))["window_s"] == 0
    figures.close(BEGAN_S + 3.5, 0, 1)
    report = up("worker1")[0] | {"state": "down", "why": "refuses connections", "under_way": None}
    told = figures.tell([report])
    assert told["requests"] == dict.fromkeys(("rate_hz", "answered", "refused", "errors", "lost"), 0) | dict.fromkeys(
        ("mean_ms", "p50_ms", "p99_ms")
    )
    assert told["seconds"]["p99_ms"] == [None] * 3
    assert told["workers"] == [
        {
            "name": "worker1",
            "state": "down",
            "busy": None,
            "rate_hz": 0,
            "share": 0,
            "p99_ms": None,
            "why": "refuses connections",
            "since": "2026-01-01T00:00:00Z",
        }
    ]


@pytest.mark.parametrize(
    "changed",
    [
        {"method": "GET"},
        {"path": "/version"},
        {"path": "/v2"},
        {"path": "/predict/more"},
        {"msec": "soon"},
        {"status": None},
        {"request_s": None},
    ],
    ids=lambda changed: "-".join(f"{name}={value}" for name, value in changed.items()),
)
def test_what_is_no_request_to_classify_is_not_counted(tmp_path: Path, changed: dict[str, Any]) -> None:
    path = tmp_path / "access.log"
    path.touch()
    log = AccessLog(path)
    good = line(BEGAN_S + 0.25, ENDS[0], [*ADDRESSES], 0.05)
    path.write_text("".join(json.dumps(each) + "\n" for each in (good, good | changed)))
    first, second = log.read()
    log.close()
    assert first.request == Request(BEGAN_S + 0.25, 200, 50.0, "10.0.0.1:5000", pytest.approx(46.0))
    assert second == Entry(first.answers, None)
