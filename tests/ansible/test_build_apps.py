"""Wheels and wheelhouses: reproducible, built aside, refused with a remedy."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.power import disk

SCRIPT = REPOSITORY / "playbooks/build_apps.py"
spec = importlib.util.spec_from_file_location("build_apps", SCRIPT)
assert spec is not None
assert spec.loader is not None
build_apps = importlib.util.module_from_spec(spec)
spec.loader.exec_module(build_apps)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A distribution that needs nothing, and its empty lock."""
    folder = tmp_path / "source"
    (folder / "src/tiny").mkdir(parents=True)
    (folder / "src/tiny/__init__.py").write_text('"""Nothing."""\n')
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        '[project]\nname = "tiny"\nversion = "1"\n[tool.hatch.build.targets.wheel]\npackages = ["src/tiny"]\n'
    )
    (folder / "requirements.txt").write_text("")
    return folder


@pytest.fixture(autouse=True)
def examples(tmp_path: Path) -> Path:
    """What `build_examples.py` leaves: photographs and their list."""
    folder = tmp_path / "examples"
    folder.mkdir()
    (folder / "examples.json").write_text("[]\n")
    return folder


def build(source: Path, dist: Path, *extra: str) -> dict[str, object]:
    done = subprocess.run(
        [
            sys.executable,
            str(SCRIPT),
            "--dist",
            str(dist),
            "--platform=cp311-x86_64",
            "--page",
            str(REPOSITORY / "services/web"),
            "--examples",
            str(source.parent / "examples"),
            *extra,
            f"tiny={source}",
        ],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": "/dev/null"},
    )
    answer = json.loads(done.stdout)
    assert isinstance(answer, dict)
    assert done.returncode == (0 if answer["error"] is None else 1), done.stderr
    return answer


