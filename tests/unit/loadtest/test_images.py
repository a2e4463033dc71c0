"""Pictures: the same bytes every time, labels from folders or names."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from loadtest.errors import LoadtestError
from loadtest.generate.images import find_labelled, labelled, photograph


def picture(path: Path, size: tuple[int, int] = (40, 30)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(1).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("side", [16, 224, 2000])
def test_a_photograph_is_the_same_bytes_every_time(side: int) -> None:
    one, same = photograph(side, quality=90), photograph(side, quality=90)
    assert one == same
    with Image.open(io.BytesIO(one.data)) as opened:
        assert opened.format == "JPEG"
        assert opened.size == (side, side)
    assert len(photograph(side, quality=50).data) < len(one.data)
    assert one.facts()["bytes"] == len(one.data)


def test_an_enlarged_photograph_weighs_what_its_pixels_should() -> None:
    large, small = photograph(2000, quality=90), photograph(400, quality=90)
    assert large.enlarged
    assert not small.enlarged
    ratio = (len(large.data) / 2000**2) / (len(small.data) / 400**2)
    assert 0.4 < ratio < 2.5


def test_labels_come_from_folders_and_from_names(tmp_path: Path) -> None:
    picture(tmp_path / "n01440764" / "tench.png")
    picture(tmp_path / "n01443537_goldfish.png")
    picture(tmp_path / "unlabelled.png")
    found = find_labelled(tmp_path)
    assert [(one.wnid, one.path.name) for one in found] == [
        ("n01440764", "tench.png"),
        ("n01443537", "n01443537_goldfish.png"),
    ]
    made = labelled(found[0], 20, quality=95)
    assert made.key == "n01440764/tench@20"
    with Image.open(io.BytesIO(made.data)) as opened:
        assert opened.size == (20, 20)


def test_a_folder_without_labels_says_how_to_name_them(tmp_path: Path) -> None:
    picture(tmp_path / "cat.png")
    with pytest.raises(LoadtestError, match=r"no labelled image \(1 without a label\).*Name folders by WordNet id"):
        find_labelled(tmp_path)
    with pytest.raises(LoadtestError, match="is no folder"):
        find_labelled(tmp_path / "none")


def test_two_images_of_one_name_are_refused(tmp_path: Path) -> None:
    picture(tmp_path / "a" / "n01440764" / "x.png")
    picture(tmp_path / "b" / "n01440764" / "x.png")
    with pytest.raises(LoadtestError, match="two images named n01440764/x"):
        find_labelled(tmp_path)


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    path = tmp_path / "n01440764_x.jpg"
    path.write_bytes(b"no image")
    with pytest.raises(LoadtestError, match="cannot read the image"):
        labelled(find_labelled(tmp_path)[0], 20, quality=95)
