"""What an upload costs, computed from its header: each price by the limit that it breaks, and what stays below."""

from __future__ import annotations

import contextlib
import re
import struct

import pytest
from PIL import Image

from imagerec_worker import budget
from imagerec_worker.budget import Frame, PngHeader
from imagerec_worker.errors import TooLargeError, UnsupportedFormatError
from imagerec_worker.preprocess import preprocess
from tests.conftest import REPOSITORY
from tests.unit.worker.bomb_files import encode, png, with_chunk

MILLION = 1_000_000


def segment(marker: int, *factors: int, bits: int = 8, width: int = 200, height: int = 100) -> bytes:
    """A frame header of a JPEG whose components have these sampling factors, from its marker's second byte on."""
    parts = b"".join(bytes((number, factor, 0)) for number, factor in enumerate(factors))
    return bytes((marker,)) + struct.pack(">HBHHB", 8 + len(parts), bits, height, width, len(factors)) + parts


FRAMES = {
    "4:2:0": (segment(0xC0, 0x22, 0x11, 0x11), Frame(200, 100, 3, False, 64 * 13 * 7 * 6)),
    "wide blocks": (segment(0xC1, 0x42, 0x11, 0x11), Frame(200, 100, 3, False, 64 * 7 * 7 * 10)),
    "high blocks": (segment(0xC2, 0x11, 0x14), Frame(200, 100, 2, False, 64 * 25 * 4 * 5)),
    "grey": (segment(0xC9, 0x11), Frame(200, 100, 1, True, 64 * 25 * 13)),
    "progressive and arithmetic": (segment(0xCA, 0x11), Frame(200, 100, 1, True, 64 * 25 * 13)),
    "whole blocks": (segment(0xC0, 0x22, width=32, height=16), Frame(32, 16, 1, False, 64 * 2 * 1 * 4)),
}


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_header_tells_the_coefficients(name: str) -> None:
    data, frame = FRAMES[name]
    assert budget.read_frame(data) == frame


@pytest.mark.parametrize("marker", [0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF])
def test_what_no_decoder_reads_is_called_unsupported(marker: int) -> None:
    with pytest.raises(UnsupportedFormatError, match="lossless or hierarchical"):
        budget.read_frame(segment(marker, 0x11))


@pytest.mark.parametrize(
    "data",
    [
        segment(0xC0, 0x11, width=0),
        segment(0xC0, 0x11, width=0, height=0),
        segment(0xC0),
        segment(0xC0, 0x01),
        segment(0xC0, 0x11, 0x10),
        segment(0xC0, 0x11)[:9],
        segment(0xC0, 0x11, 0x11)[:12],
    ],
    ids=["no width", "no size", "no colours", "none across", "none down", "cut in its head", "cut in its colours"],
)
def test_a_frame_header_that_makes_no_sense_is_none(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"no pixels|too early"):
        budget.read_frame(data)


SCANNED = Frame(8, 8, 3, False, 64 * MILLION)
PLAIN = Frame(65_500, 1000, 3, False, 0)
JPEGS = {
    "shrunk by no more than its sides allow": ((PLAIN, 0, 0, 501, 3), "197 MB"),
    "shrunk to the least side": ((PLAIN, 0, 0, 500, 3), None),
    "shrunk by eight": ((Frame(65_500, 65_500, 3, False, 0), 0, 0, 8187, 2), None),
    "not shrunk enough": ((Frame(65_500, 65_500, 3, False, 0), 0, 0, 8188, 2), "537 MB"),
    "bytes of a pixel": ((PLAIN, 0, 0, 501, 4), "262 MB"),
    "in scans": ((Frame(8, 8, 3, False, 100 * MILLION), 0, 1, 1, 3), "201 MB"),
    "in one scan": ((Frame(8, 8, 3, False, 100 * MILLION), 0, 0, 1, 3), None),
    "arithmetic": ((Frame(8, 8, 3, True, 10 * MILLION), 10 * MILLION, 0, 1, 3), "1.7 s"),
    "arithmetic, few bytes": ((Frame(8, 8, 3, True, 16 * MILLION), 0, 0, 1, 3), None),
    "the same without": ((Frame(8, 8, 3, False, 10 * MILLION), 10 * MILLION, 0, 1, 3), None),
    "many scans": ((SCANNED, 0, 32, 1, 3), "1.3 s"),
    "many scans, fewer": ((SCANNED, 0, 25, 1, 3), None),
    "scans of many bytes": ((SCANNED._replace(coefficients=32 * MILLION), 20 * MILLION, 26, 1, 3), "1.0 s"),
    "scans of many bytes, fewer": ((SCANNED._replace(coefficients=32 * MILLION), 20 * MILLION, 25, 1, 3), None),
}


