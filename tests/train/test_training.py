"""A real training run: interrupted, resumed, exported, and classifying. Needs the environment of `make setup-keras`."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imagerec_model.augment import resize, to_input
from imagerec_model.cli import main
from imagerec_model.tiny_imagenet import check_layout, load_pixels
from imagerec_worker.bundle import load_bundle
from imagerec_worker.classifier import Classifier
from tests.tiny_imagenet import picture, write_data

keras = pytest.importorskip("keras", reason="needs Keras and TensorFlow; run `make test-train`")
pytest.importorskip("tensorflow", reason="needs Keras and TensorFlow; run `make test-train`")
from imagerec_model.training import load_run  # noqa: E402  # it imports Keras

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # they are TensorFlow's and Keras' own

CLASSES = 4
OPTIONS = (
    *("--epochs", "6", "--sizes", "24", "--serve-size", "24", "--batch", "16", "--width", "0.25"),
    *("--strides", "2,2,2,2,2,1,1,1", "--learning-rate", "0.05", "--seed", "5"),
)


@dataclass(frozen=True, slots=True)
class Run:
    """A folder of a training run, and the data it learned from."""

    folder: Path
    data: Path

    @property
    def state(self) -> dict[str, Any]:
        """The checkpoint's description."""
        return dict(json.loads((self.folder / "checkpoint.json").read_text()))

    def train(self, *more: str) -> int:
        """Run the command in this process."""
        return main(["train", "--data", str(self.data), "--out", str(self.folder), *OPTIONS, *more])

    def history(self) -> list[dict[str, Any]]:
        """Return the figures of each epoch but its speed."""
        return [
            {name: figure for name, figure in entry.items() if name != "images_per_s"}
            for entry in self.state["record"]["history"]
        ]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data") / "tiny", classes=CLASSES, train=80, validation=20)


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that nothing interrupted."""
    run = Run(tmp_path_factory.mktemp("whole"), data)
    assert run.train() == 0
    return run


@pytest.fixture(scope="module")
def resumed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that SIGTERM ended after its first epoch, and that was then resumed."""
    run = Run(tmp_path_factory.mktemp("resumed"), data)

    def terminate() -> None:
        while not (run.folder / "checkpoint.json").is_file():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    watcher = threading.Thread(target=terminate, daemon=True)
    said = io.StringIO()
    try:
        watcher.start()
        with contextlib.redirect_stderr(said):
            assert run.train() == 130
    finally:
        signal.signal(signal.SIGTERM, before)
    assert "the same command with --resume goes on after the last epoch" in said.getvalue()
    assert 1 <= len(run.history()) < 6
    assert not (run.folder / "training.json").exists()
    assert run.train("--resume") == 0
    return run


def test_it_learns(whole: Run) -> None:
    history = whole.history()
    assert [entry["epoch"] for entry in history] == [1, 2, 3, 4, 5, 6]
    assert [entry["size"] for entry in history] == [24] * 6
    assert history[-1]["loss"] < history[0]["loss"]
    assert history[-1]["top1"] > 2 / CLASSES  # guessing gets one of four
    assert history[-1]["learning_rate"] == pytest.approx(0, abs=1e-6)
    assert (whole.folder / "training.png").read_bytes().startswith(b"\x89PNG")
    written = json.loads((whole.folder / "training.json").read_text())
    assert written["settings"]["seed"] == 5
    assert written["backend"] == "tensorflow"
    assert written["data"] == "tiny"


def test_a_resumed_run_goes_the_way_of_the_uninterrupted_one(whole: Run, resumed: Run) -> None:
    """Every batch comes from the seed and the checkpoint holds the momenta too; parallel sums may round differently."""
    assert [entry["loss"] for entry in resumed.history()] == pytest.approx(
        [entry["loss"] for entry in whole.history()], rel=1e-3
    )
    assert [entry["learning_rate"] for entry in resumed.history()] == pytest.approx(
        [entry["learning_rate"] for entry in whole.history()]
    )


