"""Preprocessing: from the bytes of an upload to the square of pixels that the network sees.

A pure function, the same for every format: upright as EXIF says, RGB, transparency on white, centre
square, resized to the network's input. Two decoders do it:

* JPEG in colour or grey, nearly every photograph: libjpeg-turbo decodes at 1/1, 1/2, 1/4 or 1/8 while
  both sides stay at least the target, then OpenCV resizes. Less than half the time of the other one.
* Everything else is decoded whole as :mod:`imagerec_worker.sources` does, and Pillow resizes it bicubically; a
  JPEG in CMYK libjpeg-turbo shrinks first. Pillow also decodes a JPEG in which that one finds bytes too many.

The header is read first, by which an upload that costs too much is refused. No decoder ever sees the
metadata, of which only the orientation counts.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import simplejpeg
from PIL import Image

from imagerec_worker import budget, turbo
from imagerec_worker.errors import BrokenImageError, ProblemError, TooLargeError, UnsupportedFormatError
from imagerec_worker.geometry import Pixels, Target, centre_square, swaps_sides, upright
from imagerec_worker.metadata import JPEG_END, orientation_of, without_metadata
from imagerec_worker.metered import MeteredFile
from imagerec_worker.sources import (
    Source,
    array_source,
    check_inflated,
    is_keyed_colour_of_16_bits,
    pillow_source,
    scale_colour_key,
)
from imagerec_worker.webp import first_picture

FORMATS = ("JPEG", "PNG", "WEBP", "GIF")

# Pillow reads images more than this many times the target in an average of blocks first: beyond three,
# the picture is the same to the eye and needs a fraction of the time and the memory.
_REDUCING_GAP = 3
_BAND_ROWS = 64

# Libjpeg-turbo keeps profiles that stand behind the pixels. Of empty ones it makes 25 bytes for each of the file.
_FEW_BYTES = 1_000_000


class _Decoded(NamedTuple):
    """The upright square, and the image's width and height as stored."""

    pixels: Pixels
    width: int
    height: int


class ImageInfo(NamedTuple):
    """What an upload was: its format (one of :data:`FORMATS`) and its upright size in pixels."""

    format: str
    width: int
    height: int


def preprocess(data: bytes, size: int, max_pixels: int, crop: float = 1.0) -> tuple[Pixels, ImageInfo]:
    """Decode an image and make the network's input of it.

    Args:
        data: The whole file.
        size: Side of the result, in pixels.
        max_pixels: Largest image, in pixels, refused by its header before anything is decoded.
        crop: Share of the centre square's side that is kept, above 0 and at most 1.

    Returns:
        The pixels, ``uint8 [size, size, 3]`` in RGB, and what the upload was.

    Raises:
        UnsupportedFormatError: The bytes do not begin like an accepted format, or nothing here decodes this kind of it.
        TooLargeError: The image has more than ``max_pixels`` pixels, or costs more than an upload may.
        BrokenImageError: The image cannot be decoded whole.
    """
    name = _format_of(data)
    try:
        result, orientation = _DECODERS[name](data, Target(size, crop), max_pixels)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError) as error:
        raise TooLargeError("the image has far too many pixels; make it smaller") from error
    except ProblemError:
        raise
    except Exception as error:  # decoders raise nearly anything on bytes made to break them
        raise BrokenImageError(f"the {name} image is damaged or incomplete; save it again or send another") from error
    width, height = result.width, result.height
    if swaps_sides(orientation):
        width, height = height, width
    return result.pixels, ImageInfo(name, width, height)


def warm_up(size: int) -> None:
    """Run both decoders once, so that no request pays for their loading, and let our limit of pixels be the only one.

    Pillow has one of its own, and writes of a larger image between the lines of the log.
    """
    Image.MAX_IMAGE_PIXELS = None
    blank = np.zeros((2 * size, 2 * size, 3), np.uint8)
    preprocess(simplejpeg.encode_jpeg(blank), size, blank.size)
    png = io.BytesIO()
    Image.fromarray(blank).save(png, "PNG")
    preprocess(png.getvalue(), size, blank.size)


