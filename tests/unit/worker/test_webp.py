"""The first picture of a WebP file: where it stands on its canvas, and what else of the file counts."""

from __future__ import annotations

import struct

import pytest
from PIL import Image

from imagerec_worker.webp import first_picture
from tests.unit.worker.bomb_files import encode

PICTURE = encode(Image.new("RGB", (4, 6), "red"), "WEBP", lossless=True)


def three_bytes(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(3, "little") for number in numbers)


def chunk(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) & 1)


def file(canvas: tuple[int, int], *chunks: bytes) -> bytes:
    body = b"WEBP" + chunk(b"VP8X", bytes(4) + three_bytes(*(side - 1 for side in canvas))) + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def frame(left: int, top: int) -> bytes:
    """A frame with the picture, whose place is given by its half."""
    return chunk(b"ANMF", three_bytes(left // 2, top // 2) + bytes(10) + PICTURE[12:])


def test_a_picture_may_reach_to_the_edges_of_its_canvas() -> None:
    still = first_picture(file((12, 10), frame(8, 4)))
    assert (still.canvas, still.left, still.top, still.size) == ((12, 10), 8, 4, (4, 6))


@pytest.mark.parametrize("canvas", [(11, 10), (12, 9)], ids=["to the right", "below"])
def test_a_picture_that_reaches_beyond_its_canvas_is_none(canvas: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="beyond its canvas"):
        first_picture(file(canvas, frame(8, 4)))


def test_the_first_exif_counts_wherever_it_stands() -> None:
    others = chunk(b"XMP ", b"odd"), chunk(b"EXIF", b"first"), chunk(b"EXIF", b"second"), chunk(b"XMP ", b"more")
    assert first_picture(file((4, 6), PICTURE[12:], *others)).exif == b"first"
    assert first_picture(file((4, 6), *others, PICTURE[12:])).exif == b"first"
    assert first_picture(PICTURE).exif == b""