def test_a_finished_run_has_one_checkpoint_and_nothing_half_written(resumed: Run) -> None:
    left = sorted(path.name for path in resumed.folder.iterdir())
    assert left == ["cache", "checkpoint.json", "epoch-006.keras", "training.json", "training.png"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "holds a checkpoint; add --resume to go on from it, or name another folder"),
        (
            ["--resume", "--batch", "8", "--seed", "6"],
            "of other settings: batch, seed; repeat the first call's options",
        ),
    ],
    ids=["not-resumed", "other-settings"],
)
def test_a_checkpoint_is_not_overwritten(
    whole: Run, more: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = whole.state
    assert whole.train(*more) == 1
    assert message in capsys.readouterr().err
    assert whole.state == before


def test_a_checkpoint_of_other_classes_is_refused(
    whole: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_data(tmp_path / "tiny", classes=5)
    assert Run(whole.folder, other).train("--resume") == 1
    assert "is of other classes" in capsys.readouterr().err
    assert export(whole.folder, other, tmp_path / "bundle") == 1
    assert "was trained on other classes" in capsys.readouterr().err
    assert not (tmp_path / "bundle").exists()


def test_nothing_to_resume_is_refused(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert Run(tmp_path, data).train("--resume") == 1
    assert "holds no checkpoint to resume; leave out --resume to begin" in capsys.readouterr().err
    assert export(tmp_path, data, tmp_path / "bundle") == 1
    assert "holds no trained network; run `imagerec-model train` first" in capsys.readouterr().err


def test_too_few_pictures_for_a_batch_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = write_data(tmp_path / "few", classes=2, train=2)
    assert Run(tmp_path / "run", few).train() == 1
    assert "4 training pictures do not fill a batch of 16; lower batch" in capsys.readouterr().err


def export(run: Path, data: Path, out: Path) -> int:
    return main(["export", "--data", str(data), "--run", str(run), "--out", str(out)])


@pytest.fixture(scope="module")
def exported(whole: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "embedded"
    assert export(whole.folder, whole.data, folder) == 0
    return folder


def test_the_exported_bundle_classifies_as_the_worker_does(exported: Path) -> None:

    bundle = load_bundle(exported)
    assert (bundle.name, bundle.input_size, len(bundle.classes)) == ("embedded", 24, CLASSES)
    assert bundle.notice == "embedded model: 4 classes; `make up MODEL=imagenet` for 1000"
    classifier = Classifier(bundle)
    shown = [(index, seed) for index in range(CLASSES) for seed in range(20_000, 20_010)]
    right = 0
    for index, seed in shown:
        probabilities = classifier.probabilities(resize(picture(index, seed)[np.newaxis], 24)[0])
        assert probabilities.sum() == pytest.approx(1, abs=1e-3)
        right += int(probabilities.argmax()) == index
    assert right > len(shown) / 2


def test_both_exports_are_measured_and_the_card_and_the_record_lie_beside(exported: Path) -> None:
    assert {path.name for path in exported.iterdir()} == {
        *("bundle.json", "classes.json", "model.tflite", "MODEL_CARD.md", "training.json", "training.png")
    }
    measured = json.loads((exported / "training.json").read_text())["exported"]
    assert measured["int8"]["pictures"] == measured["float32"]["pictures"] == 80
    chosen = measured[measured["chosen"]]
    assert chosen["top1"] > 0.5
    assert f"| {measured['chosen']} (shipped) | {chosen['top1']:.2%}" in (exported / "MODEL_CARD.md").read_text()
    if measured["chosen"] == "int8":
        assert (exported / "model.tflite").stat().st_size < 1_500_000


def test_the_exported_network_says_what_keras_says(whole: Run, exported: Path) -> None:
    trained, record, _ = load_run(whole.folder)
    pixels, _ = load_pixels(check_layout(whole.data).validation)
    logits = trained.predict_on_batch(to_input(pixels, record.settings.serve_size))
    wanted = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    classifier = Classifier(load_bundle(exported))
    said = np.array([classifier.probabilities(one) for one in resize(pixels, record.settings.serve_size)])
    assert np.abs(said - wanted).mean() < 0.05
    assert (said.argmax(axis=1) == wanted.argmax(axis=1)).mean() > 0.9


def test_keras_own_network_is_exported_with_the_classes_of_imagenet(tmp_path: Path) -> None:
    assert main(["keras", "--weights", "none", "--out", str(tmp_path / "keras")]) == 0

    bundle = load_bundle(tmp_path / "keras")
    assert (bundle.name, bundle.version, bundle.input_size) == ("keras", "1.0-float32-random", 224)
    assert len(bundle.classes) == 1000
    probabilities = Classifier(bundle).probabilities(np.full((224, 224, 3), 99, np.uint8))
    assert probabilities.sum() == pytest.approx(1, abs=1e-3)