@pytest.mark.parametrize("name", JPEGS)
def test_a_jpeg_has_its_price(name: str) -> None:
    arguments, need = JPEGS[name]
    if need is None:
        budget.check_jpeg(*arguments)
        return
    with pytest.raises(TooLargeError, match=f"the JPEG image needs {need} "):
        budget.check_jpeg(*arguments)


def square_in_scans(megapixels: int) -> Frame:
    side = int((megapixels * MILLION) ** 0.5)
    return budget.read_frame(segment(0xC2, 0x22, 0x11, 0x11, width=side, height=side))


def test_the_manual_says_how_many_scans_may_be() -> None:
    manual = " ".join((REPOSITORY / "services/worker/README.md").read_text().split())
    sizes = re.findall(r"(\d+) million pixels[^.:]*? in (\d+) scans of (\d+) MB", manual)
    assert len(sizes) == 2
    for megapixels, scans, megabytes in (map(int, size) for size in sizes):
        for more, one_more, said in ((0, 0, None), (1, 0, "MB of memory"), (0, 1, "s to decode")):
            arguments = (square_in_scans(megapixels + more), megabytes * MILLION, scans + one_more, 224, 3)
            with contextlib.nullcontext() if said is None else pytest.raises(TooLargeError, match=said):
                budget.check_jpeg(*arguments)


def test_a_jpeg_that_is_decoded_once_more_pays_once_more() -> None:
    budget.check_jpeg(SCANNED, 0, 15, 1, 3)
    with pytest.raises(TooLargeError, match=r"the JPEG image needs 1\.2 s "):
        budget.check_jpeg(SCANNED, 0, 15, 1, 3, times=2)


PNGS = {
    "grey": ((PngHeader(100 * MILLION, 1, 8, 0), 0, 4), "501 MB"),
    "grey of one bit": ((PngHeader(100 * MILLION, 1, 1, 0), 0, 4), "151 MB"),
    "grey of 16 bits": ((PngHeader(30 * MILLION, 1, 16, 0), 0, 4), "301 MB"),
    "colour": ((PngHeader(30 * MILLION, 1, 8, 2), 0, 4), "481 MB"),
    "colour of 16 bits": ((PngHeader(10_000, 10_000, 16, 2), 0, 4), "401 MB"),
    "colour of 16 bits with a key": ((PngHeader(10_000, 10_000, 16, 2), 0, 8), "801 MB"),
    "colour with transparency of 16 bits": ((PngHeader(5000, 5000, 16, 6), 0, 4), r"1\.0 s"),
    "the same, a column less": ((PngHeader(4999, 5000, 16, 6), 0, 4), None),
    "palette": ((PngHeader(30 * MILLION, 1, 8, 3), 0, 4), "151 MB"),
    "grey with transparency": ((PngHeader(30 * MILLION, 1, 8, 4), 0, 4), "361 MB"),
    "colour with transparency": ((PngHeader(30 * MILLION, 1, 8, 6), 0, 4), "601 MB"),
    "high": ((PngHeader(1, 15_555_556, 8, 0), 0, 4), "141 MB"),
    "a row less": ((PngHeader(1, 15_555_555, 8, 0), 0, 4), None),
}