def _format_of(data: bytes) -> str:
    """Return the format that the first bytes announce; never trust a name or a declared type."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    raise UnsupportedFormatError(f"the upload is not an image of an accepted format: {', '.join(FORMATS)}")


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise TooLargeError(
            f"the image has {width} by {height} pixels, at most {max_pixels} in all are accepted; make it smaller"
        )


def _jpeg(data: bytes, target: Target, max_pixels: int) -> tuple[_Decoded, int]:
    plain = without_metadata("JPEG", data)
    orientation = orientation_of(plain.exif)
    frame = budget.read_frame(plain.frame)
    _check_size(frame.width, frame.height, max_pixels)
    held_bytes = len(data) if plain.ended else len(data) * 4 // 3  # with its end it is copied once more
    inked, least = frame.components > 3, target.least(_REDUCING_GAP)
    budget.check_jpeg(frame, held_bytes, plain.scans, *((least, 4) if inked else (target.least(), 3)))
    # What is whole but for its end is whole: with an end a decoder knows at once whether pixels are missing.
    whole = plain.data if plain.ended else plain.data + JPEG_END
    with budget.capped(len(data)) if len(data) > _FEW_BYTES else contextlib.nullcontext():
        decoded = turbo.decode_inks(whole, least) if inked else turbo.decode_colours(whole, orientation, target)
    pixels = _reduce(decoded, orientation, target) if isinstance(decoded, Source) else decoded
    if pixels is None:
        budget.check_jpeg(frame, held_bytes, plain.scans, least, 4, times=2)
        if not inked:  # Pillow misses pixels by an end that is missing; of more libjpeg-turbo has seen all
            whole = plain.data
        image = Image.open(io.BytesIO(whole), formats=("JPEG",))
        image.draft(None, (least, least))
        pixels = _reduce(pillow_source(image), orientation, target)
    return _Decoded(pixels, frame.width, frame.height), orientation


def _png(data: bytes, target: Target, max_pixels: int) -> tuple[_Decoded, int]:
    header = budget.read_png_header(data)
    _check_size(header.width, header.height, max_pixels)
    plain = without_metadata("PNG", data)
    keyed = is_keyed_colour_of_16_bits(header, plain.data)
    budget.check_png(header, len(data), 8 if keyed else 4)
    orientation = orientation_of(plain.exif)
    if keyed:
        check_inflated(header, plain.data)
        source = array_source(plain.data)
    else:
        image = Image.open(MeteredFile("PNG", plain.data), formats=("PNG",))
        scale_colour_key(image, header)
        source = pillow_source(image)
    return _Decoded(_reduce(source, orientation, target), header.width, header.height), orientation


def _webp(data: bytes, target: Target, max_pixels: int) -> tuple[_Decoded, int]:
    still = first_picture(data)
    _check_size(*still.canvas, max_pixels)
    budget.check("WEBP", len(data), still.pixel_bytes * still.size[0] * still.size[1])
    orientation = orientation_of(still.exif)
    with budget.capped(len(data)):
        source = array_source(still.data)._replace(size=still.canvas, left=still.left, top=still.top)
    return _Decoded(_reduce(source, orientation, target), *still.canvas), orientation


def _gif(data: bytes, target: Target, max_pixels: int) -> tuple[_Decoded, int]:
    image = Image.open(io.BytesIO(without_metadata("GIF", data).data), formats=("GIF",))
    _check_size(*image.size, max_pixels)
    budget.check("GIF", len(data), 2 * image.width * image.height)
    return _Decoded(_reduce(pillow_source(image), 1, target), *image.size), 1


_DECODERS: dict[str, Callable[[bytes, Target, int], tuple[_Decoded, int]]] = {
    "JPEG": _jpeg,
    "PNG": _png,
    "WEBP": _webp,
    "GIF": _gif,
}


def _reduce(source: Source, orientation: int, target: Target) -> Pixels:
    """Crop an image to its centre square, turn it upright and resize it bicubically."""
    size, side = target.size, target.side(*source.size)
    left, top = centre_square(*source.size, orientation, side)
    factor = max(1, side // (_REDUCING_GAP * size))
    trim = side % factor
    left, top, side = left + trim // 2, top + trim // 2, side - trim
    square = Image.new("RGB", (side // factor, side // factor))
    rows = max(1, _BAND_ROWS // factor) * factor
    for start in range(0, side, rows):  # in bands, so that only the stored image is ever held whole
        stop = min(start + rows, side)
        band = source.band((left, top + start, left + side, top + stop))
        square.paste(band.reduce(factor) if factor > 1 else band, (0, start // factor))
    if orientation != 1:
        square = Image.fromarray(upright(np.asarray(square), orientation))
    return np.asarray(square.resize((size, size), Image.Resampling.BICUBIC))
