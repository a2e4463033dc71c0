"""The bundle in the repository: whole, small, honest, and able to tell what a photograph shows."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from imagerec_model.evaluation import wilson
from imagerec_model.get import embedded_folder, get
from imagerec_model.training_settings import TrainingSettings
from imagerec_worker.bundle import BundleError, load_bundle
from imagerec_worker.classifier import Classifier
from imagerec_worker.preprocess import preprocess
from tests.conftest import REPOSITORY, SHARED

FOLDER = embedded_folder()


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    return dict(json.loads((FOLDER / "training.json").read_text()))


def test_it_is_whole_and_at_most_6_megabytes(record: dict[str, Any]) -> None:
    bundle = load_bundle(FOLDER)
    assert (bundle.name, len(bundle.classes), bundle.quantisation) == ("embedded", 200, record["exported"]["chosen"])
    assert bundle.input_size == record["settings"]["serve_size"]
    assert bundle.notice == "embedded model: 200 classes; `make up MODEL=imagenet` for 1000"
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 6_000_000
    assert {path.name for path in FOLDER.iterdir()} == {
        *("bundle.json", "classes.json", "model.tflite", "MODEL_CARD.md", "training.json", "training.png")
    }


@pytest.mark.parametrize("file", ["model.tflite", "classes.json"])
def test_a_flipped_bit_is_refused_by_the_name_of_the_file(tmp_path: Path, file: str) -> None:
    shutil.copytree(FOLDER, tmp_path / "copy")
    path = tmp_path / "copy" / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match=rf"{file} is damaged: its sha256 is [0-9a-f]{{64}}, bundle\.json says"):
        get(str(tmp_path / "copy"), tmp_path / "out")


def test_the_card_says_what_was_measured(record: dict[str, Any]) -> None:
    card = (FOLDER / "MODEL_CARD.md").read_text()
    for name in ("int8", "float32"):
        measured = record["exported"][name]
        assert measured["pictures"] == 10_000
        low, high = wilson(round(measured["top1"] * 10_000), 10_000)
        assert f"{measured['top1']:.2%} ({100 * low:.1f}–{100 * high:.1f})" in card
        assert f"| {measured['top5']:.2%} (" in card
    assert all(one.label in card for one in load_bundle(FOLDER).classes)
    stopped = len(record["history"]) < record["settings"]["epochs"]
    assert ("The run was stopped" in card) == stopped


def test_int8_costs_at_most_a_point_and_a_half_or_is_not_shipped(record: dict[str, Any]) -> None:
    exported = record["exported"]
    lost = exported["float32"]["top1"] - exported["int8"]["top1"]
    assert exported["chosen"] == ("int8" if lost <= 0.015 else "float32")


def test_the_command_without_options_trains_this_network_again(record: dict[str, Any]) -> None:
    settings = {name: tuple(v) if isinstance(v, list) else v for name, v in record["settings"].items()}
    assert TrainingSettings(**settings) == TrainingSettings()
    assert len(record["history"]) == TrainingSettings().epochs
    assert record["commits"]
    assert not any("dirty" in commit for commit in record["commits"])


def test_it_is_the_bundle_that_get_gives(tmp_path: Path) -> None:
    bundle, changed = get("embedded", tmp_path)
    assert changed
    assert bundle.path == tmp_path / "embedded"
    assert bundle.digest == load_bundle(FOLDER).digest
    assert get("embedded", tmp_path, offline=True) == (bundle, False)


def test_the_embedded_bundle_is_found_beside_the_sources_and_in_an_installed_package(tmp_path: Path) -> None:
    assert FOLDER == REPOSITORY / "services/model/embedded"
    installed = tmp_path / "site/imagerec_model"
    shutil.copytree(REPOSITORY / "services/model/src/imagerec_model", installed)
    shutil.copytree(REPOSITORY / "services/model/embedded", installed / "embedded")
    found = subprocess.run(
        [sys.executable, "-c", "from imagerec_model.get import embedded_folder; print(embedded_folder())"],
        env=os.environ | {"PYTHONPATH": f"{installed.parent}:{REPOSITORY}/services/worker/src"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == str(installed / "embedded")


def test_photographs_of_its_classes_are_recognised_far_above_chance() -> None:
    folder = SHARED / "images/imagenet-sample"
    if not folder.is_dir():
        pytest.skip("needs the photographs in ../shared/images")
    classifier = Classifier(load_bundle(FOLDER))
    known = {one.wnid for one in classifier.bundle.classes}
    photographs = [path for path in sorted(folder.iterdir()) if path.name.split("_")[0] in known]
    among_five = 0
    for path in photographs:
        pixels, _ = preprocess(path.read_bytes(), classifier.bundle.input_size, 10**8)
        among_five += path.name.split("_")[0] in {answer.wnid for answer in classifier.classify(pixels, 5)}
    assert len(photographs) == 17
    assert among_five >= 6  # guessing finds 0.4 of them