@pytest.mark.parametrize("name", PNGS)
def test_a_png_has_its_price(name: str) -> None:
    arguments, need = PNGS[name]
    if need is None:
        budget.check_png(*arguments)
        return
    with pytest.raises(TooLargeError, match=f"the PNG image needs {need} "):
        budget.check_png(*arguments)


SIDES = (96, 64)
AREA, ROW_BYTES = 96 * 64, 96 * 6
GREEN, CLEAR = Image.new("RGB", SIDES, (40, 200, 90)), Image.new("RGBA", SIDES, (40, 200, 90, 100))
JPEG = encode(GREEN, "JPEG")
DEEP = png(*SIDES, 16, 2)
# The file, and what its decoder holds besides, in bytes.
UPLOADS: dict[str, tuple[bytes, int]] = {
    "JPEG": (JPEG, 3 * AREA),
    "JPEG of four inks": (encode(GREEN.convert("CMYK"), "JPEG"), 4 * AREA),
    "JPEG that Pillow decodes": (JPEG[:-2] + b"\1\2\3" * 50 + JPEG[-2:], 4 * AREA),
    "PNG of 16 bits": (DEEP, 4 * AREA + 4 * ROW_BYTES + 8 * 64),
    "PNG of 16 bits with a key": (with_chunk(DEEP, b"tRNS", bytes(6)), 8 * AREA + 4 * ROW_BYTES + 8 * 64),
    "GIF": (encode(GREEN, "GIF"), 2 * AREA),
    "WEBP": (encode(GREEN, "WEBP"), 7 * AREA),
    "WEBP with transparency": (encode(CLEAR, "WEBP"), 10 * AREA),
    "lossless WEBP": (encode(GREEN, "WEBP", lossless=True), 8 * AREA),
    "lossless WEBP with transparency": (encode(CLEAR, "WEBP", lossless=True), 9 * AREA),
}


@pytest.mark.parametrize("name", UPLOADS)
def test_an_upload_has_the_price_of_its_decoder(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """And three copies of the file."""
    data, decoded_bytes = UPLOADS[name]
    for less, outcome in ((0, contextlib.nullcontext()), (1, pytest.raises(TooLargeError, match="MB of memory"))):
        monkeypatch.setattr(budget, "MAX_MEMORY_BYTES", 3 * len(data) + decoded_bytes - less)
        with outcome:
            assert preprocess(data, 64, MILLION)[1][1:] == SIDES


def test_the_limits_are_those_of_the_manual() -> None:
    budget.check("GIF", 0, 140 * MILLION, 1000 * MILLION)
    with pytest.raises(TooLargeError, match="needs 141 MB of memory to decode, at most 140 MB are spent"):
        budget.check("GIF", 0, 140 * MILLION + 1)
    with pytest.raises(TooLargeError, match=r"needs 1\.0 s to decode, at most 1 s is spent"):
        budget.check("GIF", 0, 0, 1000 * MILLION + 1)
    with pytest.raises(TooLargeError, match="needs 150 MB"):  # three copies of the file
        budget.check("GIF", 50 * MILLION, 0)


TEXTS = {
    "commas": (b"," * (3 * MILLION), "141 MB"),
    "as many commas as may be": (b"," * 2_978_722 + b" " * 33, None),
    "the same and a blank": (b"," * 2_978_722 + b" " * 34, "needs 141 MB"),
    "lists": (b"[" * (2 * MILLION), "164 MB"),
    "objects": (b"{" * (2 * MILLION), "164 MB"),
    "keys": (b":" * MILLION, "142 MB"),
    "texts": (b'"' * (6 * MILLION), "162 MB"),
    "letters beyond ASCII": (b"\xc3\xa9" + b"," * (3 * MILLION), "163 MB"),
    "blanks": (b" " * 12_582_912, None),
    "a blank more": (b" " * 12_582_913, "has 12582913 bytes, at most 12582912 are read"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_json_text_has_its_price(name: str) -> None:
    text, need = TEXTS[name]
    if need is None:
        budget.check_json(text)
        return
    with pytest.raises(TooLargeError, match=need):
        budget.check_json(text)
