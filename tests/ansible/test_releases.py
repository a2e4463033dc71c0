"""Releases on a host: what was good before outlives broken ones, and the record of it is never half written."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pip
import pytest

from tests.ansible.evaluation import holds, load
from tests.ansible.plays import play
from tests.conftest import REPOSITORY
from tests.power import disk

KIND = f"cp{sys.version_info.major}{sys.version_info.minor}"
SCRIPT = REPOSITORY / "playbooks/filter_plugins/rollback.py"


def steps(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run steps of releases.yml, each "what" or "what release"; a release is named by a letter."""
    split = [(*word.split(" "), "") for word in words]
    wanted = [(what, release * 16) for what, release, *_ in split]
    return play("releases", {"folder": str(folder), "kind": KIND, "steps": wanted, **variables})


def place(folder: Path, release: str, age: int) -> None:
    """Lay an installed release there, older by an age in seconds."""
    for path in (folder / f"app/{release * 16}-{KIND}", folder / f"models/imagenet-{release * 16}"):
        path.mkdir(parents=True)
        os.utime(path, (1e9 - age, 1e9 - age))


def releases(folder: Path) -> dict[str, list[str]]:
    """The letters of the releases that are there."""
    return {
        "app": sorted(path.name[0] for path in (folder / "app").iterdir() if not path.is_symlink()),
        "models": sorted(
            path.name.removeprefix("imagenet-")[0] for path in (folder / "models").iterdir() if not path.is_symlink()
        ),
    }


@pytest.mark.slow
def test_a_good_release_outlives_any_number_of_broken_ones(tmp_path: Path) -> None:
    """Four releases are tried and never found good; only a deployment that went through removes any."""
    (tmp_path / "etc").mkdir()
    for age, release in enumerate("fedcba"):
        place(tmp_path, release, age)
    tried = [f"activate {release}" for release in "bcde"]
    assert steps(tmp_path, "activate a", "remember", *tried).returncode == 0
    everything = list("abcdef")
    assert releases(tmp_path) == {"app": everything, "models": everything}
    for left in ("z.new", "y.old"):  # of a run that was killed; the newest of all
        (tmp_path / f"app/{left[0] * 16}-{KIND}{left[1:]}").mkdir()
    (tmp_path / "models/holidays").mkdir()
    os.utime(tmp_path / "models/holidays", (0, 0))

    done = steps(tmp_path, "activate f", "remember", "prune", python_app_keep="3", model_bundle_keep="3")
    assert done.returncode == 0, done.stdout
    # what runs, what was good before, the newest others up to the number kept, and what is no bundle
    assert releases(tmp_path) == {"app": ["a", "e", "f"], "models": ["a", "e", "f", "h"]}


@pytest.mark.slow
def test_the_record_says_what_runs_what_was_good_and_what_is_staged(tmp_path: Path) -> None:
    def names(letter: str) -> dict[str, str]:
        return {"code": f"{letter * 16}-{KIND}", "model": f"imagenet-{letter * 16}"}

    def recorded() -> Any:
        return json.loads((tmp_path / "etc/deployment.json").read_text())

    for release in "ab":
        place(tmp_path, release, 0)
    assert steps(tmp_path, "activate a", "stage a", "remember").returncode == 0
    assert recorded() == {"runs": names("a"), "good": [names("a")], "staged": {}}
    assert "changed=0" in steps(tmp_path, "stage a").stdout  # it runs already
    assert steps(tmp_path, "stage b").returncode == 0
    assert recorded() == {"runs": names("a"), "good": [names("a")], "staged": names("b")}
    assert steps(tmp_path, "activate b", "remember").returncode == 0
    assert recorded() == {"runs": names("b"), "good": [names("b"), names("a")], "staged": {}}


