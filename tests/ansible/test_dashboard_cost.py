"""What the dashboard costs is measured before a real nginx, and the page says what was recorded."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests import dashboard_cost
from tests.conftest import REPOSITORY

FOLDER = REPOSITORY / "results/requests"
NAMES = {"127.0.0.1:1": "worker1", "127.0.0.1:2": "worker2"}


def entry(second: float, took_s: float, port: int) -> dict[str, Any]:
    return {"msec": second, "request_s": took_s, "upstream_addr": f"127.0.0.1:9, 127.0.0.1:{port}"}


ENTRIES = [
    entry(99.9, 9.0, 1),
    entry(100.1, 0.02, 1),
    entry(100.9, 0.03, 1),
    entry(101.5, 0.04, 2),
    entry(102.0, 9.0, 2),
]
TOLD: dict[str, Any] = {
    "time": 101,
    "window_s": 2,
    "requests": {"rate_hz": 1.5, "answered": 3, "mean_ms": 30.0, "p50_ms": 30, "p99_ms": 40},
    "workers": [
        {"name": "worker1", "rate_hz": 1.0, "share": 2 / 3},
        {"name": "worker2", "rate_hz": 0.5, "share": 1 / 3},
    ],
}


def test_figures_that_are_the_log_s_are_told_from_others() -> None:
    assert dashboard_cost.difference(TOLD, ENTRIES, NAMES) == pytest.approx(0)
    for name, off in {"rate_hz": 1.65, "answered": 3.3, "mean_ms": 33.0, "p50_ms": 33, "p99_ms": 44}.items():
        told = TOLD | {"requests": TOLD["requests"] | {name: off}}
        assert dashboard_cost.difference(told, ENTRIES, NAMES) == pytest.approx(0.1)
    for name, off in {"rate_hz": 0.55, "share": 1.1 / 3}.items():
        told = TOLD | {"workers": [TOLD["workers"][0], TOLD["workers"][1] | {name: off}]}
        assert dashboard_cost.difference(told, ENTRIES, NAMES) == pytest.approx(0.1)


def counted(times_ms: list[int], ports: list[int]) -> dict[str, Any]:
    """What a page is told of requests that were counted in the two seconds."""
    told = {name: ports.count(port) for name, port in (("worker1", 1), ("worker2", 2))}
    ordered = sorted(times_ms)
    requests = {"rate_hz": len(ports) / 2, "answered": len(ports), "mean_ms": sum(ordered) / len(ordered)}
    requests |= {"p50_ms": ordered[(len(ordered) + 1) // 2 - 1], "p99_ms": ordered[-1]}
    workers = [{"name": name, "rate_hz": count / 2, "share": count / len(ports)} for name, count in told.items()]
    return {"time": 101, "window_s": 2, "requests": requests, "workers": workers}


def test_the_last_request_of_a_second_may_count_in_the_next() -> None:
    """Its line may be written after the agent has closed its second, where the machine is busy."""
    into, out, both = ([9000, 20, 30, 40], [1, 1, 1, 2]), ([20, 30], [1, 1]), ([9000, 20, 30], [1, 1, 1])
    for requests in (into, out, both):
        assert dashboard_cost.difference(counted(*requests), ENTRIES, NAMES) == pytest.approx(0)
    for times_ms, ports in (([20], [1]), ([30, 40], [1, 2]), ([9000, 9000, 20, 30, 40], [1, 1, 1, 1, 2])):
        assert dashboard_cost.difference(counted(times_ms, ports), ENTRIES, NAMES) > 0.1


@pytest.mark.long
def test_the_cost_is_measured_before_a_real_nginx() -> None:
    record = dashboard_cost.measure(workers=3, rate_hz=20, phase_s=2.0)
    assert record["workers"] == 3
    assert record["requests"] > 20 * dashboard_cost.WINDOW_S
    assert record["asks"] >= 2 * (1 + 20)
    assert 0 < record["cores"]["0"] < record["cores"]["20"]
    assert record["difference"] <= dashboard_cost.BAR


def record(**changes: Any) -> dict[str, Any]:
    known = {"source": {"commit": "0123456789", "dirty": False}, "machine": "a machine", "load": 0.1}
    known |= {"workers": 64, "rate_hz": 100, "phase_s": 10.0, "requests": 7000, "asks": 420, "bytes": 17_000}
    return known | {"cores": {"0": 0.02, "1": 0.0234, "20": 0.06}, "difference": 0.004} | changes


def test_the_page_says_what_is_above_a_bar() -> None:
    good = dashboard_cost.page(record())
    assert "| 0 | 2.00 |  |  |\n| 1 | 2.34 | 0.34 | 0.34 |\n| 20 | 6.00 | 4.00 | 0.20 |" in good
    assert "was 0.40 % off." in " ".join(good.split())
    assert "was **1.10** % off." in " ".join(dashboard_cost.page(record(difference=0.011)).split())
    assert "| 1 | 3.10 | 1.10 | **1.10** |" in dashboard_cost.page(record(cores={"0": 0.02, "1": 0.031, "20": 0.06}))
    assert "a checkout with changes" in dashboard_cost.page(record(source={"commit": None, "dirty": True}))


def test_the_page_says_what_was_recorded() -> None:
    kept = json.loads((FOLDER / dashboard_cost.RECORD).read_text())
    assert (kept["workers"], kept["source"]["dirty"]) == (dashboard_cost.WORKERS, False)
    assert kept["requests"] >= 5000
    text = (FOLDER / "README.md").read_text()
    between = text.partition(f"{dashboard_cost.BEGIN}\n")[2].partition(f"\n{dashboard_cost.END}")[0]
    assert between == dashboard_cost.page(kept)
