"""What else the client's host did makes a trial invalid: other programs, a hypervisor that gives less, a full link."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import repeat
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest

from loadtest.experiments import host, link, processes
from loadtest.experiments.host import HostWatch
from loadtest.experiments.validity import invalid_because
from loadtest.generate import arrivals, effort
from loadtest.generate.bench import known_server
from loadtest.generate.client import Client
from loadtest.generate.effort import busy_share, cpu_s, machine_times
from loadtest.generate.payload import encode
from loadtest.generate.recording import record_load
from loadtest.generate.samples import Sample, read_trial

PAYLOAD = encode("16px", bytes(500), "image/jpeg", multipart=True)
LIMITS = {"lag_of_service": 50, "client_cpu": 64, "other_cpu": 0.05, "steal": 0.02, "link": 0.9, "resent": 0.01}


@contextlib.contextmanager
def running(*command: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_hog_beside_the_run_makes_its_trial_invalid(serve: Callable[..., str], tmp_path: Path) -> None:
    target = serve("--service-ms", "1")

    async def trial(hog: int) -> tuple[float, float]:
        """Seconds of a core that the hog used, and that others are told to have used in no less time."""
        begun_s, watch = time.perf_counter(), HostWatch(target)
        before_s = processes.cpu_s([hog])
        async with Client(target, timeout_s=60) as client:
            offsets = list(arrivals.constant(50, 0.5))
            await record_load(
                client, tmp_path / "t", {}, repeat(PAYLOAD), lambda runner: runner.open_loop(offsets), more=watch.facts
            )
        used_s = processes.cpu_s([hog]) - before_s
        share = watch.facts()["others"]
        return used_s, share * os.cpu_count() * (time.perf_counter() - begun_s)

    with running(sys.executable, "-c", "print(flush=True)\nwhile True: pass") as hog:
        assert hog.stdout is not None
        hog.stdout.readline()
        hog_s, told_s = asyncio.run(trial(hog.pid))
    recorded = read_trial(tmp_path / "t")
    assert recorded.footer is not None
    # all of what it used is told, up to a tick; what others use besides may come to it
    assert told_s >= 0.7 * hog_s
    (reason,) = [one for one in invalid_because(recorded.samples, recorded.footer, 0.001, LIMITS) if "other" in one]
    assert reason.startswith("other programs used ")
    assert reason.endswith("% of the processor time of the client's host, limit 5.0%")


def test_who_works_for_the_run_is_none_of_the_others(serve: Callable[..., str]) -> None:
    target = serve()
    with running(sys.executable, "-c", "print(flush=True)\nwhile True: pass") as helper:
        assert helper.stdout is not None
        helper.stdout.readline()
        begun_s, before_s = time.perf_counter(), processes.cpu_s([helper.pid])
        watches = [HostWatch(target), HostWatch(target, [helper.pid, os.getpid()])]
        while (used_s := processes.cpu_s([helper.pid]) - before_s) < 0.3:
            time.sleep(0.02)
        alone, helped = (watch.facts()["others"] for watch in watches)
        passed_s = time.perf_counter() - begun_s
    # of both the same others are told, but for the helper, which counts once
    assert 0.7 * used_s <= (alone - helped) * os.cpu_count() * passed_s <= 1.5 * used_s


def test_who_runs_for_a_moment_at_each_tick_is_not_busy_all_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 10 s of all cores 8.5 were idle; the ticks of those who ran are 1.71 s."""
    stat, cores, ticks_s = tmp_path / "stat", os.sysconf("SC_NPROCESSORS_ONLN"), os.sysconf("SC_CLK_TCK")
    monkeypatch.setattr(effort, "time", SimpleNamespace(perf_counter=iter([0.0, 1000 / ticks_s / cores]).__next__))
    stat.write_text("cpu  0 0 0 0 0 0 0 0 0 0\ncpu0 0 0 0 0 0 0 0 0 0 0\n")
    before = machine_times(stat)
    stat.write_text("cpu  145 1 20 850 0 0 4 1 0 0\n")
    after = machine_times(stat)
    assert busy_share(before, after) == pytest.approx(0.15)
    assert after is not None
    assert host.programs_of(after) == pytest.approx(145 / ticks_s)  # 1000 - 850 - 4 - 1
    assert host.programs_of(after._replace(idle_s=0.0)) == after.programs_s  # an interrupt that no tick met
    assert machine_times(tmp_path / "none") is None


LISTENER = "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); input()"
SUPERVISOR = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {LISTENER!r}])"


def test_a_service_on_this_host_is_none_of_the_others() -> None:
    """It is found by its socket, with the supervisor that keeps it, and without the test that started both."""
    with known_server() as target:
        port = urlsplit(target).port
        assert port is not None
        root = processes.root_of_listener(port)
        assert root is not None
        assert root != os.getpid()
        assert b"knownserver" in Path(f"/proc/{root}/cmdline").read_bytes()
    with running(sys.executable, "-c", SUPERVISOR, start_new_session=True) as supervisor:
        assert supervisor.stdout is not None
        port = int(supervisor.stdout.readline())
        assert processes.root_of_listener(port) == supervisor.pid
        assert supervisor.stdin is not None
        supervisor.stdin.close()
    deadline_s = time.monotonic() + 60
    while processes.root_of_listener(port) is not None:  # the listener ends by itself
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def samples() -> list[Sample]:
    return [Sample(seq, seq / 10, seq / 10, seq / 10 + 0.01, 200, "worker1", None) for seq in range(50)]


