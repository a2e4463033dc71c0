"""The folder of photographs: what is taken, what is left out and said, what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from imagerec_model.errors import ModelError
from imagerec_model.learn.photographs import FEWEST, LeftOut, collect, label_of
from imagerec_worker.settings import Settings
from tests.unit.learn.conftest import COLOURS, write_classes, write_photograph


def test_classes_are_the_folders_in_their_order(data: Path) -> None:
    found = collect(data)
    assert found.names == ("blue", "green", "red")
    assert [one.label for one in found.photographs] == [0] * 8 + [1] * 8 + [2] * 8
    assert not found.left_out
    assert not found.in_two_classes


def test_label_has_spaces_for_underscores_and_commas() -> None:
    assert label_of("computer_keyboard") == "computer keyboard"
    assert label_of("Paris, Texas") == "Paris Texas"  # the page takes what follows a comma for synonyms


def test_hidden_files_are_passed_over_and_nested_folders_are_read(data: Path) -> None:
    for litter in (".DS_Store", "Thumbs.db", ".cache/x.jpg"):
        path = data / "red" / litter
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    (data / ".git").mkdir()
    write_photograph(data / "red/more/in here/a.jpg", COLOURS["red"], 77)
    found = collect(data)
    assert found.names == ("blue", "green", "red")
    assert sum(one.label == 2 for one in found.photographs) == 9
    assert not found.left_out


def test_files_beside_the_classes_are_left_out_and_named(data: Path) -> None:
    (data / "notes.txt").write_text("x")
    [one] = collect(data).left_out
    assert one.path.name == "notes.txt"
    assert "beside" in one.reason


def test_a_copy_in_the_same_class_counts_once(data: Path) -> None:
    shutil.copy(data / "red/00.jpg", data / "red/copy.jpg")
    found = collect(data)
    assert len(found.photographs) == 24
    [one] = found.left_out
    assert (one.path.name, one.reason) == ("copy.jpg", "the same photograph as 00.jpg")


def test_a_photograph_in_two_classes_is_left_out_of_both(data: Path) -> None:
    shutil.copy(data / "red/00.jpg", data / "blue/also.jpg")
    found = collect(data)
    assert [[found.show(path) for path in group] for group in found.in_two_classes] == [["blue/also.jpg", "red/00.jpg"]]
    assert len(found.photographs) == 23


def test_a_file_larger_than_a_worker_accepts_is_left_out(data: Path) -> None:
    with (data / "red/huge.jpg").open("wb") as file:
        file.truncate(Settings(Path()).max_bytes + 1)
    [one] = collect(data).left_out
    assert one.reason == "has 20 MiB, workers accept 20"


def test_what_is_no_file_is_left_out(data: Path) -> None:
    (data / "red/gone.jpg").symlink_to("nowhere.jpg")
    [one] = collect(data).left_out
    assert one.reason == "is no file"


def test_a_linked_folder_is_left_out_and_named(data: Path) -> None:
    write_photograph(data.parent / "elsewhere/a.jpg", COLOURS["red"], 77)
    (data / "red/more").symlink_to(data.parent / "elsewhere")
    [one] = collect(data).left_out
    assert one == (data / "red/more", "is a link to a folder; copy that folder")


def _nothing(root: Path) -> None:
    shutil.rmtree(root)


def _a_file(root: Path) -> None:
    shutil.rmtree(root)
    root.write_text("x")


def _no_classes(root: Path) -> None:
    for folder in list(root.iterdir()):
        for index, file in enumerate(folder.iterdir()):
            file.rename(root / f"{folder.name}{index}.jpg")
        folder.rmdir()


def _one_class(root: Path) -> None:
    shutil.rmtree(root / "red")
    shutil.rmtree(root / "green")


def _few(root: Path) -> None:
    for index in range(FEWEST - 1, 8):
        (root / f"red/{index:02}.jpg").unlink()


def _few_by_copies(root: Path) -> None:
    for index in range(4):
        shutil.copy(root / f"red/{index:02}.jpg", root / "green")


def _empty_class(root: Path) -> None:
    (root / "zebra").mkdir()


def _one_level_too_high(root: Path) -> None:
    inner = root.rename(root.with_name("inner"))
    shutil.copytree(inner, root / "train")
    shutil.copytree(inner, root / "val")


def _twins(root: Path) -> None:
    for name in ("caf\u00e9", "cafe\u0301"):
        write_classes(root.parent / name, ["red"])
        (root.parent / name / "red").rename(root / name)


def _same_label(root: Path) -> None:
    (root / "red").rename(root / "bell_pepper")
    (root / "blue").rename(root / "bell pepper")


def _unreadable_name(root: Path) -> None:
    (root / "red").rename(root / "r\ned")


def _no_name(root: Path) -> None:
    (root / "red").rename(root / ",_")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_nothing, "does not exist; make one folder for each class"),
        (_a_file, "is a file, not a folder"),
        (_no_classes, "has no folders of classes; make one folder for each class"),
        (_one_class, "has one class only, blue; two or more are needed"),
        (_few, "each class needs 5 photographs or more (20 are better). red has 4. Add photographs"),
        (_few_by_copies, "red has 4 (left out: 4 also in another class)"),
        (_empty_class, "zebra has 0. Add photographs, or remove the folder"),
        (_one_level_too_high, "name the folder right above the folders of the classes, for example DATA="),
        (_twins, "two folders whose names look alike"),
        (_same_label, "two folders whose names look alike, bell pepper"),
        (_unreadable_name, "rename 'r\\ned'"),
        (_no_name, "must be readable text; rename ',_'"),
    ],
)
def test_refusal_names_the_remedy(data: Path, spoil: object, said: str) -> None:
    spoil(data)  # type: ignore[operator]
    with pytest.raises(ModelError) as refusal:
        collect(data)
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_photographs_that_cannot_be_decoded_are_taken_out(data: Path) -> None:
    collection = collect(data)
    broken = [LeftOut(data / f"red/{index:02}.jpg", "is damaged") for index in range(4)]
    assert len(collection.without(broken[:3]).photographs) == 21
    with pytest.raises(ModelError, match=r"red has 4 \(left out: 00.jpg: is damaged, .*03.jpg: is damaged\)"):
        collection.without(broken)
