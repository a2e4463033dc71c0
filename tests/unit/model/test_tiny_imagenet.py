"""A data folder is found complete or refused with everything that is missing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imagerec_model.errors import ModelError
from imagerec_model.tiny_imagenet import check_layout, load_pixels
from tests.tiny_imagenet import picture, wnid


def test_a_complete_folder_is_listed_in_the_order_of_wnids(data: Path) -> None:
    (data / "wnids.txt").write_text("".join(f"{wnid(index)}\n" for index in (2, 0, 3, 1)))
    layout = check_layout(data)
    assert layout.wnids == (wnid(2), wnid(0), wnid(3), wnid(1))
    assert layout.labels == ("kind 2", "kind 0", "kind 3", "kind 1")  # the first of the synonyms
    assert len(layout.train) == 12
    assert {path.parent.parent.name for path, index in layout.train if index == 0} == {wnid(2)}
    assert [index for _, index in layout.validation] == [1, 3, 0, 2] * 2


def test_pictures_are_decoded_with_their_labels(data: Path) -> None:
    pixels, labels = load_pixels(check_layout(data).train)
    assert (pixels.shape, pixels.dtype) == ((12, 64, 64, 3), np.uint8)
    assert labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    drawn = picture(3, 2).astype(int)
    assert abs(pixels[-1].astype(int) - drawn).mean() < 12  # JPEG loses a little of the noise
    assert abs(pixels[0].astype(int) - drawn).mean() > 30


def test_the_cache_is_read_instead_of_the_pictures_until_they_change(data: Path, tmp_path: Path) -> None:
    files, cache = check_layout(data).train, tmp_path / "cache"
    first, _ = load_pixels(files, cache)
    (stored,) = cache.iterdir()
    marked = first.copy()
    marked[0] = 7
    np.save(stored, marked)
    assert (load_pixels(files, cache)[0] == marked).all()
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(files[0][0])  # a file of another size
    assert (load_pixels(files, cache)[0][0] == 0).all()


def break_nothing_left(data: Path) -> None:
    shutil.rmtree(data)


def break_other_layout(data: Path) -> None:
    (data / "wnids.txt").unlink()
    (data / "val/val_annotations.txt").unlink()
    shutil.rmtree(data / "train")


def break_class_folder(data: Path) -> None:
    shutil.rmtree(data / "train" / wnid(1))


def break_one_picture(data: Path) -> None:
    next((data / "train" / wnid(2) / "images").iterdir()).unlink()


def break_all_training_pictures(data: Path) -> None:
    for path in data.glob("train/*/images/*"):
        path.unlink()


def break_validation_pictures(data: Path) -> None:
    for number in range(5):
        (data / f"val/images/val_{number}.JPEG").unlink()


def break_annotation(data: Path) -> None:
    with (data / "val/val_annotations.txt").open("a") as file:
        file.write("val_0.JPEG\tn99999999\t0\t0\t1\t1\nval_1.JPEG\n")


def break_annotations(data: Path) -> None:
    (data / "val/val_annotations.txt").write_text("\n")


def break_words(data: Path) -> None:
    (data / "words.txt").write_text(f"{wnid(0)}\tkind 0\n")


def break_wnids(data: Path) -> None:
    (data / "wnids.txt").write_text(f"{wnid(0)}\n{wnid(0)}\n")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (break_nothing_left, "does not exist"),
        (break_other_layout, "it lacks wnids.txt, val/val_annotations.txt, train/"),
        (break_class_folder, "train/<wnid>/images lacks pictures of n00000001 (0 of 3)"),
        (break_one_picture, "train/<wnid>/images lacks pictures of n00000002 (2 of 3)"),
        (break_all_training_pictures, "n00000000 (0 of 0), n00000001 (0 of 0), n00000002 (0 of 0) and 1 more"),
        (break_validation_pictures, "val/images lacks val_0.JPEG, val_1.JPEG, val_2.JPEG and 2 more"),
        (break_annotation, "val/val_annotations.txt names no class of wnids.txt for val_0.JPEG, val_1.JPEG"),
        (break_annotations, "val/val_annotations.txt is empty"),
        (break_words, "words.txt has no name for n00000001, n00000002, n00000003"),
        (break_wnids, "wnids.txt must name two or more different classes"),
    ],
    ids=lambda value: value.__name__.removeprefix("break_") if callable(value) else "",
)
def test_a_folder_that_cannot_train_is_refused(data: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(data)
    with pytest.raises(ModelError) as refusal:
        check_layout(data)
    assert message in str(refusal.value)
    assert str(data) in str(refusal.value)
    assert str(refusal.value).endswith("unpack tiny-imagenet-200.zip again and name the folder that holds wnids.txt")


def test_every_reason_is_given_at_once(data: Path) -> None:
    break_words(data)
    break_one_picture(data)
    break_annotations(data)
    with pytest.raises(
        ModelError, match=r"words\.txt has no name.*train/<wnid>/images lacks.*annotations\.txt is empty"
    ):
        check_layout(data)


@pytest.mark.parametrize("kind", ["truncated", "other-size"])
def test_a_picture_that_is_none_is_refused_by_its_path(data: Path, kind: str) -> None:
    files = check_layout(data).train
    if kind == "truncated":
        files[4][0].write_bytes(files[4][0].read_bytes()[:200])
    else:
        Image.fromarray(np.zeros((32, 64, 3), np.uint8)).save(files[4][0])
    reason = "cannot be decoded" if kind == "truncated" else "has 64 × 32 pixels, not 64 × 64"
    with pytest.raises(ModelError, match=reason) as refusal:
        load_pixels(files)
    assert str(files[4][0]) in str(refusal.value)