@pytest.mark.parametrize(
    ("content", "why"),
    [("", "Expecting value"), ('{"good": [', "Expecting value"), ('{"good": ["a"]}', "it names no good deployments")],
)
def test_a_record_that_is_damaged_is_named_and_kept(tmp_path: Path, content: str, why: str) -> None:
    """A deployment would otherwise forget what was good, and prune it."""
    (tmp_path / "etc").mkdir()
    record = tmp_path / "etc/deployment.json"
    record.write_text(content)
    done = steps(tmp_path, "stage a")
    assert done.returncode != 0
    assert f"{record} cannot be read ({why}" in " ".join(done.stdout.split())
    assert record.read_text() == content


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of its own that holds 64 KiB."""
    folder = tmp_path / "etc"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], check=False)
    if mounted.returncode != 0:
        pytest.skip("needs root, for a file system of its own")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.slow
def test_a_full_disk_is_a_failure_and_keeps_the_record(tmp_path: Path, small_disk: Path) -> None:
    for release in "ab":
        place(tmp_path, release, 0)
    assert steps(tmp_path, "activate a", "remember").returncode == 0
    before = {path.name: path.read_bytes() for path in small_disk.iterdir()}
    assert before
    with (small_disk / "filler").open("wb", buffering=0) as filler:
        try:
            while filler.write(bytes(4096)):
                pass
        except OSError:
            pass
    assert steps(tmp_path, "activate b").returncode == 0
    assert steps(tmp_path, "remember").returncode != 0
    assert {name: (small_disk / name).read_bytes() for name in before} == before


def metadata(name: str, entry_points: bytes) -> dict[str, bytes]:
    """What a wheel says of itself."""
    return {
        f"{name}-1.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n".encode(),
        f"{name}-1.dist-info/WHEEL": b"Wheel-Version: 1.0\nGenerator: none\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{name}-1.dist-info/entry_points.txt": entry_points,
        f"{name}-1.dist-info/RECORD": b"",
    }


def pack_application(archive: Path, *, requirements: bytes = b"") -> None:
    """Put into an archive an application of one module and one command, with this environment's own pip."""
    wheels: dict[str, dict[str, bytes]] = {
        "pip-1-py3-none-any.whl": metadata("pip", b""),
        "imagerec_worker-1-py3-none-any.whl": metadata(
            "imagerec_worker", b"[console_scripts]\nsmall = builtins:print\n"
        ),
    }
    wheels["imagerec_worker-1-py3-none-any.whl"] |= {"small.py": b"ANSWER = 42\n" * 9000}
    folder = Path(pip.__path__[0])
    sources = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    wheels["pip-1-py3-none-any.whl"] |= {f"pip/{path.relative_to(folder)}": path.read_bytes() for path in sources}
    contents = {}
    for name, members in wheels.items():
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as wheel:
            for member, content in members.items():
                wheel.writestr(member, content)
        contents[name] = packed.getvalue()
    digest = hashlib.sha256(contents["pip-1-py3-none-any.whl"]).hexdigest()
    contents["requirements.txt"] = f"pip==1 --hash=sha256:{digest}\n".encode() + requirements
    with tarfile.open(archive, "w") as tar:
        for name, content in contents.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


@pytest.mark.slow
def test_what_counts_as_whole_is_whole_after_a_power_cut(tmp_path: Path) -> None:
    """An application that is marked as complete, a page that has its name, and the record of the deployments."""
    with disk(tmp_path) as own:
        (own.folder / "etc").mkdir()
        (tmp_path / "index.html").write_text("a page\n" * 1000)
        with tarfile.open(own.folder / "page.tar", "w") as archive:
            archive.add(tmp_path / "index.html", "index.html")
        pack_application(tmp_path / "app.tar")
        os.sync()
        wanted = ("page a", "install a", "remember")
        done = steps(own.folder, *wanted, python_app_archive=str(tmp_path / "app.tar"))
        assert done.returncode == 0, done.stdout
        application = f"app/{'a' * 16}-{KIND}"
        with own.cut() as left:
            for name in (application, "a" * 16, "etc/deployment.json"):
                assert (left / name).exists()
            # Where the mark stands, in whatever state, the rest does.
            assert [name for name in own.spoilt(left) if not name.endswith("/.complete")] == []


