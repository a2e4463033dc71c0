"""The CPU share of a machine that is on can be changed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rspec.local_slice.control_groups import Hierarchy
from rspec.local_slice.cores import allowed_cores
from rspec.local_slice.host import SliceError
from rspec.local_slice.limiter import Limiter
from rspec.local_slice.limits import limiter_of


def limiter(mount: Path, version: int) -> tuple[Limiter, Path]:
    """A limiter over one tree in which worker1 has a group."""
    tree = Hierarchy(mount, version, frozenset({"cpu", "memory"} if version == 1 else ()))
    made = limiter_of("s", [tree], systemd=False)
    (group,) = made.groups("worker1")
    group.mkdir(parents=True)
    return made, group


def test_a_share_is_written_to_a_version_1_group(tmp_path: Path) -> None:
    made, group = limiter(tmp_path, 1)
    (group / "cpu.cfs_quota_us").write_text("-1")
    made.limit_cpu("worker1", 0.15)
    assert (group / "cpu.cfs_period_us").read_text() == "6667"
    assert (group / "cpu.cfs_quota_us").read_text() == "1000"
    assert (group / "cpu.shares").read_text() == "153"


def test_a_share_is_written_to_a_version_2_group(tmp_path: Path) -> None:
    made, group = limiter(tmp_path, 2)
    (group / "cpu.max").write_text("max 100000")
    made.limit_cpu("worker1", 0.5)
    assert (group / "cpu.max").read_text() == "1000 2000"
    assert (group / "cpu.weight").read_text() == "50"


@pytest.mark.parametrize(
    ("version", "name", "weights"), [(1, "cpu.shares", [153, 512, 665]), (2, "cpu.weight", [15, 50, 65])]
)
def test_a_slice_counts_as_much_as_its_machines(tmp_path: Path, version: int, name: str, weights: list[int]) -> None:
    made, group = limiter(tmp_path, version)
    made.groups("worker2")[0].mkdir()
    for each in ("worker1", "worker2"):
        (made.groups(each)[0] / ("cpu.max" if version == 2 else "cpu.cfs_quota_us")).touch()
    made.limit_cpu("worker1", 0.15)
    made.limit_cpu("worker2", 0.5)
    groups = [group, made.groups("worker2")[0], group.parent]
    assert [int((each / name).read_text()) for each in groups] == weights
    assert (group.parent.parent / name).read_text() == str(weights[-1])
    for file in group.iterdir():  # the kernel's own go with their folder
        file.unlink()
    assert made.remove("worker1")
    assert [int((folder / name).read_text()) for folder in (group.parent, group.parent.parent)] == [weights[1]] * 2


def test_only_the_client_may_run_before_others_where_groups_have_such_shares(tmp_path: Path) -> None:
    made, group = limiter(tmp_path, 1)
    client = made.groups("client")[0]
    client.mkdir()
    (group.parent.parent.parent / "memory.limit_in_bytes").touch()
    made.prepare("client", 1, None)  # a kernel without such shares has no such files
    assert not (client / "cpu.rt_runtime_us").exists()
    for folder in (group.parent.parent, group.parent, group, client):
        (folder / "cpu.rt_runtime_us").write_text("0")
    for machine in ("client", "worker1"):
        made.prepare(machine, 1, None)
    folders = (group.parent.parent, group.parent, client, group)
    shares = [(folder / "cpu.rt_runtime_us").read_text() for folder in folders]
    assert shares == ["9000", "8000", "8000", "0"]


def test_a_machine_is_placed_on_the_cores_that_it_may_use(tmp_path: Path) -> None:
    made, group = limiter(tmp_path, 1)
    ours = os.sched_getaffinity(0)
    first = {min(ours)}
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as program:
        (group / "cgroup.procs").write_text(f"{program.pid}\n")
        made.place("worker1", first)
        assert os.sched_getaffinity(program.pid) == first
        made.place("worker1", ours)
        assert os.sched_getaffinity(program.pid) == ours
        with pytest.raises(SliceError, match="worker1 may not run on"):
            made.place("worker1", {1023})
        program.communicate(b"\n")
    made.place("worker1", first)  # of one that has ended nothing is asked


def test_less_than_a_core_is_of_one_core() -> None:
    ours = os.sched_getaffinity(0)
    assert [allowed_cores(cores, 7) for cores in (None, 1.0, 2.5)] == [ours] * 3
    dealt = [allowed_cores(0.3, number) for number in range(len(ours))]
    assert all(len(each) == 1 for each in dealt)
    assert set.union(*dealt) == ours


def test_a_machine_that_is_off_is_refused(tmp_path: Path) -> None:
    made, _ = limiter(tmp_path, 1)
    with pytest.raises(SliceError, match=r"machine worker9 is not on.*make slice-up"):
        made.limit_cpu("worker9", 0.5)


def test_what_a_slice_uses_of_the_processor_stands_in_one_file(tmp_path: Path) -> None:
    trees = [
        Hierarchy(tmp_path / name, 1, frozenset(controllers))
        for name, controllers in (("cpu", {"cpu"}), ("cpuacct", {"cpuacct"}), ("memory", {"memory"}))
    ]
    slices = tmp_path / "cpuacct/imagerec-slice/s"
    assert limiter_of("s", trees, systemd=False).used_cpu() == {
        "slice": slices / "cpuacct.usage",
        "host": tmp_path / "cpuacct/cpuacct.usage",
    }
    # each machine has a group below it, or the account would stay at nothing
    assert slices / "worker1" in limiter_of("s", trees, systemd=False).groups("worker1")
    second = limiter_of("s", [Hierarchy(tmp_path, 2, frozenset())], systemd=False).used_cpu()
    assert second == {"slice": tmp_path / "imagerec-slice/s/cpu.stat"}
    assert limiter_of("s", trees, systemd=True).used_cpu() == {}
