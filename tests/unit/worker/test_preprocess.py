"""Preprocessing: any accepted image becomes the right square of pixels, anything else its own error."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from imagerec_worker.errors import BrokenImageError, TooLargeError, UnsupportedFormatError
from imagerec_worker.preprocess import ImageInfo, preprocess

Pixels = npt.NDArray[np.uint8]
SIZE = 24
LIMIT = 10_000_000


def encode(image: Image.Image | Pixels, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, kind, **options)
    return buffer.getvalue()


def encode_turned(upright: Pixels, orientation: int, kind: str, **options: Any) -> bytes:
    """Store ``upright`` as a camera held that way would, with the orientation in EXIF."""
    turns = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(np.ascontiguousarray(turns[orientation]), kind, exif=exif, **options)


def reference(data: bytes, size: int, crop: float = 1.0) -> Pixels:
    """The slow way: everything whole, then upright, on white, centre square or a part of it, bicubic."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    image = image.convert("RGB")
    side = max(1, round(min(image.size) * crop))
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    return np.asarray(square.resize((size, size), Image.Resampling.BICUBIC))


def difference(left: Pixels, right: Pixels) -> float:
    """Mean absolute difference, in steps of 255."""
    return float(np.abs(left.astype(int) - right.astype(int)).mean())


@st.composite
def pictures(draw: st.DrawFn, longest: int = 90) -> Pixels:
    """Colour pictures of any shape: a few patches and some noise."""
    height, width = draw(st.integers(1, longest)), draw(st.integers(1, longest))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    patches = generator.integers(0, 256, (4, 4, 3), np.uint8)
    smooth = np.asarray(Image.fromarray(patches).resize((width, height), Image.Resampling.BILINEAR)).astype(int)
    return np.clip(smooth + generator.integers(-8, 9, smooth.shape), 0, 255).astype(np.uint8)


CROPS = st.sampled_from([1.0, 0.875, 0.5])
MODES = st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA"])


@given(pictures(), MODES, st.sampled_from(["PNG", "GIF", "WEBP"]), CROPS)
def test_any_picture_becomes_what_the_reference_makes_of_it(picture: Pixels, mode: str, kind: str, crop: float) -> None:
    image = Image.fromarray(picture)
    if mode in {"LA", "RGBA"}:
        alpha = Image.fromarray(np.ascontiguousarray(picture[..., 0]))
        image.putalpha(alpha)
    data = encode(image.convert(mode), kind, **({"lossless": True} if kind == "WEBP" else {}))
    pixels, info = preprocess(data, SIZE, LIMIT, crop)
    assert pixels.shape == (SIZE, SIZE, 3)
    assert pixels.dtype == np.uint8
    assert info == ImageInfo(kind, picture.shape[1], picture.shape[0])
    assert np.abs(pixels.astype(int) - reference(data, SIZE, crop)).max() <= 2


@given(pictures(longest=400), st.booleans(), st.booleans(), st.sampled_from([0, 1, 2]), CROPS)
def test_a_jpeg_of_any_size_becomes_nearly_what_the_reference_makes_of_it(
    picture: Pixels, grey: bool, progressive: bool, subsampling: int, crop: float
) -> None:
    image = Image.fromarray(picture).convert("L" if grey else "RGB")
    data = encode(image, "JPEG", quality=95, progressive=progressive, subsampling=subsampling)
    pixels, info = preprocess(data, SIZE, LIMIT, crop)
    assert pixels.shape == (SIZE, SIZE, 3)
    assert pixels.dtype == np.uint8
    assert info == ImageInfo("JPEG", picture.shape[1], picture.shape[0])
    wanted = reference(data, SIZE, crop)
    # Two ways to decode and to resize differ where the picture changes: 0.16 of its contrast at the most of 12,000.
    few = min(picture.shape[:2]) < 8  # less than a block
    assert difference(pixels, wanted) < min(16 if few else 12, 0.18 * (wanted.std() + 8))


