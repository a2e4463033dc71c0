"""The whole command on the real network: from photographs to a bundle that a worker serves."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from imagerec_model.errors import ModelError
from imagerec_model.learn import folder
from imagerec_model.learn.learning import check_name, default_name
from imagerec_model.learn.photographs import collect
from imagerec_worker.bundle import load_bundle
from imagerec_worker.classifier import Classifier
from imagerec_worker.preprocess import preprocess
from tests.conftest import REPOSITORY, heed_signals
from tests.unit.learn.conftest import write_classes
from tests.unit.model.conftest import PACKAGES

NAMES = ("blue", "green", "grey_ones")


def _command(data: Path, place: Path, *options: str) -> list[str | Path]:
    paths = ["--out", place / "learnt", "--cache", place / "cache", "--packages", PACKAGES]
    return [sys.executable, "-m", "imagerec_model", "learn", "--data", data, *paths, *options]


def _run(command: list[str | Path], **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY, **options)  # type: ignore[call-overload, no-any-return]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of ten photographs; of one only half a file is there, another stands in two classes."""
    root = write_classes(tmp_path_factory.mktemp("learn") / "My photographs", NAMES, 10)
    whole = (root / "blue/00.jpg").read_bytes()
    (root / "blue/00.jpg").write_bytes(whole[: len(whole) // 2])
    shutil.copy(root / "green/03.jpg", root / "grey_ones/03.jpg")
    return root


@pytest.fixture(scope="module")
def learnt(photographs: Path) -> subprocess.CompletedProcess[str]:
    """The command, run once beside the photographs."""
    return _run(_command(photographs, photographs.parent, "--json"))


@pytest.mark.slow
def test_a_bundle_is_learnt_that_workers_serve(learnt: subprocess.CompletedProcess[str], photographs: Path) -> None:
    assert learnt.returncode == 0, learnt.stderr
    bundle = load_bundle(photographs.parent / "learnt/my-photographs")
    assert json.loads(learnt.stdout)["digest"] == bundle.digest
    assert bundle.classes == (("blue", "blue"), ("green", "green"), ("grey_ones", "grey ones"))
    assert (bundle.crop, bundle.input_size) == (1.0, 224)
    assert 0 < bundle.unsure_below <= 1
    classifier = Classifier(bundle)
    for label, name in enumerate(NAMES):
        for path in sorted((photographs / name).iterdir())[4:]:
            pixels, _ = preprocess(path.read_bytes(), 224, 10**6, bundle.crop)
            assert classifier.probabilities(pixels).argmax() == label


def test_what_was_left_out_is_said(learnt: subprocess.CompletedProcess[str]) -> None:
    assert "left out, because they stand in two classes: green/03.jpg = grey_ones/03.jpg" in learnt.stderr
    assert "left out, 1 in all: blue/00.jpg (the JPEG image is damaged" in learnt.stderr
    assert re.search(r"my-photographs: 3 classes, right for [\d.]+% of 6 held-out photographs", learnt.stderr)
    assert "serve it: make up MODEL=" in learnt.stderr


def test_what_is_served_is_what_was_learnt(learnt: subprocess.CompletedProcess[str], photographs: Path) -> None:
    """The report's accuracy comes from kept features; the served file must give the same answers."""
    assert learnt.returncode == 0
    place = photographs.parent
    bundle = load_bundle(place / "learnt/my-photographs")
    classifier = Classifier(bundle)
    head = _head(bundle.model_path)
    for path in (photographs / "green/05.jpg", photographs / "blue/07.jpg"):
        [one] = [one for one in collect(photographs).photographs if one.path == path]
        [kept] = place.glob(f"cache/*/*/{one.sha256}.npy")
        logits = np.load(kept) @ head[0].T + head[1]
        sizes = logits - logits.max() - np.log(np.exp(logits - logits.max()).sum())
        pixels, _ = preprocess(path.read_bytes(), 224, 10**6, bundle.crop)
        np.testing.assert_allclose(np.log(classifier.probabilities(pixels)), sizes, atol=1e-3)


def _head(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the float32 kernel and bias of a learnt file."""
    from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    tensors = {one["name"]: one for one in interpreter.get_tensor_details()}
    kernel, bias = (tensors[name] for name in ("logits/kernel", "logits/bias"))
    assert kernel["dtype"] == bias["dtype"] == np.float32
    return interpreter.get_tensor(kernel["index"]), interpreter.get_tensor(bias["index"])


def test_report_needs_nothing_from_elsewhere(learnt: subprocess.CompletedProcess[str], photographs: Path) -> None:
    assert learnt.returncode == 0
    page = (photographs.parent / "learnt/my-photographs" / folder.REPORT).read_text()
    assert "://" not in page
    assert set(re.findall(r'(?:src|href)="([^",]*)', page)) <= {"data:image/jpeg;base64"}
    assert "green/03.jpg" in page
    assert "blue/00.jpg" in page
    assert "grey ones" in page


@pytest.mark.long
def test_interrupted_run_goes_on_and_gives_the_same_bytes(
    learnt: subprocess.CompletedProcess[str], photographs: Path, tmp_path: Path
) -> None:
    assert learnt.returncode == 0
    data = Path(shutil.copytree(photographs, tmp_path / "elsewhere"))
    command = _command(data, tmp_path, "--name", "my-photographs")
    with subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        process_group=0,
        preexec_fn=heed_signals,  # noqa: PLW1509  # these tests have no threads
    ) as process:
        while not (kept := set(tmp_path.glob("cache/*/*/*.npy"))) and process.poll() is None:
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        assert process.stderr
        said = process.stderr.read()
    assert process.returncode == 130, said
    assert "stopped; the same command goes on from there" in said
    assert "Traceback" not in said
    assert not list((tmp_path / "learnt").glob("*"))
    times = {path: path.stat().st_mtime_ns for path in kept}
    assert times
    again = _run(command)
    assert again.returncode == 0, again.stderr
    assert {path: path.stat().st_mtime_ns for path in kept} == times
    for file in ("bundle.json", "model.tflite", "classes.json"):
        first = photographs.parent / "learnt/my-photographs" / file
        assert (tmp_path / "learnt/my-photographs" / file).read_bytes() == first.read_bytes()


@pytest.mark.slow
@pytest.mark.usefixtures("learnt")  # the weights are there by then, which are larger than this disk
def test_full_disk_is_said_and_leaves_nothing(photographs: Path, tmp_path: Path) -> None:
    def a_megabyte() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))

    run = _run(_command(photographs, tmp_path), preexec_fn=a_megabyte)
    assert run.returncode == 1
    assert "there is no room on the disk" in run.stderr
    assert "run the same command again" in run.stderr
    assert "Traceback" not in run.stderr
    assert not list((tmp_path / "learnt").glob("*"))


@pytest.mark.parametrize("name", ["lite0", "lite2-160", "imagenet", "keras", "lite9"])
def test_names_of_other_models_are_refused(name: str) -> None:
    with pytest.raises(ModelError, match=f"{name} is the name of a model that comes with this project"):
        check_name(name)


@pytest.mark.parametrize("name", ["", "../x", "Fruit", "a b", ".x", "x" * 41, "ä"])
def test_names_that_are_none_are_refused(name: str) -> None:
    with pytest.raises(ModelError, match="cannot be the name of a model; take NAME="):
        check_name(name)


def test_name_comes_from_the_folder(tmp_path: Path) -> None:
    for name, wanted in (("Fruit & Nuts", "fruit-nuts"), ("été", "t"), ("苹果", "learnt")):
        assert default_name(tmp_path / name) == wanted
        check_name(default_name(tmp_path / name))


def test_taken_name_is_refused_unless_the_photographs_are_the_same(tmp_path: Path, data: Path) -> None:
    target, collection = tmp_path / "fruit", collect(data)
    folder.check_free(target, collection)
    target.mkdir()
    folder.check_free(target, collection)
    (target / "bundle.json").write_text("{}")
    with pytest.raises(ModelError, match=r"was not made by `make learn`; choose another NAME="):
        folder.check_free(target, collection)
    folder.write_record(target, {}, collection)
    for index in range(8):
        (data / f"red/{index:02}.jpg").rename(data / f"green/more{index:02}.jpg")
    write_classes(data.parent / "more", ["red"], 30)
    shutil.rmtree(data / "red")
    shutil.move(data.parent / "more/red", data / "red")
    folder.check_free(target, collect(data))
    shutil.rmtree(data)
    other = collect(write_classes(data, ("blue", "grey_ones")))
    with pytest.raises(ModelError, match=r"the name is taken: .* \(8 of its 24 are in .*\); choose another NAME="):
        folder.check_free(target, other)


def test_what_was_there_stays_until_the_new_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "learnt/fruit"
    with folder.replacing(target) as aside:
        aside.mkdir()
        (aside / "a").write_text("old")
    with pytest.raises(FileNotFoundError), folder.replacing(target) as aside:
        (aside / "a").write_text("into a folder that is not there")
    assert (target / "a").read_text() == "old"
    with folder.replacing(target) as aside:
        aside.mkdir()
        (aside / "b").write_text("new")
    assert [path.name for path in target.iterdir()] == ["b"]
    assert [path.name for path in target.parent.iterdir()] == ["fruit"]
