"""A bundle is measured as it is served."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imagerec_model.errors import ModelError
from imagerec_model.evaluation import evaluate, labelled, wilson
from imagerec_worker.bundle import Bundle, ClassName
from tests.unit.worker.conftest import write_colour_bundle


@pytest.mark.parametrize(("right", "of"), [(0, 10), (1, 1), (4, 6), (61, 100), (19_000, 20_000)])
def test_the_interval_is_wilsons(right: int, of: int) -> None:
    """Its ends are the two shares from which the one that was counted lies 1.96 standard errors away (Wilson, 1927)."""
    low, high = wilson(right, of)
    assert low <= right / of <= high
    assert low < high
    for end in (low, high):
        assert abs(right / of - end) == pytest.approx(1.959964 * math.sqrt(end * (1 - end) / of), abs=1e-6)


def square(path: Path, colour: int) -> Path:
    pixels = np.full((20, 20, 3), 30, np.uint8)
    pixels[:, :, colour] = 220
    Image.fromarray(pixels).save(path)
    return path


def test_right_answers_are_counted(colours: Bundle, tmp_path: Path) -> None:
    """Red, green and blue; two carry a wrong label."""
    truth = [(0, 0), (0, 0), (1, 1), (2, 2), (2, 0), (2, 0)]
    files = [(square(tmp_path / f"{number}.png", colour), label) for number, (colour, label) in enumerate(truth)]
    measured = evaluate(colours, files)
    assert (measured.photographs, measured.top1, measured.top5) == (6, 4, 6)  # three classes are among the first five
    assert measured.inference_ms > 0
    assert measured.cpu_ms > 0
    assert measured.summary()["top1"] == pytest.approx(4 / 6)
    assert measured.summary()["top1_interval"] == wilson(4, 6)


def test_labels_are_read_from_the_names(colours: Bundle, tmp_path: Path) -> None:
    red, blue = square(tmp_path / "n00000001_red.png", 0), square(tmp_path / "n00000003_sky.png", 2)
    assert labelled(colours, tmp_path) == [(red, 0), (blue, 2)]


def test_the_class_of_a_learnt_model_may_have_underscores(tmp_path: Path) -> None:
    classes = tuple(ClassName(name, name) for name in ("bell", "bell_pepper", "caf\xe9"))
    bundle = write_colour_bundle(tmp_path / "bundle", classes=classes)
    names = {"bell_1.png": 0, "bell_pepper_1.png": 1, "bell_pepper_of_a_market.png": 1, "cafe\u0301_1.png": 2}
    files = [(square(tmp_path / name, 0), label) for name, label in sorted(names.items())]
    assert labelled(bundle, tmp_path) == files


@pytest.mark.parametrize(("name", "wrong"), [("holiday.png", "holiday.png begins with no class"), (None, "no file")])
def test_a_folder_without_labels_is_refused(colours: Bundle, tmp_path: Path, name: str | None, wrong: str) -> None:
    if name:
        square(tmp_path / name, 0)
    else:
        tmp_path = tmp_path / "empty"
    with pytest.raises(ModelError, match=wrong):
        labelled(colours, tmp_path)


def test_a_file_that_is_no_photograph_is_named(colours: Bundle, tmp_path: Path) -> None:
    (tmp_path / "n00000001_red.png").write_text("not a photograph")
    with pytest.raises(ModelError, match=r"n00000001_red\.png cannot be used: .*; take it out of the folder"):
        evaluate(colours, labelled(colours, tmp_path))
