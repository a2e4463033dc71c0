"""The machines themselves: what the request says is what boots, what cannot be is refused, what is gone is gone."""

from __future__ import annotations

import ipaddress
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deployed.slice import Slice
from rspec.local_slice import base, preflight
from rspec.local_slice.host import SliceError, mount_points_below
from rspec.local_slice.limits import limiter_of
from rspec.local_slice.machines import root
from rspec.local_slice.naming import Names
from rspec.local_slice.network import namespaces
from rspec.local_slice.options import Options
from rspec.local_slice.plan import need_plan
from rspec.local_slice.up import plan_slice
from rspec.request import write_request
from tests.conftest import REPOSITORY
from tests.slice.leftovers import leftovers

STAR = "ARGS=-e '{slice_parameters: {topology: star}}'"
MACHINES = ["balancer", "worker1", "worker2", "worker3", "worker4", "client"]
BURN = """
import time
wall, used = time.monotonic(), time.process_time()
while time.monotonic() - wall < 2:
    pass
print((time.process_time() - used) / (time.monotonic() - wall))
"""
BESIDE = "import os; os.fork() or os.nice(19)"


def changed(output: str) -> set[str]:
    """The counts of changed tasks in Ansible's last table."""
    return set(re.findall(r" changed=(\d+) ", output.partition("PLAY RECAP")[2]))


def test_the_request_becomes_six_machines(slice_here: Slice) -> None:
    _, *rows = [line for line in slice_here.make("slice-status").stdout.splitlines() if "  " in line]
    assert [row.split()[:3] for row in rows] == [[name, "on", "yes"] for name in MACHINES]


def test_every_machine_runs_its_own_systemd(slice_here: Slice) -> None:
    assert slice_here.on("worker1", "systemctl is-system-running").strip() == "running"
    assert slice_here.on("worker1", "ps -o comm= 1; hostname").split() == ["systemd", "worker1"]


def test_the_inventory_finds_them(slice_here: Slice) -> None:
    graph = slice_here.run(".venv/bin/ansible-inventory", "-i", "inventory/slice", "--graph", "--vars").stdout
    assert re.findall(r"\|--(?:@?)(\w+):?$", graph, re.MULTILINE) == [
        *(
            "ungrouped",
            "balancers",
            "balancer",
            "workers",
            "worker1",
            "worker2",
            "worker3",
            "worker4",
            "clients",
            "client",
        )
    ]
    assert "{slice_address = 10.10.1.12}" in graph


def test_machines_reach_each_other_by_name_over_the_link(slice_here: Slice) -> None:
    assert "10.10.1.11" in slice_here.on("client", "ping -c1 -W5 worker1")


