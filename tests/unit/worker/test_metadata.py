"""Metadata: the orientation is read, and nothing else of it can cost time or memory."""

from __future__ import annotations

import contextlib
import io
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from imagerec_worker.errors import TooLargeError
from imagerec_worker.metadata import orientation_of, without_metadata
from imagerec_worker.preprocess import preprocess

SIZE, LIMIT = 24, 50_000_000
MEGABYTE = 1_000_000


def encode(kind: str, **options: object) -> bytes:
    """A small picture in which every block of pixels differs."""
    pixels = np.random.default_rng(6).integers(0, 256, (32, 32, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


JPEG, PNG, GIF = encode("JPEG"), encode("PNG"), encode("GIF")
GIF_HEADER = 13 + 768


def jpeg(segment: bytes, size: int) -> bytes:
    return JPEG[:2] + segment * (size // len(segment)) + JPEG[2:]


def png(piece: bytes, size: int) -> bytes:
    return PNG[:33] + piece * (size // len(piece)) + PNG[33:]


def gif(piece: bytes, size: int) -> bytes:
    return GIF[:GIF_HEADER] + piece * (size // len(piece)) + GIF[GIF_HEADER:]


def exif(entries: int, order: str = ">", orientation: int | None = None, kind: int = 3, size: int = 0) -> bytes:
    """An EXIF block of ``entries`` directory entries, each of which claims the same ``size`` bytes."""
    head = (b"MM" if order == ">" else b"II") + struct.pack(f"{order}HIH", 42, 8, entries)
    number = entries - (orientation is not None)
    block = head + b"".join(struct.pack(f"{order}HHII", 0x8000 + index, 7, size, 0) for index in range(number))
    if orientation is not None:
        value = struct.pack(f"{order}H2x" if kind == 3 else f"{order}I", orientation)
        block += struct.pack(f"{order}HHI", 0x0112, kind, 1) + value
    return block + b"\0\0\0\0" + bytes(size)


FLOODS: dict[str, Callable[[], bytes]] = {
    "JPEG comments": lambda: jpeg(b"\xff\xfe\0\2", 8 * MEGABYTE),
    "JPEG EXIF in pieces of a byte": lambda: jpeg(b"\xff\xe1\0\x09Exif\0\0x", 8 * MEGABYTE),
    "JPEG EXIF of entries that share their bytes": lambda: jpeg(
        b"\xff\xe1" + struct.pack(">H", 65_533) + (b"Exif\0\0" + exif(3000, size=29_000)).ljust(65_531, b"\0"), 700_000
    ),
    "JPEG tables": lambda: jpeg(b"\xff\xdb\0\2", 8 * MEGABYTE),
    "JPEG padding": lambda: jpeg(b"\xff", 8 * MEGABYTE),
    "JPEG padding before no marker": lambda: JPEG[:2] + b"\xff" * 40_000 + b"\0" + JPEG[2:],
    "JPEG resources": lambda: jpeg(
        b"\xff\xed" + struct.pack(">H", 60_016) + b"Photoshop 3.0\0" + b"8BIM\0\0\0\0\0\0\0\0" * 5000, 8 * MEGABYTE
    ),
    "PNG text": lambda: png(chunk(b"tEXt", b"a\0b"), 8 * MEGABYTE),
    "PNG text behind a chunk of digits": lambda: png(chunk(b"a1b_") + chunk(b"tEXt", b"a\0b") * 1000, 8 * MEGABYTE),
    "PNG pixels in empty pieces": lambda: png(chunk(b"IDAT"), 8 * MEGABYTE),
    "PNG profiles of a megabyte": lambda: png(chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(1 << 20))), MEGABYTE),
    "PNG EXIF of entries that share their bytes": lambda: png(
        chunk(b"eXIf", exif(30_000, size=3 * MEGABYTE)), 4 * MEGABYTE
    ),
    "GIF comments": lambda: gif(b"!\xfe\1x\0", 2 * MEGABYTE),
    "GIF comment in pieces of a byte": lambda: (
        GIF[:GIF_HEADER] + b"!\xfe" + b"\1x" * MEGABYTE + b"\0" + GIF[GIF_HEADER:]
    ),
    "GIF padding": lambda: gif(b"\1", 8 * MEGABYTE),
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
def test_a_flood_of_metadata_costs_nothing(flood: Callable[[], bytes]) -> None:
    """Pillow alone takes from one to a hundred seconds for them, or gigabytes."""
    data = flood()
    pixels, _ = preprocess({b"\xff\xd8": JPEG, b"\x89P": PNG, b"GI": GIF}[data[:2]], SIZE, LIMIT)
    start_s = time.process_time()
    try:
        seen, info = preprocess(data, SIZE, LIMIT)
    except TooLargeError:
        pass
    else:
        assert (info.width, info.height) == (32, 32)
        assert np.array_equal(seen, pixels)
    assert time.process_time() - start_s < 0.5


SAME = [
    b"\0",
    b"\1",
    b" ",
    b"!",
    b",",
    b";",
    b"\xd8",
    b"\xff",
    b"\xff\xd0",
    b"\xff\xda",
    b"\xff\xe1\0\2",
    b"!\xfe\0",
    b"IDAT",
]


@pytest.mark.parametrize("same", SAME)
def test_a_run_of_the_same_bytes_costs_little_wherever_it_stands(same: bytes) -> None:
    """What takes time in the square of its length takes seconds here, and days for an upload."""
    run = same * (20_000 // len(same))
    for kind, file in (("JPEG", JPEG), ("PNG", PNG), ("GIF", GIF)):
        for place in range(2, len(file), len(file) // 8):
            for behind in (b"", b"\0"):
                start_s = time.process_time()
                with contextlib.suppress(TooLargeError, ValueError):
                    without_metadata(kind, file[:place] + run + behind + file[place:])
                assert time.process_time() - start_s < 0.5


# libjpeg-turbo complains of these, behind the pixels, and Pillow decodes.
EXTRANEOUS = b"\1\2\3" * 50


@pytest.mark.parametrize("end", [b"", b"\xff\xd9"], ids=["without its end", "whole"])
def test_a_flood_of_metadata_costs_nothing_where_pillow_decodes(end: bytes) -> None:
    """Joined and read by Pillow, half a megabyte takes a hundred."""
    flood = FLOODS["JPEG EXIF of entries that share their bytes"]()[:-2] + EXTRANEOUS + end
    pixels, _ = preprocess(JPEG[:-2] + EXTRANEOUS + end, SIZE, LIMIT)
    tracemalloc.start()
    try:
        seen, _ = preprocess(flood, SIZE, LIMIT)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert np.array_equal(seen, pixels)
    assert peak < 3 * len(flood)


def sequential_scans(number: int) -> bytes:
    """A JPEG that is not progressive, claims 7000 by 7000 pixels, and has empty scans of its first component."""
    frame, scan = JPEG.index(b"\xff\xc0"), JPEG.index(b"\xff\xda")
    head = JPEG[: frame + 5] + struct.pack(">HH", 7000, 7000) + JPEG[frame + 9 : scan]
    return head + b"\xff\xda\0\x08\1\1\0\0\x3f\0" * number + b"\xff\xd9"


def test_endless_scans_are_counted_in_any_jpeg() -> None:
    """10,000 scans are 100 kB and a minute and a half of work."""
    with pytest.raises(TooLargeError, match="more than 32 scans"):
        preprocess(sequential_scans(10_000), SIZE, LIMIT)


def test_scans_between_endless_restarts_are_counted() -> None:
    head, scan = JPEG[: JPEG.index(b"\xff\xda")], b"\xff\xda\0\x08\1\1\0\0\x3f\0"
    with pytest.raises(TooLargeError, match="more than 32 scans"):
        without_metadata("JPEG", head + (scan + b"\xff\xd0" * 10_000) * 33)


def test_what_only_looks_like_scans_is_not_counted() -> None:
    """Motion photographs carry a film behind the image, and any bytes may stand in a segment."""
    film = JPEG + b"\xff\xda" * 1000
    assert np.array_equal(preprocess(film, SIZE, LIMIT)[0], preprocess(JPEG, SIZE, LIMIT)[0])
    scan = JPEG.index(b"\xff\xda")
    comment = b"\xff\xfe" + struct.pack(">H", 2002) + b"\xff\xda" * 1000
    progressive = JPEG[:scan] + JPEG[scan:-2] + comment + b"\xff\xd9"
    assert preprocess(progressive, SIZE, LIMIT)[1].width == 32


SOI, EOI = 2, b"\xff\xd9"
FRAME = JPEG.index(b"\xff\xc0")
XMP = b"\xff\xe1\0\x08abcdef"
APP1 = b"\xff\xe1\0\x09Exif\0\0%d"


def marked(marker: int, content: bytes = b"") -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(content) + 2) + content


def in_jpeg(*segments: bytes) -> bytes:
    return JPEG[:SOI] + b"".join(segments) + JPEG[SOI:]


DROPPED = {
    "JPEG with nothing": (JPEG, JPEG),
    "JPEG with an empty comment": (in_jpeg(marked(0xFE)), JPEG),
    "JPEG with its height before its pixels": (in_jpeg(marked(0xDC, b"\0\x20")), JPEG),
    "JPEG with a profile, and the last of its kind": (in_jpeg(marked(0xE2, b"a"), marked(0xEF, b"b")), JPEG),
    "JPEG with restarts and padding": (in_jpeg(b"\xff\xd0", b"\xff\xff\xff\xd7"), JPEG),
    "JPEG without its end": (JPEG[:-2], JPEG[:-2]),
    "PNG with nothing": (PNG, PNG),
    "PNG with a text": (png(chunk(b"tEXt", b"a\0b"), 30), PNG),
    "PNG with bytes behind its end": (PNG + b"more", PNG),
    "PNG without its end": (PNG[:-12], PNG[:-12]),
    "GIF with nothing": (GIF, GIF),
    "GIF with a comment": (gif(b"!\xfe\1x\0", 5), GIF),
    "GIF cut in a comment": (GIF[:GIF_HEADER] + b"!\xfe\1x", GIF[:GIF_HEADER]),
    "GIF cut in its header": (GIF[:10], GIF[:10]),
    "GIF without a palette": (
        GIF[:10] + b"\0" + GIF[11:13] + b"!\xfe\0" + GIF[GIF_HEADER:],
        GIF[:10] + b"\0" + GIF[11:13] + GIF[GIF_HEADER:],
    ),
}


@pytest.mark.parametrize("name", DROPPED)
def test_a_file_without_its_metadata_is_this_one(name: str) -> None:
    given, expected = DROPPED[name]
    kind = {b"\xff\xd8": "JPEG", b"\x89P": "PNG", b"GI": "GIF"}[given[:2]]
    assert without_metadata(kind, given).data == expected


def test_what_a_jpeg_is_made_of_is_told() -> None:
    plain = without_metadata("JPEG", in_jpeg(XMP, APP1 % 1, APP1 % 2))
    assert (plain.exif, plain.data) == (b"Exif\0\0" + b"1", JPEG)
    assert plain.frame == JPEG[FRAME + 1 : FRAME + 2 + int.from_bytes(JPEG[FRAME + 2 : FRAME + 4], "big")]
    assert (plain.scans, plain.ended) == (0, True)
    assert not without_metadata("JPEG", JPEG[:-2]).ended
    for kind, data in (("PNG", PNG), ("GIF", GIF)):
        assert without_metadata(kind, data) == (data, b"", b"", 0, True)


@pytest.mark.parametrize("marker", [0xC0, 0xC1, 0xC9])
def test_only_a_scan_of_all_colours_is_the_only_one(marker: int) -> None:
    data = JPEG[:FRAME] + bytes((0xFF, marker)) + JPEG[FRAME + 2 :]
    assert without_metadata("JPEG", data).scans == 0
    scan = data.index(b"\xff\xda")
    one_colour = data[:scan] + b"\xff\xda\0\x08\1\1\0\0\x3f\0" + EOI
    assert without_metadata("JPEG", one_colour).scans == 1


def test_a_progressive_jpeg_comes_in_scans() -> None:
    assert without_metadata("JPEG", encode("JPEG", progressive=True)).scans == 10


@pytest.mark.parametrize("behind", [encode("JPEG", progressive=True), b"\xff\xda" * 20 + EOI], ids=["another", "film"])
def test_the_scans_of_what_stands_behind_the_first_picture_do_not_count(behind: bytes) -> None:
    assert without_metadata("JPEG", encode("JPEG", progressive=True) + behind).scans == 10


@pytest.mark.parametrize("segment", [marked(0xDD, b"\0\4"), marked(0xEE, b"Adobe"), marked(0xCC), marked(0xC4)])
def test_what_decoders_need_of_a_jpeg_stays(segment: bytes) -> None:
    data = in_jpeg(segment)
    assert without_metadata("JPEG", data).data == data


@pytest.mark.parametrize(
    "data",
    [
        in_jpeg(marked(0xC8)),
        in_jpeg(marked(0xF0)),
        in_jpeg(marked(0x01)),
        in_jpeg(b"\xff\xfe\0\1"),
        in_jpeg(marked(0xDA)),
        JPEG[:FRAME],
        JPEG[:FRAME] + JPEG[FRAME : JPEG.index(b"\xff\xc4")] * 2 + JPEG[JPEG.index(b"\xff\xc4") :],
    ],
    ids=["reserved", "of another kind", "temporary", "of one byte", "pixels without frame", "no pixels", "two frames"],
)
def test_a_jpeg_whose_structure_makes_no_sense_is_none(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"no header has|before their frame|before its pixels|two frames"):
        without_metadata("JPEG", data)


def test_of_a_png_the_first_header_and_the_first_exif_count() -> None:
    plain = without_metadata("PNG", PNG[:33] + chunk(b"eXIf", b"first") + chunk(b"eXIf", b"second") + PNG[33:])
    assert (plain.exif, plain.data) == (b"first", PNG)
    with pytest.raises(ValueError, match="two headers"):
        without_metadata("PNG", PNG[:33] + PNG[8:])


PIECES = {"JPEG": (marked(0xFE), jpeg), "PNG": (chunk(b"tEXt"), png), "GIF": (b"!\xfe\0", gif)}


@pytest.mark.parametrize("kind", PIECES)
def test_a_file_may_have_fifty_thousand_blocks(kind: str) -> None:
    piece, repeated = PIECES[kind]
    few = repeated(piece, 49_950 * len(piece))
    assert without_metadata(kind, few).data == {"JPEG": JPEG, "PNG": PNG, "GIF": GIF}[kind]
    with pytest.raises(TooLargeError, match="more than 50000 blocks"):
        without_metadata(kind, repeated(piece, 50_000 * len(piece)))


def test_a_webp_of_too_many_blocks_costs_too_much() -> None:
    canvas = b"VP8X" + struct.pack("<I", 10) + bytes(10)
    with pytest.raises(TooLargeError, match="the WEBP image is cut into more than 50000 blocks"):
        preprocess(b"RIFF" + bytes(4) + b"WEBP" + canvas + b"XMP \0\0\0\0" * 50_000, SIZE, LIMIT)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF"])
def test_metadata_is_taken_off_and_the_pixels_stay(kind: str) -> None:
    options = {
        "JPEG": {"comment": b"secret", "icc_profile": b"secret" * 20_000, "exif": b"Exif\0\0" + exif(1, orientation=6)},
        "PNG": {"icc_profile": b"secret" * 20_000, "exif": exif(1, orientation=6)},
        "GIF": {"comment": b"secret"},
    }[kind]
    data = encode(kind, **options)
    plain = without_metadata(kind, data)
    assert len(plain.data) <= len(encode(kind))
    assert b"secret" not in plain.data
    assert orientation_of(plain.exif) == (1 if kind == "GIF" else 6)
    with Image.open(io.BytesIO(data)) as before, Image.open(io.BytesIO(plain.data)) as after:
        assert np.array_equal(np.asarray(before.convert("RGB")), np.asarray(after.convert("RGB")))


def test_transparency_of_a_gif_and_of_a_palette_stays() -> None:
    picture = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    picture.paste((0, 0, 255, 255), (0, 0, 4, 8))
    for kind, stored in (("GIF", picture), ("PNG", picture.quantize())):
        buffer = io.BytesIO()
        stored.save(buffer, kind)
        with Image.open(io.BytesIO(without_metadata(kind, buffer.getvalue()).data)) as plain:
            assert plain.has_transparency_data


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [3, 4], ids=["short", "long"])
@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0"], ids=["bare", "prefixed"])
def test_the_orientation_is_read_in_either_byte_order(order: str, kind: int, prefix: bytes) -> None:
    assert orientation_of(prefix + exif(5, order, orientation=8, kind=kind)) == 8


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"II",
        b"XX" + exif(1, orientation=6)[2:],
        exif(1, orientation=9),
        exif(1, orientation=0),
        exif(3),
        exif(1, orientation=6)[:19],
        b"MM\0\x2a\xff\xff\xff\xff",
        exif(2000, orientation=6),
        exif(1, orientation=6).replace(b"\1\x12\0\3\0\0\0\1", b"\1\x12\0\3\0\0\0\2"),
        exif(1, orientation=6, kind=4).replace(b"\1\x12\0\4", b"\1\x12\0\x09"),
        exif(1, orientation=6).replace(b"\1\x12\0\3", b"\1\x13\0\3"),
    ],
    ids=[
        "none",
        "short",
        "no order",
        "nine",
        "zero",
        "absent",
        "cut",
        "far away",
        "behind a thousand entries",
        "two of it",
        "of another kind",
        "another tag",
    ],
)
def test_an_orientation_that_makes_no_sense_is_none(block: bytes) -> None:
    assert orientation_of(block) == 1