@pytest.mark.parametrize(
    ("noticed", "says"),
    [
        pytest.param({"others": 0.051}, "other programs used 5.1%", id="others"),
        pytest.param({"steal": 0.03}, "the hypervisor kept 3.0%", id="steal"),
        pytest.param({"link": 0.95}, "the client's link was full: 95.0% of its rate, limit 90.0%", id="full-link"),
        pytest.param({"resent": 0.02}, "the client's link lost packets: 2.0%", id="lossy-link"),
        pytest.param({"others": 0.05, "steal": None, "link": 0.9}, None, id="within"),
    ],
)
def test_what_the_host_did_is_held_against_a_trial(noticed: dict[str, float | None], says: str | None) -> None:
    footer = {"wall_s": 5.0, "cpu_share": 0.1, "not_sent": 0, "mean_in_flight": 0.1, **noticed}
    found = invalid_because(samples(), footer, 0.01, LIMITS)
    assert [one[: len(says or "")] for one in found] == ([] if says is None else [says])
    # a run that was begun before there were such limits has none
    assert invalid_because(samples(), footer, 0.01, {"lag_of_service": 50, "client_cpu": 64}) == []


@pytest.mark.parametrize(
    ("target", "resent"),
    [("http://127.0.0.1:1", None), ("http://192.0.2.1:1", 0.2)],
    ids=["service-on-this-host", "service-elsewhere"],
)
def test_segments_that_other_programs_repeat_say_nothing_of_a_service_on_this_host(
    monkeypatch: pytest.MonkeyPatch, target: str, resent: float | None
) -> None:
    counts = iter([(100, 10), (180, 30)])
    monkeypatch.setattr(host, "_segments", lambda: next(counts))
    assert HostWatch(target).facts()["resent"] == resent


def test_the_busier_direction_of_the_busiest_link_counts() -> None:
    known = {"eth0": link.Rate(100e6, "its token bucket"), "eth1": link.Rate(1e9, "the interface's speed")}
    before = {"eth0": (0, 0), "eth1": (0, 0), "veth": (0, 0)}
    after = {"eth0": (1_000, 12_500_000), "eth1": (9_000_000, 0), "veth": (10**9, 0)}
    share, rate = link.busiest(before, after, 2.0, known)
    assert share == pytest.approx(0.5)
    assert rate == "eth0: 100 Mbit/s, its token bucket"
    assert link.busiest(before, after, 2.0, {}) == (None, "no rate known")


SHAPED = """qdisc noqueue 0: dev lo root refcnt 2
qdisc netem 1: dev eth1 root refcnt 2 limit 10000 delay 1.5ms loss 1%
qdisc tbf 10: dev eth1 parent 1:1 rate 100Mbit burst 25000b lat 50ms
qdisc tbf 8001: dev eth2 root refcnt 2 rate 2500Kbit burst 1600b lat 50ms
"""


def test_a_virtual_link_is_as_fast_as_its_token_bucket(tmp_path: Path) -> None:
    """The kernel calls a slice's link 10 Gbit/s fast, and a bucket below another qdisc lets 0.1 through."""
    for name, megabits, part in (
        ("eth0", "1000", "device"),
        ("eth1", "10000", None),
        ("eth2", "1000", "device"),
        ("eth3", "10000", None),
        ("eth4", "-1", "device"),
        ("bond0", "2000", "lower_eth0"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "speed").write_text(f"{megabits}\n")
        if part:
            (tmp_path / name / part).mkdir()
    assert link.rates(SHAPED, tmp_path) == {
        "eth0": link.Rate(1e9, "the interface's speed"),
        "eth1": link.Rate(100e6, "its token bucket"),
        "eth2": link.Rate(2.5e6, "its token bucket"),
        "bond0": link.Rate(2e9, "the interface's speed"),
    }


def test_a_trial_says_where_the_rate_of_its_link_is_known_from() -> None:
    assert HostWatch("http://127.0.0.1:1").facts()["link_rate"] is None
    facts = HostWatch("http://192.0.2.1:1").facts()
    assert (facts["link"] is None) == (facts["link_rate"] == link.UNKNOWN)


@pytest.mark.parametrize(
    ("account", "seconds"),
    [
        ("1500000000\n", 1.5),
        ("usage_usec 2500000\nuser_usec 1\nsystem_usec 2\n", 2.5),
        ("", None),
        ("odd words\n", None),
    ],
)
def test_the_account_of_a_slice_is_read_in_both_versions(tmp_path: Path, account: str, seconds: float | None) -> None:
    (tmp_path / "account").write_text(account)
    assert host.account_s(tmp_path / "account") == seconds
    assert host.account_s(tmp_path / "none") is None


def test_on_a_slice_others_are_what_its_host_ran_and_the_slice_did_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts = {name: tmp_path / name for name in ("host", "slice")}
    monkeypatch.setattr(host, "_HOST_CPU", accounts["host"])
    monkeypatch.setattr(host, "_SLICE_CPU", accounts["slice"])
    monkeypatch.setattr(processes, "all_are_seen", lambda: False)
    # no other program in this machine
    monkeypatch.setattr(processes, "cpu_s", lambda pids, **_: cpu_s() if pids else 0.0)
    clock = SimpleNamespace(perf_counter=iter([0.0, 10.0]).__next__)
    monkeypatch.setattr(effort, "time", clock)
    for account in accounts.values():
        account.write_text("5000000000\n")
    watch = HostWatch("http://127.0.0.1:9")
    accounts["host"].write_text("8000000000\n")
    accounts["slice"].write_text("7500000000\n")
    cores = os.sysconf("SC_NPROCESSORS_ONLN")
    assert watch.facts()["others"] == pytest.approx(0.5 / 10 / cores, abs=0.001)