@given(pictures(), st.integers(1, 8), st.sampled_from(["PNG", "WEBP"]))
def test_an_image_stored_turned_is_the_same_upright(picture: Pixels, orientation: int, kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    pixels, info = preprocess(encode_turned(picture, orientation, kind, **options), SIZE, LIMIT)
    upright, upright_info = preprocess(encode(picture, kind, **options), SIZE, LIMIT)
    assert info == upright_info
    np.testing.assert_array_equal(pixels, upright)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_stored_turned_is_the_same_upright(chelsea: Pixels, orientation: int) -> None:
    pixels, info = preprocess(encode_turned(chelsea, orientation, "JPEG", quality=95), 224, LIMIT)
    upright, _ = preprocess(encode(chelsea, "JPEG", quality=95), 224, LIMIT)
    assert (info.width, info.height) == (451, 300)
    assert difference(pixels, upright) < 2
    assert difference(pixels[::-1], upright) > 10


def test_orientation_that_makes_no_sense_is_ignored() -> None:
    picture = np.arange(48 * 48 * 3, dtype=np.uint32).astype(np.uint8).reshape(48, 48, 3)
    exif = Image.Exif()
    exif[0x0112] = 9
    pixels, _ = preprocess(encode(picture, exif=exif), SIZE, LIMIT)
    np.testing.assert_array_equal(pixels, preprocess(encode(picture), SIZE, LIMIT)[0])
    damaged = encode(picture, "JPEG", exif=b"Exif\0\0not a TIFF header")
    assert preprocess(damaged, SIZE, LIMIT)[1] == ImageInfo("JPEG", 48, 48)


@pytest.mark.slow
@given(st.integers(1, 60), st.integers(1, 60), st.sampled_from(["PNG", "JPEG"]))
def test_the_square_is_cut_from_the_centre(margin: int, side: int, kind: str) -> None:
    """Margins of another colour must leave no trace, on either axis; JPEG's blocks blur the seam."""
    wide = np.zeros((16 * side, 16 * side + 32 * margin, 3), np.uint8)
    wide[:, 16 * margin : 16 * (margin + side)] = (0, 255, 0)
    wide[..., 0] = np.where(wide[..., 1] > 0, 0, 255)
    for picture in (wide, np.ascontiguousarray(wide.transpose(1, 0, 2))):
        options = {"compress_level": 1} if kind == "PNG" else {}  # the time of this test is PNG's packing
        pixels, _ = preprocess(encode(picture, kind, **options), 8, LIMIT)
        assert difference(pixels, np.full((8, 8, 3), (0, 255, 0), np.uint8)) < 1 + 12 * (kind == "JPEG")


@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255))
def test_transparency_is_flattened_on_white(red: int, green: int, alpha: int) -> None:
    data = encode(np.full((30, 20, 4), (red, green, 77, alpha), np.uint8))
    pixels, _ = preprocess(data, SIZE, LIMIT)
    expected = np.array([red, green, 77]) * (alpha / 255) + 255 * (1 - alpha / 255)
    assert np.abs(pixels - expected).max() <= 1


def test_a_transparent_palette_is_flattened_on_white() -> None:
    image = Image.new("P", (20, 20), 1)
    image.putpalette([0, 0, 0, 200, 10, 30])
    opaque, _ = preprocess(encode(image), SIZE, LIMIT)
    transparent, _ = preprocess(encode(image, transparency=1), SIZE, LIMIT)
    assert (opaque == (200, 10, 30)).all()
    assert (transparent == 255).all()


@given(st.integers(0, 65535))
def test_16_bit_grey_is_scaled(level: int) -> None:
    data = encode(Image.fromarray(np.full((30, 20), level, np.uint16)))
    pixels, info = preprocess(data, SIZE, LIMIT)
    assert info.format == "PNG"
    assert np.abs(pixels - level / 257).max() <= 0.5


def test_16_bit_transparency_is_flattened_on_white() -> None:
    levels = np.full((20, 20), 1000, np.uint16)
    levels[:, 10:] = 30000
    pixels, _ = preprocess(encode(Image.fromarray(levels), transparency=1000), 20, LIMIT)
    assert (pixels[:, :8] == 255).all()
    assert (pixels[:, 12:] == 117).all()


