"""The report: what it warns of, and that names of files are text in it."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from imagerec_model.learn.examination import Result, examine
from imagerec_model.learn.head import fit
from imagerec_model.learn.photographs import collect
from imagerec_model.learn.report import figures, render
from imagerec_model.learn.split import Pair, split
from tests.unit.learn.conftest import COLOURS, write_classes, write_photograph


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """Two classes of 25 and 8 photographs, of which one stands in the wrong folder and two are nearly the same."""
    root = write_classes(tmp_path_factory.mktemp("report") / "photographs", ["blue", "red"], 25)
    for path in sorted((root / "red").iterdir())[7:]:
        path.unlink()
    (root / "red").rename(root / "<i>red")
    write_photograph(root / '<i>red/"><script>.jpg', COLOURS["blue"], 5000)
    shutil.copy(root / "blue/00.jpg", root / "blue/copy.jpg")
    collection = collect(root)
    features = np.random.default_rng(0).uniform(0, 1, (33, 1280)).astype(np.float32)
    labels = np.array([one.label for one in collection.photographs])
    features[labels == 1, :40] += 3
    wrong = [one.path.name for one in collection.photographs].index('"><script>.jpg')
    assert labels[wrong] == 0
    features[wrong, :40] += 3
    pairs = [Pair(5, 6, 0.97), Pair(wrong, 20, 0.93)]
    parts = split(collection.photographs, pairs, 0)
    learnt = fit(features[parts.learning], labels[parts.learning], parts.folds, 2, lambda _: None)
    return Result("colours", collection, parts, pairs, learnt, examine(learnt, features, labels, parts))


def test_names_are_text(result: Result) -> None:
    page = render(result)
    assert "<script" not in page
    assert "<i>" not in page
    assert "&lt;i&gt;red" in page
    assert "&gt;&lt;script&gt;.jpg" in page


def test_what_is_to_be_mended_is_shown(result: Result) -> None:
    page = render(result)
    assert "Fewer than 20 photographs: &lt;i&gt;red." in page
    assert "Near-duplicates in two classes. Both are used, to learn or to examine;" in page
    assert "Near-duplicates in one class" in page
    assert "the same photograph as 00.jpg" in page
    assert "<b>&lt;i&gt;red</b> taken for <b>blue</b>" in page
    assert "as frames of one film are" not in page
    film = dataclasses.replace(result, split=dataclasses.replace(result.split, threshold=0.98))
    assert "as frames of one film are" in render(film)
    assert "nor photographs nearly like them" in page
    assert "nor photographs nearly like them" not in render(film)


def test_figures_are_the_examinations(result: Result) -> None:
    found = figures(result)
    assert found["photographs"] == found["learnt_from"] + found["held_out"] == 33
    assert found["accuracy"] == result.examination.accuracy().share
    assert (found["near_duplicates"], found["left_out"], found["in_two_classes"]) == (2, 1, 0)


def test_a_class_of_many_has_no_matrix_that_nobody_can_read(result: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    assert 'aria-label="Confusion matrix"' in render(result)
    monkeypatch.setattr("imagerec_model.learn.report._LARGEST_MATRIX", 1)
    page = render(result)
    assert 'aria-label="Confusion matrix"' not in page
    assert "taken for blue: 1 ×" in page


def test_photographs_that_went_away_meanwhile_are_shown_without_a_picture(result: Result) -> None:
    path: Path = result.collection.photographs[6].path
    pictures = render(result).count("<img")
    aside = path.rename(path.with_suffix(".aside"))
    try:
        page = render(result)
    finally:
        aside.rename(path)
    assert f"/{path.name}" in page
    assert page.count("<img") < pictures
