"""Requests of recorded sizes hold a photograph that every decoder reads, and have those sizes."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from loadtest.generate.images import jpeg
from loadtest.generate.sized import HEADERS_BYTES, Sized, padded

SMALL = jpeg(Image.fromarray(np.random.default_rng(1).integers(0, 255, (24, 24, 3), dtype=np.uint8)))


@given(more=st.one_of(st.integers(0, 20), st.integers(65_520, 65_560), st.integers(131_060, 131_090)))
@settings(max_examples=80)
def test_a_file_is_made_longer_by_what_is_asked_and_stays_the_same_picture(more: int) -> None:
    longer = padded(SMALL, more)
    assert len(longer) - len(SMALL) == (0 if more < 4 else more)
    with Image.open(io.BytesIO(longer)) as one, Image.open(io.BytesIO(SMALL)) as other:
        assert one.tobytes() == other.tobytes()


@pytest.fixture(scope="module")
def sized() -> Sized:
    return Sized(quality=90, multipart=True)


@pytest.mark.parametrize("size", [2_000, 9_000, 30_003, 150_000, 3_000_000])
def test_a_request_has_the_size_that_is_asked(sized: Sized, size: int) -> None:
    payload = sized.payload(size)
    assert HEADERS_BYTES + len(payload.body) == size
    picture = sized.picture(size)
    assert payload.key == picture.key
    assert picture.data[-1000:] in payload.body


def test_a_larger_request_holds_a_larger_photograph(sized: Sized) -> None:
    sizes = [500, 2_000, 9_000, 30_000, 150_000, 3_000_000]
    mix = sized.mix(sizes)
    assert list(mix) == sorted(mix)
    assert sum(mix.values()) == len(sizes)
    sides = [int(sized.picture(size).key.removesuffix("px")) for size in sizes]
    assert sides == sorted(sides)
    assert sides[0] == 16  # nothing smaller is left
    assert sides[-1] == 2000