def test_unchanged_sources_change_nothing(source: Path, tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    wheel, first = build_apps.build_wheel(source, wheels)
    before = wheel.read_bytes()
    _, second = build_apps.build_wheel(source, wheels)
    assert (first, second) == (True, False)
    (source / "src/tiny/__init__.py").write_text('"""Something."""\n')
    _, third = build_apps.build_wheel(source, wheels)
    assert third
    assert wheel.read_bytes() != before
    assert sorted(path.name for path in wheels.iterdir()) == [".source.json", wheel.name]


def test_the_same_sources_are_built_once_and_what_was_spoilt_again(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel, _ = build_apps.build_wheel(source, tmp_path)
    built, note = wheel.read_bytes(), tmp_path / ".source.json"
    (source / "src/tiny/__pycache__").mkdir()
    (source / "src/tiny/__pycache__/left.pyc").touch()
    run, built_again = build_apps.run, []

    def counted(command: list[str], remedy: str) -> None:
        built_again.append(command)
        run(command, remedy)

    monkeypatch.setattr(build_apps, "run", counted)
    assert build_apps.build_wheel(source, tmp_path) == (wheel, False)
    assert built_again == []
    for spoil, differs in (
        (lambda: wheel.write_bytes(built[:-1]), True),
        (wheel.unlink, True),
        (lambda: note.write_text(note.read_text()[:-1]), False),
        (lambda: note.write_text("[]"), False),
        (lambda: (source / "src/tiny/__init__.py").rename(source / "src/tiny/other.py"), True),
    ):
        spoil()
        assert build_apps.build_wheel(source, tmp_path) == (wheel, differs)
        assert build_apps.build_wheel(source, tmp_path) == (wheel, False)
    assert len(built_again) == 5


def test_a_package_that_cannot_be_had_is_an_error_with_a_remedy_and_leaves_nothing_finished(
    source: Path, tmp_path: Path
) -> None:
    (source / "requirements.txt").write_text(f"absent==1 --hash=sha256:{'0' * 64}\n")
    answer = build(source, tmp_path / "dist")
    assert "absent==1" in str(answer["error"])
    assert "run it again" in str(answer["error"])
    assert not list((tmp_path / "dist/wheelhouse").glob("tiny-*"))


def test_what_is_built_is_whole_after_a_power_cut(source: Path, tmp_path: Path) -> None:
    """The next run takes what has its name, and never looks into it."""
    with disk(tmp_path) as own:
        answer = build(source, own.folder / "dist")
        assert answer["error"] is None
        assert answer["releases"] == json.loads((own.folder / "dist/releases.json").read_text())
        with own.cut() as left:
            assert len(list((left / "dist/releases").iterdir())) == 2
            # A wheel is compared with its note, and is built again.
            assert [name for name in own.spoilt(left) if not name.startswith("dist/wheels/")] == []


def test_two_may_build_at_once(source: Path, tmp_path: Path) -> None:
    """As deployments onto two inventories do, which share what the checkout builds."""
    with ThreadPoolExecutor() as several:
        answers = list(several.map(lambda _: build(source, tmp_path / "dist"), range(4)))
    assert [answer["error"] for answer in answers] == [None] * 4
    assert [answer["changed"] for answer in answers].count(True) == 1
    listed = json.loads((tmp_path / "dist/releases.json").read_text())
    assert [answer["releases"] for answer in answers] == [listed] * 4


def test_what_another_deployment_has_built_stays_in_the_list(tmp_path: Path) -> None:
    """That one may be on its way to other hosts, with a further application, or of another kind."""
    there = tmp_path / "there.tar"
    there.touch()
    earlier = {
        "page": {"archive": "page.tar", "digest": "p"},
        "worker": {"digest": "w", "archives": {"cp311-x86_64": "old.tar", "cp313-x86_64": str(there)}},
        "changed": {"digest": "before", "archives": {"cp313-x86_64": str(there)}},
        "autoscaler": {"digest": "a", "archives": {"cp311-x86_64": str(there), "cp313-x86_64": "pruned.tar"}},
        "pruned": {"digest": "x", "archives": {"cp311-x86_64": "pruned.tar"}},
    }
    now = {
        "page": {"archive": "other.tar", "digest": "q"},
        "worker": {"digest": "w", "archives": {"cp311-x86_64": "new.tar"}},
        "changed": {"digest": "now", "archives": {"cp311-x86_64": "new.tar"}},
    }
    assert build_apps.with_earlier(now, earlier) == {
        "page": now["page"],
        "worker": {"digest": "w", "archives": {"cp311-x86_64": "new.tar", "cp313-x86_64": str(there)}},
        "changed": now["changed"],
        "autoscaler": {"digest": "a", "archives": {"cp311-x86_64": str(there)}},
    }
    assert build_apps.with_earlier(now, {}) == now


def test_the_page_is_deployed_with_its_examples(source: Path, examples: Path, tmp_path: Path) -> None:
    """The list is always there, the built one and not the page's own; a new photograph is a new page."""
    before = build(source, tmp_path / "dist")
    assert before["error"] is None
    archives = set((tmp_path / "dist/releases").glob("page-*.tar"))
    (examples / "cat.png").write_bytes(b"a cat")
    assert build(source, tmp_path / "dist")["changed"] is True
    (archive,) = set((tmp_path / "dist/releases").glob("page-*.tar")) - archives
    with tarfile.open(archive) as page:
        names = page.getnames()
        assert len(names) == len(set(names))
        assert {"index.html", "app.js", "cat.png", "examples.json"} <= set(names)
        listing = page.extractfile("examples.json")
        assert listing is not None
        assert listing.read() == b"[]\n"


@pytest.mark.parametrize("platform", ["cp311", "pp310-x86_64", "cp311-x86 64", ""])
def test_an_unknown_kind_of_host_is_refused(platform: str) -> None:
    with pytest.raises(build_apps.BuildError, match="no platform"):
        build_apps.pip_platform(platform)


def test_a_host_with_another_python_gets_wheels_for_it() -> None:
    options = build_apps.pip_platform("cp312-aarch64")
    assert "--python-version=3.12" in options
    assert "--platform=manylinux_2_28_aarch64" in options
    assert "--only-binary=:all:" in options


@pytest.mark.slow
def test_what_is_built_does_not_pile_up(source: Path, tmp_path: Path) -> None:
    """Of each archive and wheelhouse the last used stay; one that is used again counts as used now."""
    dist = tmp_path / "dist"
    module = source / "src/tiny/__init__.py"
    texts = [f'"""Number {number}."""\n' for number in range(5)]
    names: list[str] = []
    for age, text in enumerate([*texts, texts[2]]):
        module.write_text(text)
        (source / "requirements.txt").write_text(f"# {text}")
        assert build(source, dist)["error"] is None
        names.append(Path(json.loads((dist / "releases.json").read_text())["tiny"]["archives"]["cp311-x86_64"]).name)
        for folder in ("releases", "wheelhouse"):
            for path in (dist / folder).iterdir():  # as if each run were a minute after the one before
                os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 60))
        if age == 4:
            assert {path.name for path in (dist / "releases").glob("tiny-*")} == set(names[2:])
            assert len(list((dist / "wheelhouse").iterdir())) == 3
    assert names[5] == names[2]
    module.write_text("")
    build(source, dist)
    left = {path.name for path in (dist / "releases").glob("tiny-*")}
    assert len(left) == 3
    assert {names[2], names[4]} <= left
    assert len(list((dist / "releases").glob("page-*.tar"))) == 1
