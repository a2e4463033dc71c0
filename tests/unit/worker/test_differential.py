"""Two thousand files of every kind, or some of each, decoded here and by ImageMagick: both must see the same picture.

ImageMagick shares the libraries' formats but none of the worker's code: its own readers of PNG chunks and GIF, its own
canvases, colour keys, orientations, CMYK. Colour profiles are left out by both, as the manual says.
"""

from __future__ import annotations

import io
import itertools
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageCms

from imagerec_worker.preprocess import preprocess

Pixels = npt.NDArray[np.uint8]
SIZE = 32
TOLERANCE = 2.0  # grey levels, on average
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
ORIENTATIONS = range(1, 9)
# Each seventh is tried always. They differ in ways of 2, 3, 8, 9, 10 and 15 values, so each value is among them.
SOME = 7


def magick(data: bytes, kind: str, orientation: int) -> Pixels:
    """What ImageMagick sees: the first frame on its canvas, upright, on white, 8 bits.

    It finds the orientation of a JPEG itself, and is told that of the other formats, whose EXIF it does not read.
    """
    wand = pytest.importorskip("wand.image", reason="needs Wand and ImageMagick: make setup-test")
    with wand.Image(blob=data, format=f"{kind.lower()}") as image:
        image.iterator_set(0)
        with image.image_get() as first:
            first.background_color = "white"
            first.alpha_channel = first.alpha_channel and "remove"
            first.merge_layers("flatten")
            if kind != "JPEG":
                first.orientation = wand.ORIENTATION_TYPES[orientation]
            first.auto_orient()
            first.transform_colorspace("srgb")
            first.depth = 8
            return np.frombuffer(first.make_blob("RGB"), np.uint8).reshape(first.height, first.width, 3)