@pytest.mark.slow
def test_an_application_is_mended_whatever_is_cut_short_of_it(tmp_path: Path) -> None:
    """Its mark stands, and says of what sizes its files were."""
    pack_application(tmp_path / "app.tar")
    done = steps(tmp_path, "install a", "install a", python_app_archive=str(tmp_path / "app.tar"))
    assert done.returncode == 0, done.stdout
    made = re.findall(r"Create the virtual environment\] \*+\n(\w+)", done.stdout)
    assert made == ["changed"]
    module = next(tmp_path.glob("app/*/venv/lib/*/site-packages/small.py"))
    os.truncate(module, 5)
    done = steps(tmp_path, "install a", python_app_archive=str(tmp_path / "app.tar"))
    assert done.returncode == 0, done.stdout
    assert module.read_text() == "ANSWER = 42\n" * 9000
    release = module.parents[4]
    subprocess.run([release / "venv/bin/small"], check=True)
    texts = [release / "venv/pyvenv.cfg", *(path for path in release.glob("venv/bin/*") if not path.is_symlink())]
    assert [path.name for path in texts if ".new/" in path.read_text()] == []
    assert [path.name for path in release.parent.iterdir() if path != release] == ["current"]
    (release.parent / "current").unlink()
    (release.parent / "current").symlink_to("nothing")
    assert steps(tmp_path, "install a").returncode == 0  # the whole release is left alone: it has no archive
    assert (release.parent / "current").resolve() == release


@pytest.mark.slow
def test_what_runs_stays_as_it_is_until_it_can_be_mended_whole(tmp_path: Path) -> None:
    """It is the running release that is spoilt, and the new installation fails after its environment is there."""
    pack_application(tmp_path / "app.tar")
    done = steps(tmp_path, "install a", python_app_archive=str(tmp_path / "app.tar"))
    assert done.returncode == 0, done.stdout
    release = next(tmp_path.glob("app/*-cp*"))
    os.truncate(next(release.glob("venv/lib/*/site-packages/small.py")), 5)
    before = {path: path.stat().st_ino for path in release.rglob("*") if path.suffix != ".pyc"}
    pack_application(tmp_path / "app.tar", requirements=f"lost==1 --hash=sha256:{'0' * 64}\n".encode())
    done = steps(tmp_path, "install a", python_app_archive=str(tmp_path / "app.tar"))
    assert done.returncode != 0
    assert "No matching distribution found for lost==1" in done.stdout
    assert (release.parent / "current").resolve() == release
    assert {path: path.stat().st_ino for path in release.rglob("*") if path.suffix != ".pyc"} == before
    assert {path.name for path in release.parent.iterdir()} == {release.name, "current"}


def pack_bundle(folder: Path, text: str) -> str:
    """Make the files of a bundle; return its digest."""
    folder.mkdir()
    sums = {}
    for name in ("model.tflite", "classes.json"):
        (folder / name).write_text(f"{name} {text}" * 2000)
        sums[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / "bundle.json").write_text(json.dumps({"files": sums}))
    return hashlib.sha256((folder / "bundle.json").read_bytes()).hexdigest()


@pytest.mark.slow
def test_a_bundle_is_mended_whatever_is_spoilt_of_it(tmp_path: Path) -> None:
    digest = pack_bundle(tmp_path / "source", "first")
    given = {"model_bundle_source": str(tmp_path / "source"), "model_bundle_digest": digest}
    assert "failed=0" in steps(tmp_path, "bundle", **given).stdout
    placed = tmp_path / f"models/imagenet-{digest[:16]}"
    whole = {path.name: path.read_bytes() for path in placed.iterdir()}
    assert sorted(whole) == ["bundle.json", "classes.json", "model.tflite"]
    os.truncate(placed / "model.tflite", 4096)
    assert "failed=0" in steps(tmp_path, "bundle", **given).stdout
    assert {path.name: path.read_bytes() for path in placed.iterdir()} == whole
    (placed / "bundle.json").write_text("")
    (placed / "classes.json").unlink()
    assert "failed=0" in steps(tmp_path, "bundle", **given).stdout
    assert {path.name: path.read_bytes() for path in placed.iterdir()} == whole
    assert "changed=0" in steps(tmp_path, "bundle", **given).stdout


