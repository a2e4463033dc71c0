"""Example photographs of the page: taken from a hashed package, whole or not at all, and never a reason to stop."""

from __future__ import annotations

import hashlib
import importlib.metadata
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import skimage.data
from PIL import Image

from tests.conftest import REPOSITORY
from tests.power import disk

SCRIPT = REPOSITORY / "playbooks/build_examples.py"
LISTING = REPOSITORY / "services/web/examples.json"
LOCK = REPOSITORY / "requirements/examples.txt"
PICTURE = b"the bytes of a picture"


def write_wheel(folder: Path, members: dict[str, bytes]) -> str:
    """Write the wheel of a package `pictures`; return the line of a lock that names it."""
    folder.mkdir(exist_ok=True)
    wheel = folder / "pictures-1-py3-none-any.whl"
    metadata = {"METADATA": "Metadata-Version: 2.1\nName: pictures\nVersion: 1\n", "WHEEL": "Wheel-Version: 1.0\n"}
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        for name, text in (metadata | {"RECORD": ""}).items():
            archive.writestr(f"pictures-1.dist-info/{name}", text)
    return f"pictures==1 --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A page with one example, and beside it the lock of the package that has it."""
    folder = tmp_path / "page"
    folder.mkdir()
    entry = {"file": "cat.png", "member": "pictures/cat.png", "shows": "A cat", "credit": "Ann", "licence": "CC0"}
    (folder / "examples.json").write_text(json.dumps([entry]))
    (tmp_path / "lock.txt").write_text(write_wheel(tmp_path / "index", {"pictures/cat.png": PICTURE}))
    return folder


def collect(page: Path, *, index: bool = True) -> dict[str, Any]:
    """Run the command with a package index that is a folder, or with none."""
    dist = page.parent / "dist"
    done = subprocess.run(
        [sys.executable, SCRIPT, "--page", page, "--lock", page.parent / "lock.txt", "--dist", dist],
        capture_output=True,
        text=True,
        check=False,
        env={
            "PATH": "/usr/bin:/bin",
            "PIP_NO_INDEX": "1",
            "PIP_CONFIG_FILE": "/dev/null",
            **({"PIP_FIND_LINKS": str(page.parent / "index")} if index else {}),
        },
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert isinstance(answer, dict)
    assert list((dist / "examples").iterdir()) == [Path(answer["folder"])], "something is left over"
    return answer


def contents(answer: dict[str, Any]) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(answer["folder"]).iterdir()}


def test_the_photographs_and_their_list_are_taken_once(page: Path) -> None:
    first = collect(page)
    assert (first["changed"], first["notice"]) == (True, "")
    assert contents(first) == {"cat.png": PICTURE, "examples.json": (page / "examples.json").read_bytes()}
    again = collect(page, index=False)
    assert again == first | {"changed": False}


def no_index(page: Path) -> None:
    (page.parent / "index/pictures-1-py3-none-any.whl").unlink()


def another_wheel(page: Path) -> None:
    write_wheel(page.parent / "index", {"pictures/cat.png": b"other bytes"})


def a_wheel_without_it(page: Path) -> None:
    (page.parent / "lock.txt").write_text(write_wheel(page.parent / "index", {"pictures/dog.png": PICTURE}))


@pytest.mark.parametrize("spoil", [no_index, another_wheel, a_wheel_without_it])
def test_without_the_package_the_page_has_no_examples_and_one_line_says_so(page: Path, spoil: Any) -> None:
    spoil(page)
    answer = collect(page)
    assert contents(answer) == {"examples.json": b"[]\n"}
    assert answer["notice"].startswith("The page has no example photographs: ")
    assert answer["notice"].endswith(" Run it again when the package index can be reached.")
    assert "\n" not in answer["notice"]
    assert len(answer["notice"]) < 300
    assert collect(page)["changed"] is False


def test_the_photographs_follow_when_the_package_can_be_had(page: Path) -> None:
    wheel = page.parent / "index/pictures-1-py3-none-any.whl"
    wheel.rename(page.parent / "later.whl")
    collect(page)
    (page.parent / "later.whl").rename(wheel)
    answer = collect(page)
    assert (answer["changed"], answer["notice"]) == (True, "")
    assert contents(answer)["cat.png"] == PICTURE


def test_an_interrupted_run_is_done_again(page: Path) -> None:
    done = Path(collect(page)["folder"])
    done.rename(done.with_name(f".{done.name}.partial"))
    (done.with_name(f".{done.name}.partial") / "cat.png").write_bytes(PICTURE[:5])
    answer = collect(page)
    assert answer["changed"] is True
    assert contents(answer)["cat.png"] == PICTURE


def test_the_photographs_are_whole_after_a_power_cut(page: Path, tmp_path: Path) -> None:
    with disk(tmp_path) as own:
        for name in ("page", "index"):
            shutil.copytree(page.parent / name, own.folder / "site" / name)
        shutil.copy(page.parent / "lock.txt", own.folder / "site")
        os.sync()
        answer = collect(own.folder / "site/page")
        assert answer["notice"] == ""
        with own.cut() as left:
            assert (left / "site/dist/examples").is_dir()
            assert own.spoilt(left) == []


def test_another_list_is_another_folder(page: Path) -> None:
    first = collect(page)
    entries = json.loads((page / "examples.json").read_text())
    (page / "examples.json").write_text(json.dumps([{**entries[0], "shows": "A tabby cat"}]))
    assert collect(page)["folder"] != first["folder"]


EXAMPLES = json.loads(LISTING.read_text())


@pytest.mark.parametrize("example", EXAMPLES, ids=[Path(each["file"]).stem for each in EXAMPLES])
def test_each_example_is_in_the_package_under_the_licence_that_the_page_names(example: dict[str, str]) -> None:
    """The package itself says who took a photograph and under which licence it may be shown."""
    name = Path(example["file"]).stem
    assert example["member"] == f"skimage/data/{example['file']}"
    file = Path(skimage.data.__file__).parent / example["file"]
    assert file.stat().st_size < 1_000_000
    with Image.open(file) as image:
        assert image.format == {".png": "PNG", ".jpg": "JPEG"}[file.suffix]
    words = " ".join((inspect.getdoc(getattr(skimage.data, name)) or "").split())
    assert example["credit"] in words
    assert example["licence"] in words
    assert example["shows"]


def test_the_lock_pins_the_package_that_was_looked_into() -> None:
    pinned = re.findall(r"^(\S+)==(\S+) ", LOCK.read_text(), re.MULTILINE)
    assert pinned == [("scikit-image", importlib.metadata.version("scikit-image"))]
    assert "--hash=sha256:" in LOCK.read_text()