def png_16_bit_colour(width: int, height: int, red: int, green: int, blue: int) -> bytes:
    """Write a PNG of 16 bits a channel, which Pillow reads but does not write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    row = b"\0" + struct.pack(">HHH", red, green, blue) * width
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(row * height))
        + chunk(b"IEND", b"")
    )


def test_16_bit_colour_is_scaled() -> None:
    pixels, _ = preprocess(png_16_bit_colour(30, 20, 65535, 32768, 257), SIZE, LIMIT)
    assert np.abs(pixels - np.array([255, 127.5, 1])).max() <= 0.5


def test_only_the_first_frame_counts() -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "lime", "blue")]
    for kind in ("GIF", "WEBP", "PNG"):
        data = encode(
            frames[0], kind, save_all=True, append_images=frames[1:], **({"lossless": True} if kind == "WEBP" else {})
        )
        pixels, info = preprocess(data, SIZE, LIMIT)
        assert info.format == kind
        assert (pixels == (255, 0, 0)).all()


def test_a_cmyk_jpeg_gets_its_colours(chelsea: Pixels) -> None:
    data = encode(Image.fromarray(chelsea).convert("CMYK"), "JPEG", quality=95)
    pixels, info = preprocess(data, SIZE, LIMIT)
    assert info.format == "JPEG"
    assert difference(pixels, reference(data, SIZE)) < 2
    assert difference(pixels, reference(encode(chelsea), SIZE)) < 12


@pytest.mark.parametrize("transform", [0, 2], ids=["CMYK", "YCCK"])
@pytest.mark.parametrize("side", [300, 1343, 1344, 2500])
def test_four_inks_are_what_pillow_makes_of_them(chelsea: Pixels, side: int, transform: int) -> None:
    picture = Image.fromarray(chelsea).resize((side + 51, side), Image.Resampling.BICUBIC).convert("CMYK")
    data = encode(picture, "JPEG", quality=90)
    place = data.index(b"Adobe") + 11
    data = data[:place] + bytes((transform,)) + data[place + 1 :]
    pixels, info = preprocess(data, 224, 10**8)
    assert (info.width, info.height) == (side + 51, side)
    assert difference(pixels, reference(data, 224)) < 2


@pytest.mark.parametrize("side", [447, 448, 1791, 1792, 3600, 5000])
def test_every_scale_of_the_fast_decoder_stays_close_to_the_reference(chelsea: Pixels, side: int) -> None:
    picture = np.asarray(Image.fromarray(chelsea).resize((side + 51, side), Image.Resampling.BICUBIC))
    data = simplejpeg.encode_jpeg(picture, quality=90, colorsubsampling="420")
    pixels, _ = preprocess(data, 224, 10**8)
    assert difference(pixels, reference(data, 224)) < 5


@pytest.mark.parametrize("side", [672, 1343, 1344, 2500])
def test_averaging_large_images_first_stays_close_to_the_reference(chelsea: Pixels, side: int) -> None:
    picture = np.asarray(Image.fromarray(chelsea).resize((side + 51, side), Image.Resampling.BICUBIC))
    data = encode(picture, compress_level=1)
    pixels, _ = preprocess(data, 224, 10**8)
    assert difference(pixels, reference(data, 224)) < 1


def test_an_mpo_of_a_stereo_camera_is_a_jpeg(chelsea: Pixels) -> None:
    image = Image.fromarray(chelsea)
    data = encode(image, "MPO", save_all=True, append_images=[image])
    pixels, info = preprocess(data, SIZE, LIMIT)
    assert info == ImageInfo("JPEG", 451, 300)
    assert difference(pixels, reference(data, SIZE)) < 6


def test_extra_bytes_in_a_jpeg_are_forgiven(chelsea: Pixels) -> None:
    """libjpeg-turbo warns of them, and only Pillow tells that warning from worse."""
    data = encode(chelsea, "JPEG", quality=95)
    tables = data.index(b"\xff\xdb")
    padded = data[:tables] + b"\x00\x01\x02" + data[tables:]
    with pytest.raises(ValueError, match="extraneous"):
        simplejpeg.decode_jpeg(padded)
    assert difference(preprocess(padded, SIZE, LIMIT)[0], preprocess(data, SIZE, LIMIT)[0]) < 6


def test_a_jpeg_that_is_damaged_and_ends_early_is_broken() -> None:
    """Of two faults libjpeg-turbo tells the first alone, so Pillow has to see that pixels are missing."""
    data = encode(np.random.default_rng(1).integers(0, 256, (96, 96, 3), np.uint8), "JPEG", quality=80)
    middle, end = len(data) * 4 // 10, len(data) * 7 // 10
    damaged = data[:middle] + b"\xff\x00\xff\x00\xff\x00" + data[middle:end]
    with pytest.raises(ValueError, match="Corrupt"):
        simplejpeg.decode_jpeg(damaged + b"\xff\xd9")
    with pytest.raises(BrokenImageError):
        preprocess(damaged, 16, LIMIT)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
@pytest.mark.parametrize("kept", [0.01, 0.3, 0.7, 0.98])
def test_a_truncated_image_is_broken(chelsea: Pixels, kind: str, kept: float) -> None:
    data = encode(chelsea, kind)
    with pytest.raises(BrokenImageError, match=f"the {kind} image is damaged or incomplete"):
        preprocess(data[: max(12, int(len(data) * kept))], SIZE, LIMIT)


@given(
    st.binary(max_size=400), st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\0\0\0\0WEBP"])
)
def test_garbage_behind_a_right_beginning_is_broken(garbage: bytes, beginning: bytes) -> None:
    with pytest.raises((BrokenImageError, TooLargeError)):
        preprocess(beginning + garbage, SIZE, LIMIT)


@given(st.data(), st.sampled_from(["JPEG", "PNG", "WEBP", "GIF"]))
def test_damage_anywhere_gives_pixels_or_an_error_of_the_contract(data: st.DataObject, kind: str) -> None:
    picture = np.arange(40 * 30 * 3, dtype=np.uint32).astype(np.uint8).reshape(40, 30, 3)
    damaged = bytearray(encode(picture, kind))
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(12, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        pixels, _ = preprocess(bytes(damaged), SIZE, LIMIT)
    except (BrokenImageError, TooLargeError):
        return
    except UnsupportedFormatError:
        assert kind == "JPEG"  # a frame header may come to claim a rare variant
        return
    assert pixels.shape == (SIZE, SIZE, 3)


@pytest.mark.parametrize(
    "data",
    [
        b"just a text",
        b"",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"RIFF\x24\0\0\0WAVEfmt ",
        encode(np.zeros((4, 4, 3), np.uint8), "BMP"),
        encode(np.zeros((4, 4, 3), np.uint8), "TIFF"),
        encode(np.zeros((4, 4, 3), np.uint8), "PPM"),
    ],
    ids=["text", "nothing", "EPS", "SVG", "WAV", "BMP", "TIFF", "PPM"],
)
def test_other_formats_are_refused(data: bytes) -> None:
    with pytest.raises(UnsupportedFormatError, match="JPEG, PNG, WEBP, GIF"):
        preprocess(data, SIZE, LIMIT)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_the_pixel_limit_is_exact(kind: str) -> None:
    data = encode(np.zeros((20, 30, 3), np.uint8), kind)
    assert preprocess(data, SIZE, 600)[1].width == 30
    with pytest.raises(TooLargeError, match="30 by 20 pixels, at most 599"):
        preprocess(data, SIZE, 599)


@pytest.mark.parametrize("side", [10_000, 13_000, 20_000], ids=["below", "above", "far above"])
def test_images_around_pillows_own_limit_are_too_large(side: int) -> None:
    """Pillow warns from 89 and refuses from 179 million pixels; neither may decide the answer."""
    with pytest.raises(TooLargeError):
        preprocess(encode(Image.new("1", (side, side))), SIZE, 50_000_000)


def test_a_jpeg_whose_headers_disagree_is_not_decoded_fast() -> None:
    """Two frame headers: libraries differ on which one counts, so none may slip past the limit of the other."""
    data = encode(np.zeros((40, 40, 3), np.uint8), "JPEG")
    frame = data.index(b"\xff\xc0")
    length = struct.unpack(">H", data[frame + 2 : frame + 4])[0] + 2
    huge = bytearray(data[frame : frame + length])
    huge[5:9] = struct.pack(">HH", 65000, 65000)
    for doubled in (
        data[:frame] + bytes(huge) + data[frame:],
        data[: frame + length] + bytes(huge) + data[frame + length :],
    ):
        with pytest.raises((BrokenImageError, TooLargeError)):
            preprocess(doubled, SIZE, 10_000)


def test_a_jpeg_of_endless_scans_costs_too_much() -> None:
    """One of 5000 by 5000 pixels takes 10 ms a scan, so that 10 kB would hold a worker for a second."""
    data = encode(np.zeros((40, 40), np.uint8), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    scan = data[last : data.rindex(b"\xff\xd9")]
    room = 32 - data[:last].count(b"\xff\xda")
    assert preprocess(data[:last] + scan * room + b"\xff\xd9", SIZE, LIMIT)[1].width == 40
    with pytest.raises(TooLargeError, match="more than 32 scans"):
        preprocess(data[:last] + scan * (room + 1) + b"\xff\xd9", SIZE, LIMIT)


def chunk(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def grey_png(bits: int, levels: list[int], key: int) -> bytes:
    """A PNG of one row of grey ``levels`` of ``bits`` bits, one of which is transparent."""
    row = "".join(f"{level:0{bits}b}" for level in levels)
    packed = int(row.ljust(-(-len(row) // 8) * 8, "0"), 2).to_bytes(-(-len(row) // 8), "big")
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", len(levels), 1, bits, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\0" + packed))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"tRNS", struct.pack(">H", key)) + pixels + chunk(b"IEND")


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("transparent", [False, True], ids=["opaque", "transparent"])
def test_a_colour_key_of_any_depth_is_transparent(bits: int, transparent: bool) -> None:
    """Pillow scales grey pixels to 8 bits and leaves their colour key as it was."""
    highest = 2**bits - 1
    level, other = highest // 3, highest
    pixels, _ = preprocess(grey_png(bits, [level], level if transparent else other), 2, LIMIT)
    assert np.abs(pixels.astype(int) - (255 if transparent else round(255 * level / highest))).max() <= 1


@pytest.mark.parametrize("last_bit", [0, 1])
def test_a_colour_key_of_16_bits_is_compared_whole(last_bit: int) -> None:
    data = png_16_bit_colour(4, 4, 0x1234, 0x5678, 0x9ABC + last_bit)
    data = data[:33] + chunk(b"tRNS", struct.pack(">HHH", 0x1234, 0x5678, 0x9ABC)) + data[33:]
    pixels, _ = preprocess(data, SIZE, LIMIT)
    expected = [18, 86, 154] if last_bit else [255, 255, 255]
    assert np.abs(pixels.astype(int) - expected).max() <= 1


@pytest.mark.parametrize(("excess", "answered"), [(0, True), (72, True), (73, False), (1_000_000, False)])
def test_pixels_that_the_header_does_not_promise_are_not_inflated(excess: int, answered: bool) -> None:
    """Pillow leaves them alone. OpenCV decodes colour keys of 16 bits, and would make gigabytes of megabytes."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0))
    packed = zlib.compress(bytes(4 * (1 + 4 * 6) + excess))
    pixels = chunk(b"IDAT", packed[:5]) + chunk(b"IDAT", packed[5:])
    data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"tRNS", bytes(6)) + pixels + chunk(b"IEND")
    with contextlib.nullcontext() if answered else pytest.raises(BrokenImageError):
        assert preprocess(data, SIZE, LIMIT)[1].width == 4


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("JPEG", {"quality": 100, "subsampling": 0}),
        ("PNG", {}),
        ("GIF", {}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
    ],
    ids=["JPEG", "progressive JPEG", "fine JPEG", "PNG", "GIF", "WEBP", "lossless WEBP"],
)
def test_a_file_cut_anywhere_is_answered_as_long_as_every_pixel_is_there(
    chelsea: Pixels, kind: str, options: dict[str, Any]
) -> None:
    """The end marker decides nothing: not that a file is broken, and not that it is whole."""
    picture = chelsea[:61, :47]
    data = encode(picture, kind, **options)
    whole, _ = preprocess(data, SIZE, LIMIT)
    answered = 0
    for end in range(len(data) // 2, len(data)):
        try:
            pixels, _ = preprocess(data[:end], SIZE, LIMIT)
        except BrokenImageError:
            continue
        answered += 1
        assert difference(pixels, whole) < 0.05, f"{len(data) - end} bytes are missing"
    assert answered >= {"JPEG": 2, "PNG": 12, "GIF": 1, "WEBP": 0}[kind]


def test_a_jpeg_cut_in_half_is_broken_with_an_end_too(chelsea: Pixels) -> None:
    for mode in ("RGB", "CMYK"):
        data = encode(Image.fromarray(chelsea).convert(mode), "JPEG")
        with pytest.raises(BrokenImageError):
            preprocess(data[: len(data) // 2] + b"\xff\xd9", SIZE, LIMIT)
        pixels, _ = preprocess(data[:-2], SIZE, LIMIT)
        assert np.array_equal(pixels, preprocess(data, SIZE, LIMIT)[0])


def test_a_progressive_jpeg_that_ends_between_two_scans_is_broken(chelsea: Pixels) -> None:
    data = encode(chelsea, "JPEG", progressive=True)
    scan = data.find(b"\xff\xda")
    while (scan := data.find(b"\xff\xda", scan + 2)) >= 0:
        tables = data.rfind(b"\xff\xc4", 0, scan)
        between = tables if data[tables + 2 : scan].find(b"\xff") < 0 else scan
        with pytest.raises(BrokenImageError):
            preprocess(data[:between], SIZE, LIMIT)


def frame_of(data: bytes, marker: int = 0xC0, bits: int = 8, height: int | None = None) -> bytes:
    """A JPEG with another marker, other bits or another height in its frame header."""
    frame = data.index(b"\xff\xc0")
    head = bytes((0xFF, marker)) + data[frame + 2 : frame + 4] + bytes((bits,))
    return data[:frame] + head + (data[frame + 5 : frame + 7] if height is None else bytes(2)) + data[frame + 7 :]


UNSUPPORTED = {
    "JPEG of 12 bits": (lambda jpeg: frame_of(jpeg, 0xC1, 12), "12 bits a colour"),
    "JPEG without loss": (lambda jpeg: frame_of(jpeg, 0xC3), "lossless or hierarchical"),
    "JPEG in layers": (lambda jpeg: frame_of(jpeg, 0xC5), "lossless or hierarchical"),
    "JPEG that ends with its height": (lambda jpeg: frame_of(jpeg, height=0), "DNL"),
    "Apple's PNG": (
        lambda _: b"\x89PNG\r\n\x1a\n" + chunk(b"CgBI", b"P\0 \6") + encode(np.zeros((4, 4, 3), np.uint8))[8:],
        "CgBI",
    ),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_nothing_here_decodes_is_called_unsupported(chelsea: Pixels, name: str) -> None:
    make, reason = UNSUPPORTED[name]
    with pytest.raises(UnsupportedFormatError, match=f"{reason}.*; save it as an ordinary JPEG or PNG"):
        preprocess(make(encode(chelsea, "JPEG")), SIZE, LIMIT)


def gif_on_canvas(width: int, height: int, left: int, top: int) -> bytes:
    """A GIF whose only frame, 8 by 8 pixels of the palette's second colour, stands somewhere on a canvas."""
    data = encode(Image.new("P", (8, 8), 1), "GIF", optimize=False)
    image = data.index(b"," + struct.pack("<HHHH", 0, 0, 8, 8))
    place = b"," + struct.pack("<HHHH", left, top, 8, 8)
    return data[:6] + struct.pack("<HH", width, height) + data[10:image] + place + data[image + 9 :]


def test_a_gif_frame_smaller_than_its_canvas_stands_on_white() -> None:
    """Browsers show the rest of the canvas as transparent, whatever the palette's first colour is."""
    pixels, info = preprocess(gif_on_canvas(24, 24, 8, 8), 24, LIMIT)
    assert (info.width, info.height) == (24, 24)
    frame = pixels[10:14, 10:14]
    assert (frame == frame[0, 0]).all()
    assert not (frame == 255).all()
    outside = np.ones((24, 24), bool)
    outside[6:18, 6:18] = False
    assert (pixels[outside] == 255).all()


def test_a_webp_frame_smaller_than_its_canvas_stands_on_white() -> None:
    first = Image.new("RGBA", (32, 32), (0, 0, 0, 0))
    first.paste((200, 10, 30, 255), (8, 8, 24, 24))
    second = Image.new("RGBA", (32, 32), (0, 255, 0, 255))
    data = encode(first, "WEBP", save_all=True, append_images=[second], lossless=True, minimize_size=True)
    pixels, info = preprocess(data, 32, LIMIT)
    assert (info.width, info.height) == (32, 32)
    assert (pixels[10:22, 10:22] == (200, 10, 30)).all()
    assert (pixels[:6] == 255).all()
