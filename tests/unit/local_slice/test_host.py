"""What the local slice reads of the host it stands on, from files as hosts have them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rspec.local_slice.apt import Source, read_sources, sources_of_release, sources_text
from rspec.local_slice.base import base_name, host_release
from rspec.local_slice.control_groups import ControlGroups, Hierarchy, hierarchies_of
from rspec.local_slice.cores import period_us, quota_us
from rspec.local_slice.host import SliceError, read_mounts, run, write
from rspec.local_slice.limiter import Limiter
from rspec.local_slice.limits import limiter_of
from rspec.local_slice.machines import name_servers
from rspec.local_slice.scopes import Scopes
from tests.conftest import REPOSITORY

MOUNTS_V1 = """\
30 24 0:26 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct
31 24 0:27 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
32 24 0:28 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
"""
MOUNTS_V2 = "30 24 0:26 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n"


@pytest.mark.parametrize(
    ("text", "release"),
    [
        ("ID=debian\nVERSION_CODENAME=bookworm\n", "bookworm"),
        ('NAME="Ubuntu"\nID=ubuntu\nVERSION_CODENAME="noble"\n', "noble"),
        ("ID=fedora\nVERSION_ID=43\n", ""),
    ],
    ids=["debian", "ubuntu", "neither"],
)
def test_the_hosts_release_is_read(text: str, release: str) -> None:
    assert host_release(text) == release


def test_an_image_is_named_after_all_it_is_made_from() -> None:
    assert base_name("bookworm").startswith("bookworm-")
    assert base_name("bookworm") != base_name("trixie")


@pytest.fixture
def apt(tmp_path: Path) -> Path:
    """An apt configuration in both formats, with a third party and a disabled source."""
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text(
        "# deb http://old.example.org/debian bookworm main\n"
        "deb [signed-by=/k.gpg] http://deb.example.org/security bookworm-security main contrib # yes\n"
        "deb-src http://deb.example.org/debian bookworm main\n"
    )
    (tmp_path / "sources.list.d/debian.sources").write_text(
        "Types: deb deb-src\nURIs: http://deb.example.org/debian\n  http://second.example.org/debian\n"
        "Suites: bookworm bookworm-updates\n# why\nComponents: main\n\n"
        "Types: deb\nEnabled: no\nURIs: http://off.example.org\nSuites: bookworm\nComponents: main\n"
    )
    (tmp_path / "sources.list.d/other.list").write_text("deb https://third.example.org bookworm stable\n")
    (tmp_path / "sources.list.d/notes.txt").write_text("deb http://no.example.org bookworm main\n")
    return tmp_path


def test_sources_are_read_in_both_formats(apt: Path) -> None:
    assert Source("http://deb.example.org/debian", "bookworm-updates", ("main",)) in read_sources(apt)
    assert not any("old" in item.uri or "off" in item.uri or "no." in item.uri for item in read_sources(apt))


def test_a_release_comes_first_and_from_its_own_archives(apt: Path) -> None:
    found = sources_of_release("bookworm", apt)
    assert sources_text(found) == (
        "deb http://deb.example.org/debian bookworm main\n"
        "deb http://second.example.org/debian bookworm main\n"
        "deb http://deb.example.org/debian bookworm-updates main\n"
        "deb http://second.example.org/debian bookworm-updates main\n"
        "deb http://deb.example.org/security bookworm-security main contrib\n"
    )
    assert sources_of_release("trixie", apt) == []


def test_comments_of_the_host_may_be_in_another_encoding(apt: Path) -> None:
    before = read_sources(apt)
    comment = "# für uns\n".encode("latin-1")
    for path in (apt / "sources.list", apt / "sources.list.d/debian.sources"):
        path.write_bytes(comment + path.read_bytes())
    assert read_sources(apt) == before
    (apt / "etc").mkdir()
    (apt / "etc/resolv.conf").write_bytes(comment + b"nameserver 192.0.2.1\n")
    assert name_servers(apt) == ("nameserver 192.0.2.1\n", [])


def test_a_name_server_on_loopback_is_no_use_to_machines(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/resolv.conf").write_text("nameserver 127.0.0.53\n")
    text, notices = name_servers(tmp_path)
    assert (text, len(notices)) == ("", 1)
    real = tmp_path / "run/systemd/resolve/resolv.conf"
    real.parent.mkdir(parents=True)
    real.write_text("nameserver 192.0.2.1\nnameserver ::1\nsearch example.org\n")
    assert name_servers(tmp_path) == ("nameserver 192.0.2.1\nsearch example.org\n", [])


@pytest.mark.parametrize("cores", [0.1, 0.25, 0.3, 1, 4])
def test_cores_are_dealt_out_as_asked_within_what_the_kernel_takes(cores: float) -> None:
    assert quota_us(cores) >= 1_000
    assert 1_000 <= period_us(cores) <= 10_000
    assert quota_us(cores) / period_us(cores) == pytest.approx(cores, rel=0.01)


@pytest.mark.parametrize(
    ("mounts", "systemd", "kind"),
    [(MOUNTS_V1, False, "v1"), (MOUNTS_V2, False, "v2"), (MOUNTS_V2, True, Scopes), ("", False, "none")],
    ids=["version-1", "version-2", "systemd", "none"],
)
def test_the_way_to_limit_machines_is_found(mounts: str, systemd: bool, kind: str | type[Limiter]) -> None:
    found = limiter_of("unit", hierarchies_of(read_mounts(mounts.encode())), systemd=systemd)
    assert (found.kind if isinstance(found, ControlGroups) else type(found)) == kind


def test_a_host_without_control_groups_is_refused() -> None:
    (problem,) = limiter_of("unit", [], systemd=False).problems()
    assert "no control groups are mounted" in problem


def test_groups_of_version_2_get_their_limits(tmp_path: Path) -> None:
    for folder in ("", "imagerec-slice", "imagerec-slice/unit"):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "cgroup.subtree_control").write_text("cpu memory pids")
    limiter = limiter_of("unit", [Hierarchy(tmp_path, 2, frozenset())], systemd=False)
    words = limiter.prepare("worker1", 0.25, 512)
    group = tmp_path / "imagerec-slice/unit/worker1"
    assert (group / "cpu.max").read_text() == "1000 4000"
    assert (group / "cpu.weight").read_text() == "25"
    assert (group / "memory.max").read_text() == str(512 * 2**20)
    assert words[1:] == [str(group / "cgroup.procs"), "--"]
    assert limiter.machines() == ["worker1"]


def test_a_file_is_written_whole_and_only_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "folder/file"
    assert write(path, "text", 0o600)
    assert not write(path, "text", 0o600)
    assert write(path, "text", 0o644)
    assert write(path, "other")
    assert [item.name for item in path.parent.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("command", "timeout_s", "words"),
    [
        (["no-such-program-here"], 60, "the program no-such-program-here is missing"),
        (["sh", "-c", "echo why >&2; exit 3"], 60, "why"),
        (["sleep", "60"], 0.2, "no answer within 0 s from: sleep 60"),
    ],
    ids=["missing", "failed", "slow"],
)
def test_a_program_that_fails_is_named_with_its_last_words(command: list[str], timeout_s: float, words: str) -> None:
    with pytest.raises(SliceError) as refused:
        run(command, timeout_s=timeout_s)
    assert words in str(refused.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["plain", "a space", "zwölf", "a\ttab and \\ more", "\u2028line", os.fsdecode(b"l\xe4tin")], ids=ascii
)
def test_what_is_mounted_below_a_folder_is_found_whatever_its_name(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    inner = folder / "machines" / "root"
    inner.mkdir(parents=True)
    ask = "import os, sys; from rspec.local_slice.host import mount_points_below as below; from pathlib import Path;"
    ask += "sys.stdout.buffer.write(b'|'.join(map(os.fsencode, below(Path(sys.argv[1])))))"
    script = 'mount -t tmpfs one "$2" && mkdir -p "$3" && mount -t tmpfs two "$3" && exec "$0" -c "$1" "$2"'
    own = ["unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run([*own, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine lets nobody mount in a namespace of one's own")
    words: list[str | Path] = [*own, "sh", "-c", script, sys.executable, ask, folder, inner]
    found = subprocess.run(words, capture_output=True, check=False, cwd=REPOSITORY)
    assert (found.stderr, found.stdout.split(b"|")) == (b"", [os.fsencode(inner), os.fsencode(folder)])