def test_a_bundle_that_another_run_has_built_meanwhile_is_refused(tmp_path: Path) -> None:
    """Two bundles of one name have one folder on the controller."""
    digest = pack_bundle(tmp_path / "source", "first")
    shutil.rmtree(tmp_path / "source")
    pack_bundle(tmp_path / "source", "second")
    done = steps(tmp_path, "bundle", model_bundle_source=str(tmp_path / "source"), model_bundle_digest=digest)
    assert done.returncode != 0
    said = " ".join(done.stdout.split())
    assert f"differs from imagenet {digest[:12]} (bundle.json: FAILED); make the bundle again" in said
    assert not (tmp_path / "models/current").exists()


def pack_page(archive: Path, **files: str) -> str:
    """Put the files of a page into an archive, each with its ending; return the digest that the page is named by."""
    sums = []
    with tarfile.open(archive, "w") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name.replace("_", "."))
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
            sums.append(f"{entry.name} {hashlib.sha256(text.encode()).hexdigest()}")
    return hashlib.sha256("\n".join(sorted(sums)).encode()).hexdigest()


@pytest.mark.slow
def test_a_page_that_was_cut_off_is_unpacked_again(tmp_path: Path) -> None:
    """Unpacking stops before app.js: the third file would stand in a folder that is a file."""
    with tarfile.open(tmp_path / "page.tar", "w") as archive:
        for name in ("index.html", "style.css", "style.css/more.css"):
            archive.addfile(tarfile.TarInfo(name))
    assert steps(tmp_path, "page a").returncode != 0
    assert not (tmp_path / "current").exists()
    digest = pack_page(tmp_path / "page.tar", index_html="<title>", style_css="", app_js="")
    assert steps(tmp_path, "page", page_digest=digest).returncode == 0
    assert sorted(path.name for path in (tmp_path / "current").iterdir()) == ["app.js", "index.html", "style.css"]
    done = steps(tmp_path, "page", page_digest=digest)
    assert "changed=0" in done.stdout


@pytest.mark.slow
def test_a_page_is_mended_whatever_is_spoilt_of_it(tmp_path: Path) -> None:
    files = {"index_html": "<title>page</title>", "style_css": "a{color:red}", "app_js": "1"}
    digest = pack_page(tmp_path / "page.tar", **files)
    assert steps(tmp_path, "page", page_digest=digest).returncode == 0
    page = tmp_path / digest[:16]
    whole = {path.name: path.read_text() for path in page.iterdir()}
    (page / "style.css").unlink()
    (page / "app.js").write_text("2")
    (page / "more.js").touch()
    done = steps(tmp_path, "page", page_digest=digest)
    assert done.returncode == 0, done.stdout
    assert {path.name: path.read_text() for path in page.iterdir()} == whole
    assert (tmp_path / "current").resolve() == page
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([page.name, "current", "page.tar"])
    (tmp_path / "current").unlink()
    (tmp_path / "current").symlink_to("nothing")
    assert steps(tmp_path, "page", page_digest=digest).returncode == 0
    assert (tmp_path / "current").resolve() == page


def test_pages_do_not_pile_up(tmp_path: Path) -> None:
    """The page that is served stays, however old, with the newest two others; what is half unpacked goes."""
    for age, release in enumerate(["f", "e", "d", "c", "b", "a"]):
        path = tmp_path / (release * 16)
        path.mkdir()
        os.utime(path, (1e9 - age, 1e9 - age))
    for ending in ("partial", "old"):
        (tmp_path / f"{'0' * 16}.{ending}").mkdir()
    done = steps(tmp_path, "prune-pages a")
    assert done.returncode == 0, done.stdout
    assert sorted(path.name[0] for path in tmp_path.iterdir()) == ["a", "e", "f"]


