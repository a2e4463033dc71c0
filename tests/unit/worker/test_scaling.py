"""How a picture is made smaller: by which decoder, by what average, and which of its pixels count."""

from __future__ import annotations

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from imagerec_worker.geometry import Target
from imagerec_worker.preprocess import preprocess
from tests.unit.worker.bomb_files import flat
from tests.unit.worker.test_preprocess import encode, gif_on_canvas

LIMIT = 1_000_000
SIZE = 32


@pytest.mark.parametrize(("crop", "gap", "least"), [(1.0, 1, 224), (1.0, 3, 672), (0.875, 1, 256), (0.9, 1, 249)])
def test_a_picture_is_shrunk_to_no_less_than_its_square_needs(crop: float, gap: int, least: int) -> None:
    assert Target(224, crop).least(gap) == least
    assert Target(224, crop).least() == Target(224, crop).least(1)


@pytest.mark.parametrize(("mode", "gap"), [("RGB", 1), ("CMYK", 3)])
@pytest.mark.parametrize(("inputs", "shrunk"), [(1.875, 1.875), (2, 1), (4, 1), (8, 1)])
def test_no_more_is_decoded_than_its_price_counts(
    monkeypatch: pytest.MonkeyPatch, mode: str, gap: int, inputs: float, shrunk: float
) -> None:
    """Sides in multiples of the least. Of libjpeg-turbo's scales those between a half and the whole are left out."""
    decode, seen = simplejpeg.decode_jpeg, []
    monkeypatch.setattr(simplejpeg, "decode_jpeg", lambda *given, **how: seen.append(decode(*given, **how)) or seen[-1])
    preprocess(encode(flat(int(inputs * gap * SIZE), mode), "JPEG"), SIZE, LIMIT)
    assert [each.shape[:2] for each in seen] == [(shrunk * gap * SIZE,) * 2]


def test_beyond_twice_its_size_every_pixel_of_a_photograph_counts() -> None:
    """Stripes of a block each: 20 columns at the smallest scale, 2.5 for each of the network's."""
    stripes = np.tile(np.repeat(np.array([0, 255], np.uint8), 8), (160, 10))
    pixels, _ = preprocess(encode(Image.fromarray(stripes), "JPEG", quality=100), 8, LIMIT)
    assert (pixels.min(), pixels.max()) == (pytest.approx(102, abs=8), pytest.approx(153, abs=8))


@pytest.mark.parametrize("side", [13, 20, 35, 430])
def test_an_average_in_bands_is_that_of_the_whole(side: int) -> None:
    """What is left over by its blocks is cut from both sides."""
    picture = Image.fromarray(np.random.default_rng(4).integers(0, 256, (side, side, 3), np.uint8))
    factor = side // (3 * 2)
    edge = side % factor // 2
    blocks = picture.crop((edge, edge, edge + side - side % factor, edge + side - side % factor)).reduce(factor)
    pixels, _ = preprocess(encode(picture, compress_level=1), 2, LIMIT)
    np.testing.assert_array_equal(pixels, np.asarray(blocks.resize((2, 2), Image.Resampling.BICUBIC)))


@pytest.mark.parametrize("place", [0, 3, 8, 14, 24, 30])
@pytest.mark.parametrize("upright", [False, True], ids=["wide", "high"])
def test_of_a_frame_on_a_canvas_is_seen_what_lies_in_the_square(upright: bool, place: int) -> None:
    """The canvas has 40 by 16 pixels, its square begins at the twelfth, and the frame has 8 by 8."""
    file = gif_on_canvas(16, 40, 4, place) if upright else gif_on_canvas(40, 16, place, 4)
    pixels, _ = preprocess(file, 16, LIMIT)
    expected = np.zeros((16, 16), bool)
    expected[4:12, max(0, place - 12) : max(0, place - 4)] = True
    np.testing.assert_array_equal((pixels != 255).any(axis=2), expected.T if upright else expected)
