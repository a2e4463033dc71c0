"""From a model's name to a bundle in its place; what is right there stays untouched, what is damaged is replaced."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from imagerec_model import imagenet, lite
from imagerec_model.cli import main
from imagerec_model.errors import DownloadError, ModelError
from imagerec_model.get import copy_bundle, get, publish
from imagerec_worker.bundle import Bundle, BundleError, load_bundle
from tests.conftest import REPOSITORY, SHARED

SOURCES = f"{REPOSITORY}/services/worker/src:{REPOSITORY}/services/model/src"


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "imagerec_model", *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": SOURCES},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def stamps(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_a_path_is_copied_under_its_name_once(colours: Bundle, tmp_path: Path) -> None:
    (colours.path / "notes.txt").write_text("lies beside it, is no part of it")
    bundle, changed = get(str(colours.path), tmp_path / "out")
    assert changed
    assert bundle.path == tmp_path / "out/given/colours"
    assert bundle.digest == colours.digest
    assert sorted(path.name for path in bundle.path.iterdir()) == ["bundle.json", "classes.json", "model.tflite"]
    before = stamps(bundle.path)
    assert get(str(colours.path), tmp_path / "out") == (bundle, False)
    assert stamps(bundle.path) == before


@pytest.mark.parametrize("file", ["model.tflite", "classes.json", "bundle.json"])
def test_a_damaged_source_is_refused_by_the_name_of_its_file(colours: Bundle, tmp_path: Path, file: str) -> None:
    path = colours.path / file
    path.write_bytes(path.read_bytes()[:-3] + b"xyz")
    with pytest.raises(BundleError) as refusal:
        get(str(colours.path), tmp_path / "out")
    assert str(path) in str(refusal.value)
    assert not (tmp_path / "out").exists()


def test_a_bundle_by_path_never_answers_for_a_name(colours: Bundle, tmp_path: Path) -> None:
    manifest = colours.path / "bundle.json"
    stock = {"name": "lite0", "version": f"{lite.REVISION}-int8"}
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | stock))
    get(str(colours.path), tmp_path / "out")
    with pytest.raises(DownloadError):
        get("lite0", tmp_path / "out", offline=True)


def test_a_damaged_bundle_in_place_is_replaced(colours: Bundle, tmp_path: Path) -> None:
    bundle, _ = get(str(colours.path), tmp_path / "out")
    bundle.model_path.write_bytes(b"half of it")
    assert get(str(colours.path), tmp_path / "out") == (bundle, True)
    assert load_bundle(bundle.path).digest == colours.digest


def test_an_interruption_leaves_the_old_bundle_in_place(colours: Bundle, tmp_path: Path) -> None:
    target = tmp_path / "out/given/colours"
    get(str(colours.path), tmp_path / "out")
    before = stamps(target)

    def interrupted(aside: Path) -> Bundle:
        copy_bundle(colours, aside)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish(target, interrupted)
    assert stamps(target) == before
    assert [path.name for path in target.parent.iterdir()] == ["colours"]


def test_a_folder_that_is_no_bundle_is_not_overwritten(colours: Bundle, tmp_path: Path) -> None:
    precious = tmp_path / "out/given/colours/thesis.tex"
    precious.parent.mkdir(parents=True)
    precious.write_text("years of work")
    with pytest.raises(BundleError, match="holds files that are no bundle"):
        get(str(colours.path), tmp_path / "out")
    assert precious.read_text() == "years of work"


def test_a_name_that_is_no_model_is_refused_with_the_names(tmp_path: Path) -> None:
    listed = "name one of imagenet, lite0, lite1, lite2, keras, or the path"
    with pytest.raises(ModelError, match=f"there is no model resnet: {listed}"):
        get("resnet", tmp_path)
    with pytest.raises(ModelError, match=r"there is no model imagnet \(did you mean imagenet\?\): name one of"):
        get("imagnet", tmp_path)
    with pytest.raises(BundleError, match="does not exist"):
        get("./nowhere", tmp_path)


def test_the_file_in_place_is_used_again_instead_of_a_download(tmp_path: Path) -> None:
    if not (SHARED / "models").is_dir():
        pytest.skip("needs the ImageNet model of IMAGEREC_SHARED")
    bundle, changed = get("imagenet", tmp_path, mirror=str(SHARED / "models"), offline=True)
    assert changed
    assert len(bundle.classes) == 1000
    (bundle.path / "classes.json").write_text("[]")
    again, changed = get("imagenet", tmp_path, offline=True)
    assert changed
    assert again.digest == bundle.digest
    assert get("imagenet", tmp_path, offline=True) == (again, False)


def test_imagenet_without_its_file_is_a_download_error(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=imagenet.PINNED.name):
        get("imagenet", tmp_path, offline=True)
    assert not (tmp_path / "imagenet").exists()


def test_the_class_table_is_that_of_imagenet() -> None:
    classes = imagenet.imagenet_classes()
    assert len({one.wnid for one in classes}) == len(classes) == 1000
    assert classes[0] == ("n01440764", "tench")
    assert classes[281] == ("n02123045", "tabby")
    assert [one.wnid for one in classes] == sorted(one.wnid for one in classes)


@pytest.mark.slow
def test_the_command_tells_what_it_wrote(colours: Bundle, tmp_path: Path) -> None:
    done = command("get", colours.path, "--out", tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"colours 1.0 {colours.digest} {tmp_path / 'out/given/colours'} (written)\n"
    assert command("verify", tmp_path / "out/given/colours").stdout == done.stdout.replace(" (written)", "")
    failed = command("verify", "/nowhere")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.startswith("error: /nowhere does not exist")
    assert failed.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ["get", "imagenet", "--offline", "--mirror", "/nowhere", "--out", "out"],
            3,
            "could not be had (mirror /nowhere",
        ),
        (["get", "resnet", "--out", "out"], 1, "there is no model resnet"),
        (["verify", "/nowhere"], 1, "/nowhere does not exist"),
        (["get", "lite0-100", "--out", "out"], 1, "lite0 is made for 128, 160, 192, 224, 256, 288 px; name one of"),
        (["get", "keras", "--out", "out"], 1, "TensorFlow is not installed: run `make setup-keras`"),
        (["evaluate", "/nowhere", "--photographs", "."], 1, "/nowhere does not exist"),
        (["calibrate", "lite0", "--sizes", "224", "--photographs", "/nowhere"], 1, "/nowhere holds no photographs"),
        (["get", "imagenet"], 2, "--out"),
    ],
    ids=["no-file", "no-model", "no-bundle", "size", "keras", "no-bundle-to-measure", "no-photographs", "usage"],
)
def test_the_command_fails_in_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    *,
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        status = main(arguments)
    except SystemExit as ended:  # argparse ends the process where the usage is wrong
        status = ended.code
    assert status == code
    said = capfd.readouterr()
    assert message in said.err
    assert said.out == ""
    if code != 2:
        assert said.err.startswith("error: ")
        assert said.err.count("\n") == 1