@pytest.mark.parametrize(
    ("beside", "prunes"),
    [
        (["current", "now", "b", "c"], False),
        (["current", "now"], False),
        (["current", "now", "b", "c", "d"], True),
        (["current", "now", "b.old"], True),
        (["current", "now", "b.{unfinished}"], True),
    ],
)
@pytest.mark.parametrize(
    ("file", "said", "unfinished"),
    [
        ("roles/python_app/tasks/prune.yml", ["sizes", "mark", "sizes", "now"], "new"),
        ("roles/balancer/tasks/prune.yml", ["digest", "now"], "partial"),
    ],
)
def test_where_nothing_is_old_nothing_is_pruned(
    file: str, said: list[str], unfinished: str, beside: list[str], *, prunes: bool
) -> None:
    """What was there is told by the command that looked at the release; where that is new, nothing is known."""
    (task,) = load(file)
    known = {"python_app_keep": "3", "balancer_page_digest": "digest"}
    lines = [*said, *(name.format(unfinished=unfinished) for name in beside)]
    for told, expected in ((lines, prunes), ([], True)):
        found = {"__python_app_said": told, "__balancer_page": {"stdout_lines": told}}
        assert holds(task["when"], task["vars"] | known | found) is expected, told


def test_what_the_balancer_wrote_goes_with_it(tmp_path: Path) -> None:
    for name in ("etc/logrotate.conf", "other", "etc/nginx.conf", "log/access.log"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    done = steps(tmp_path, "absent")
    assert done.returncode == 0, done.stdout
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()] == ["other"]


def record(runs: str, *good: str, kind: str = "cp311", rolling_back_to: str = "") -> dict[str, Any]:
    """What a host recalls; a deployment is named by a letter."""

    def names(letter: str) -> dict[str, str]:
        return {"code": f"{letter * 16}-{kind}", "model": f"imagenet-{letter * 16}"}

    def begun(letter: str) -> dict[str, Any]:
        return {**names(letter), "rollback": True} if letter else {}

    return {"runs": names(runs), "good": [names(letter) for letter in good], "staged": begun(rolling_back_to)}


@pytest.mark.parametrize(
    ("pool", "chosen"),
    [
        pytest.param({"w1": record("b", "b", "a"), "w2": record("b", "b", "a")}, "a", id="after-success"),
        pytest.param({"w1": record("c", "b", "a"), "w2": record("b", "b", "a")}, "b", id="after-failure-midway"),
        pytest.param({"w1": record("c", "b", "a"), "w2": record("c", "b", "a")}, "b", id="after-failure-on-all"),
        pytest.param({"w1": record("b", "b", "a"), "w2": record("b", "a")}, "a", id="cut-off-while-remembering"),
        pytest.param({"w1": record("b", "b", "a"), "w2": record("b", "b")}, None, id="one-host-has-no-earlier-one"),
        pytest.param({"w1": record("c", "b", "a"), "w2": record("b", "a")}, "a", id="only-one-in-common"),
        pytest.param(
            {"w1": record("a", "b", "a", rolling_back_to="a"), "w2": record("b", "b", "a", rolling_back_to="a")},
            "a",
            id="rollback-cut-off-midway",
        ),
        pytest.param(
            {"w1": record("a", "b", "a", rolling_back_to="a"), "w2": record("a", "a", "b")},
            "a",
            id="rollback-cut-off-while-remembering",
        ),
        pytest.param({"w1": record("a"), "w2": record("a")}, None, id="nothing-is-remembered"),
        pytest.param(
            {"w1": record("b", "b", "a"), "w2": record("b", "b", "a", kind="cp313")}, "a", id="another-python"
        ),
    ],
)
def test_the_whole_pool_goes_back_to_one_deployment(pool: dict[str, Any], chosen: str | None) -> None:
    target = rollback_target(pool)
    assert {host: names["code"][0] for host, names in target.items()} == (dict.fromkeys(pool, chosen) if chosen else {})
    for host, names in target.items():
        assert names in pool[host]["good"]  # with the ending of that host's own Python


def test_a_host_whose_python_was_upgraded_goes_back_to_what_runs_with_it() -> None:
    runs = record("b", "a", kind="cp313")
    runs["good"] += record("b", "a", kind="cp311")["good"]
    assert rollback_target({"w1": runs})["w1"]["code"] == f"{'a' * 16}-cp313"


def rollback_target(pool: dict[str, Any]) -> dict[str, dict[str, str]]:
    """What the filter of this name returns."""
    spec = importlib.util.spec_from_file_location("rollback", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    rollback = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(rollback)
    return rollback.rollback_target(pool)  # type: ignore[no-any-return]