def test_links_have_the_rate_asked_for(slice_here: Slice) -> None:
    for machine in MACHINES:
        shown = subprocess.run(
            ["tc", "-n", slice_here.names.machine(machine), "qdisc", "show", "dev", "eth1"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert re.search(r"\btbf\b.* rate 100Mbit", shown.stdout), machine


def test_a_worker_gets_no_more_than_its_share_of_a_core(slice_here: Slice) -> None:
    slice_here.tool("limit", "worker1", "--slower", "4")
    try:
        assert float(slice_here.on("worker1", "python3 -", BURN)) < 0.3
    finally:
        slice_here.tool("limit", "worker1")


def test_priority_counts_on_a_worker_of_less_than_a_core(slice_here: Slice) -> None:
    """Two busy programs, one of the lowest priority, do not share such a worker evenly."""
    slice_here.tool("limit", "worker1", "--slower", "4")
    try:
        least, most = sorted(map(float, slice_here.on("worker1", "python3 -", BESIDE + BURN).split()))
        assert most > 4 * least
    finally:
        slice_here.tool("limit", "worker1")
    assert slice_here.on("worker1", "nproc").strip() == str(len(os.sched_getaffinity(0)))


def test_memory_is_limited(slice_here: Slice) -> None:
    limits = [
        int(path.read_text())
        for group in limiter_of(slice_here.name).groups("worker1")
        for path in (group / "memory.limit_in_bytes", group / "memory.max")
        if path.exists()
    ]
    assert limits == [2048 * 2**20]


def test_slice_up_changes_nothing_the_second_time(slice_here: Slice) -> None:
    assert changed(slice_here.make("slice-up").stdout) == {"0"}


def test_a_name_that_is_up_with_another_shape_is_refused(slice_here: Slice) -> None:
    refused = slice_here.make("slice-up", "WORKERS=2", check=False)
    assert refused.returncode != 0
    for words in ("already up", "worker3 is gone", "make slice-down SLICE=test"):
        assert words in refused.stdout


def test_a_name_that_another_checkout_holds_is_refused(slice_here: Slice, tmp_path: Path) -> None:
    with pytest.raises(SliceError, match=f"already up on this host, from {REPOSITORY}"):
        plan_slice(Names(slice_here.name, tmp_path), Options(), check=True)


def test_a_subnet_that_this_host_uses_is_refused(slice_here: Slice, tmp_path: Path) -> None:
    request = tmp_path / "request.xml"
    write_request(["--workers", "1"], request)
    used = need_plan(slice_here.names).control_subnet.removesuffix(".0/24")
    request.write_text(request.read_text().replace('address="10.10.1.', f'address="{used}.'))
    with pytest.raises(SliceError, match=rf"link lan uses {used}\.0/24, but this host reaches .*RSPEC=FILE"):
        plan_slice(Names("test-b", REPOSITORY), Options(request=request), check=True)


def test_a_control_subnet_that_this_host_uses_is_refused(slice_here: Slice) -> None:
    used = need_plan(slice_here.names).control_subnet
    with pytest.raises(SliceError, match=f"the control subnet {used} is used by this host.*choose another"):
        plan_slice(Names("test-b", REPOSITORY), Options(control_subnet=ipaddress.IPv4Network(used)), check=True)


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of 64 MB."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_refused(slice_here: Slice, tmp_path: Path) -> None:
    assert preflight.disk_problems(slice_here.names, 1, base.base_name("bookworm")) == []
    with small_disk(tmp_path) as project:
        (problem,) = preflight.disk_problems(Names("test-b", project), 6, base.base_name("bookworm"))
    assert re.search(r"has 6\d MB free and 6 machines need \d{4} MB: free some", problem)


@pytest.fixture(scope="module")
def neighbour(slice_here: Slice) -> Iterator[Slice]:
    """A second slice beside the first: a star of three machines."""
    other = Slice(f"{slice_here.name}-b")
    other.make("slice-down")
    try:
        other.make("slice-up", "WORKERS=1", STAR)
        yield other
    finally:
        other.make("slice-down")


@pytest.mark.slow
def test_two_slices_stand_side_by_side(slice_here: Slice, neighbour: Slice) -> None:
    assert slice_here.on("worker1", "ip -4 -br address show dev eth1").split()[2] == "10.10.1.11/24"
    assert neighbour.on("worker1", "ip -4 -br address show dev eth1").split()[2] == "10.10.1.1/24"
    assert need_plan(slice_here.names).control_subnet != need_plan(neighbour.names).control_subnet


@pytest.mark.slow
def test_in_a_star_only_the_balancer_reaches_the_worker(neighbour: Slice) -> None:
    assert "1 received" in neighbour.on("balancer", "ping -c1 -W5 10.10.1.1")
    assert "1 received" not in neighbour.on("client", "ping -c1 -W2 -I eth1 10.10.1.1", check=False)


@pytest.mark.slow
def test_a_machine_that_does_not_boot_shows_its_console_and_the_next_run_boots_it(neighbour: Slice) -> None:
    limiter = limiter_of(neighbour.name)
    limiter.kill("client")
    init = root(neighbour.names, "client") / "usr/lib/systemd/systemd"
    sound = init.read_bytes()
    init.unlink()
    init.write_text("#!/bin/sh\necho the disk has gone missing\nexit 1\n")
    init.chmod(0o755)
    failed = neighbour.make("slice-up", "WORKERS=1", STAR, check=False)
    assert failed.returncode != 0
    assert "machine client went off while it booted" in failed.stdout
    assert "the disk has gone missing" in failed.stdout
    init.write_bytes(sound)
    neighbour.make("slice-up", "WORKERS=1", STAR)
    assert neighbour.on("client", "hostname").strip() == "client"


@pytest.mark.slow
def test_slice_down_after_a_crash_removes_one_slice_and_leaves_the_other(slice_here: Slice, neighbour: Slice) -> None:
    limiter_of(neighbour.name).kill("worker1")
    neighbour.names.plan_file.unlink()
    assert leftovers(neighbour.names) != []
    assert changed(neighbour.make("slice-down").stdout) == {"1"}
    assert leftovers(neighbour.names) == []
    assert changed(neighbour.make("slice-down").stdout) == {"0"}
    assert slice_here.on("worker1", "hostname").strip() == "worker1"
    assert len(namespaces(slice_here.names)) == 1 + len(MACHINES)
    assert len(mount_points_below(slice_here.names.state)) >= len(MACHINES)
