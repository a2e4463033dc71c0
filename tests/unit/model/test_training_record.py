"""What a training run leaves behind: settings, history, commits, a plot, and a card for people."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imagerec_model.evaluation import Evaluation
from imagerec_model.model_card import Measured, write_card
from imagerec_model.tiny_imagenet import check_layout
from imagerec_model.training_record import TrainingRecord
from imagerec_model.training_settings import TrainingSettings
from imagerec_worker.bundle import Bundle
from tests.conftest import REPOSITORY

SETTINGS = TrainingSettings(epochs=4, sizes=(32, 48), seed=11)


def entry(epoch: int) -> dict[str, Any]:
    figures = {"loss": 5.0 / epoch, "top1": 0.1 * epoch, "top5": 0.2 * epoch}
    return {
        "epoch": epoch,
        "size": SETTINGS.size_of_epoch(epoch - 1),
        "learning_rate": 0.1,
        **figures,
        **{f"val_{name}": value for name, value in figures.items()},
        "images_per_s": 300.0,
    }


@pytest.fixture
def record() -> TrainingRecord:
    return TrainingRecord(
        SETTINGS, [entry(1), entry(2), entry(3), entry(4)], "tensorflow", "tiny-imagenet-200", ["abc"]
    )


def test_a_record_survives_json(record: TrainingRecord) -> None:
    assert TrainingRecord.of_state(json.loads(json.dumps(dataclasses.asdict(record)))) == record


def test_it_is_written_with_its_plot(record: TrainingRecord, tmp_path: Path) -> None:
    record.write(tmp_path, exported={"chosen": "int8"})
    written = json.loads((tmp_path / "training.json").read_text())
    assert written["settings"]["seed"] == 11
    assert [one["size"] for one in written["history"]] == [32, 32, 48, 48]
    assert written["exported"] == {"chosen": "int8"}
    drawn = np.asarray(Image.open(tmp_path / "training.png").convert("L"))
    assert drawn.shape == (396, 990)
    assert 0.01 < (drawn < 200).mean() < 0.5  # lines and letters, not an empty or a full sheet


PRINT_COMMITS = (
    "from imagerec_model.training_record import TrainingRecord as R\n"
    "from imagerec_model.training_settings import TrainingSettings as S\n"
    "import dataclasses, json, sys\n"
    "record = dataclasses.replace(R.begin(S(), backend='', data=''), commits=json.loads(sys.argv[1]))\n"
    "print(json.dumps(record.resumed().commits))\n"
)


def test_it_names_the_commits_that_made_it(tmp_path: Path) -> None:
    source = tmp_path / "checkout/src"
    shutil.copytree(REPOSITORY / "services/model/src", source, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "checkout/.gitignore").write_text("__pycache__/\n")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")} | {
        "PYTHONPATH": f"{source}:{REPOSITORY}/services/worker/src",
        "GIT_CEILING_DIRECTORIES": str(tmp_path),
    }

    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
        command = ["git", "-C", str(source.parent), *identity, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.strip()

    def commits(before: list[str]) -> list[str]:
        command = [sys.executable, "-c", PRINT_COMMITS, json.dumps(before)]
        output = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
        return list(json.loads(output))

    assert commits([]) == []
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "-m", "First")
    first = git("rev-parse", "HEAD")
    (tmp_path / "checkout/elsewhere.txt").write_text("a change outside of the package")
    assert commits([]) == [first]
    assert commits([first]) == [first]
    with (source / "imagerec_model/errors.py").open("a") as file:
        file.write("\n# changed\n")
    assert commits([first]) == [first, f"{first}-dirty"]


@pytest.fixture
def measured() -> Measured:
    return Measured(
        "int8",
        {
            "int8": Evaluation(12, 6, 10, 1.234, 0.4, (1, 3, 2), (((0, 1), 3), ((2, 0), 2))),
            "float32": Evaluation(12, 7, 11, 2.5, 0.4, (2, 3, 2), ()),
        },
        1_234_567,
    )


def card(folder: Path, bundle: Bundle, record: TrainingRecord, measured: Measured, data: Path, **more: Any) -> str:
    write_card(folder, bundle, record, check_layout(data), measured, **more)
    return (folder / "MODEL_CARD.md").read_text()


def test_the_card_tells_accuracy_failures_classes_and_how_to_retrain(
    tmp_path: Path, colours: Bundle, record: TrainingRecord, measured: Measured, data: Path
) -> None:
    text = card(tmp_path, colours, record, measured, data)
    assert "Red, green or blue, 1.2 MB" in text
    assert "| int8 (shipped) | 50.00% (25.4–74.6) | 83.33% (55.2–95.3) | 1.23 ms |" in text
    assert "| float32 | 58.33%" in text
    assert "| red | green | 3 of 4 |\n| blue | red | 2 of 4 |" in text
    assert "blue (50%), green (75%), red (25%)." in text
    assert "gives its first answer 40%, and that is\n  right in 50%" in text
    assert "`make embedded DATA=" in text
    assert "4 classes of ImageNet, 12 training and\n8 validation pictures" in text
    assert "seed 11" in text
    assert "stopped" not in text


def test_the_card_of_an_unfinished_run_says_so(
    tmp_path: Path, colours: Bundle, record: TrainingRecord, measured: Measured, data: Path
) -> None:
    del record.history[3]
    assert "**The run was stopped after 3 of 4 epochs" in card(tmp_path, colours, record, measured, data)


def test_the_card_shows_answers_on_photographs(
    tmp_path: Path, colours: Bundle, record: TrainingRecord, measured: Measured, data: Path
) -> None:
    pixels = np.zeros((30, 40, 3), np.uint8)
    pixels[:, :, 1] = 200
    Image.fromarray(pixels).save(tmp_path / "meadow.png")
    text = card(tmp_path, colours, record, measured, data, photographs=[tmp_path / "meadow.png"])
    assert "| meadow.png | green 100%" in text