def square(pixels: Pixels) -> Pixels:
    """The centre square, bicubic."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    cropped = Image.fromarray(np.ascontiguousarray(pixels[top : top + side, left : left + side]))
    return np.asarray(cropped.resize((SIZE, SIZE), Image.Resampling.BICUBIC))


def picture(rng: np.random.Generator, channels: int, highest: int) -> npt.NDArray[np.int64]:
    """A smooth random picture of a random shape, levels 0 to ``highest``: ``[height, width, channels]``."""
    height, width = int(rng.integers(8, 80)), int(rng.integers(8, 80))
    corners = rng.integers(0, highest + 1, (2, 2, channels)).astype(float)
    rows, columns = np.linspace(0, 1, height)[:, None, None], np.linspace(0, 1, width)[None, :, None]
    upper = corners[0, 0] * (1 - columns) + corners[0, 1] * columns
    lower = corners[1, 0] * (1 - columns) + corners[1, 1] * columns
    levels: npt.NDArray[np.int64] = np.rint(upper * (1 - rows) + lower * rows).astype(np.int64)
    return levels


def exif(orientation: int, order: str) -> bytes:
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    return head + struct.pack(f"{order}HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 0)


def chunk(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def rows_of(levels: npt.NDArray[np.int64], bits: int) -> bytes:
    """The rows of a PNG pass, unfiltered, samples packed into bytes."""
    height, width, channels = levels.shape
    if not height or not width:
        return b""
    flat = levels.reshape(height, width * channels)
    if bits == 16:
        packed = flat.astype(">u2").view(np.uint8)
    else:
        places = (flat[..., None] >> np.arange(bits - 1, -1, -1)) & 1
        packed = np.packbits(places.reshape(height, -1).astype(np.uint8), axis=1)
    return np.hstack([np.zeros((height, 1), np.uint8), packed]).tobytes()


PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
PNG_KINDS = [(0, bits) for bits in (1, 2, 4, 8, 16)] + [(3, bits) for bits in (1, 2, 4, 8)]
PNG_KINDS += [(colours, bits) for colours in (2, 4, 6) for bits in (8, 16)]


def pngs(every: int) -> Iterator[tuple[str, bytes, int]]:
    """Every colour type and depth, interlaced or not, with and without a colour key, in every orientation."""
    rng = np.random.default_rng(11)
    kinds = itertools.product(PNG_KINDS, (False, True), (False, True), (*ORIENTATIONS, 0))
    for number, ((colours, bits), interlaced, keyed, orientation) in itertools.islice(enumerate(kinds), 0, None, every):
        levels = picture(rng, {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colours], 2**bits - 1)
        height, width = levels.shape[:2]
        extra = b""
        if colours == 3:
            extra += chunk(b"PLTE", rng.integers(0, 256, 3 * 2**bits, np.uint8).tobytes())
        if keyed and colours in {0, 2}:
            extra += chunk(b"tRNS", levels[height // 2, width // 2].astype(">u2").tobytes())
        elif keyed and colours == 3:
            extra += chunk(b"tRNS", rng.integers(0, 256, int(rng.integers(1, 2**bits + 1)), np.uint8).tobytes())
        if orientation:
            extra += chunk(b"eXIf", exif(orientation, "<>"[number % 2]))
        if number % 3 == 0:
            extra = chunk(b"iCCP", b"sRGB\0\0" + zlib.compress(PROFILE)) + extra
        passes = [levels[top::down, left::across] for left, top, across, down in PASSES] if interlaced else [levels]
        packed = zlib.compress(b"".join(rows_of(part, bits) for part in passes))
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, interlaced))
        name = f"colours {colours}, {bits} bits, interlaced {interlaced}, keyed {keyed}, orientation {orientation}"
        yield name, b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", packed) + chunk(b"IEND"), orientation


def image_of(rng: np.random.Generator, mode: str) -> Image.Image:
    channels = {"L": 1, "RGB": 3, "CMYK": 4, "RGBA": 4, "LA": 2}[mode]
    return Image.fromarray(picture(rng, channels, 255).astype(np.uint8).squeeze(2 if channels == 1 else ()), mode)


def save(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def jpegs(every: int) -> Iterator[tuple[str, bytes, int]]:
    """Grey, colour and CMYK, in one scan or many, every way of halving colours, every orientation, restarts."""
    rng = np.random.default_rng(12)
    kinds = itertools.product(("L", "RGB", "CMYK"), (False, True), (0, 1, 2), (50, 75, 95), ORIENTATIONS)
    for mode, progressive, subsampling, quality, orientation in itertools.islice(kinds, 0, None, every):
        options: dict[str, Any] = {"exif": b"Exif\0\0" + exif(orientation, "<>"[orientation % 2])}
        if orientation % 2:
            options["icc_profile"] = PROFILE
        if orientation % 3 == 0:
            options["restart_marker_blocks"] = 3
        name = f"{mode}, progressive {progressive}, subsampling {subsampling}, quality {quality}, {orientation}"
        image = image_of(rng, mode)
        options |= {"progressive": progressive, "subsampling": subsampling, "quality": quality}
        yield name, save(image, "JPEG", **options), orientation


def webps(every: int) -> Iterator[tuple[str, bytes, int]]:
    """Lossy and lossless, transparent or not, still or moving, every orientation."""
    rng = np.random.default_rng(13)
    kinds = itertools.product(("RGB", "RGBA"), (False, True), (False, True), ORIENTATIONS, range(8))
    for mode, lossless, moving, orientation, _ in itertools.islice(kinds, 0, None, every):
        image = image_of(rng, mode)
        options: dict[str, Any] = {"save_all": True, "append_images": [image.rotate(180)]} if moving else {}
        if not moving:
            options["exif"] = b"Exif\0\0" + exif(orientation, "<>"[orientation % 2])
        if orientation % 2:
            options["icc_profile"] = PROFILE
        name = f"{mode}, lossless {lossless}, moving {moving}, {orientation}"
        yield (
            name,
            save(image, "WEBP", lossless=lossless, quality=80, method=0, **options),
            0 if moving else orientation,
        )


def gifs(every: int) -> Iterator[tuple[str, bytes, int]]:
    """Palettes of every size, interlaced or not, transparent or not, moving or not, on a larger canvas or not."""
    rng = np.random.default_rng(14)
    kinds = itertools.product((2, 4, 8, 16, 32, 64, 128, 256), (0, 1), (False, True), (False, True), range(10))
    for colours, interlaced, transparent, moving, offset in itertools.islice(kinds, 0, None, every):
        image = image_of(rng, "RGB").quantize(colours)
        options: dict[str, Any] = {"transparency": int(rng.integers(colours))} if transparent else {}
        if moving:
            options |= {"save_all": True, "append_images": [image.rotate(180)], "disposal": 2}
        data = save(image, "GIF", interlace=interlaced, **options)
        frame = data.index(b"," + struct.pack("<HHHH", 0, 0, *image.size))
        if offset % 2:
            left, top, right, bottom = rng.integers(0, 20, 4).tolist()
            canvas = struct.pack("<HH", image.width + left + right, image.height + top + bottom)
            data = data[:6] + canvas + data[10 : frame + 1] + struct.pack("<HH", left, top) + data[frame + 5 :]
        yield f"{colours} colours, {interlaced}, transparent {transparent}, moving {moving}, offset {offset}", data, 0


@pytest.mark.slow
@pytest.mark.parametrize("every", [SOME, pytest.param(1, marks=pytest.mark.long)], ids=["some", "all"])
@pytest.mark.parametrize(
    ("kind", "make", "least"),
    [("PNG", pngs, 500), ("JPEG", jpegs, 430), ("WEBP", webps, 500), ("GIF", gifs, 600)],
    ids=["PNG", "JPEG", "WEBP", "GIF"],
)
def test_imagemagick_sees_the_same(
    kind: str, make: Callable[[int], Iterator[tuple[str, bytes, int]]], least: int, every: int
) -> None:
    unlike = {}
    number = 0
    for name, data, orientation in make(every):
        number += 1
        seen, info = preprocess(data, SIZE, 10**6)
        expected = magick(data, kind, orientation)
        if (info.height, info.width) != expected.shape[:2]:
            unlike[name] = f"{(info.width, info.height)}, not {expected.shape[1::-1]}"
        elif (error := float(np.abs(seen.astype(int) - square(expected)).mean())) > TOLERANCE:
            unlike[name] = f"{error:.1f} grey levels"
    assert number >= least // every
    assert not unlike, f"{len(unlike)} of {number}: {dict(itertools.islice(unlike.items(), 12))}"
