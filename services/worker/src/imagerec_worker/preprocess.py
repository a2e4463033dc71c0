"""Preprocessing: from the bytes of an upload to the square of pixels that the network sees.

A pure function, the same for every format: upright as EXIF says, RGB, transparency on white, centre
square, resized to the network's input. Two decoders do it:

* JPEG in colour or grey, nearly every photograph: libjpeg-turbo decodes at 1/1, 1/2, 1/4 or 1/8 while
  both sides stay at least the target, then OpenCV resizes. Less than half the time of the other one.
* Everything else, CMYK among it: Pillow decodes the first frame whole and resizes bicubically. It also
  has the last word on a JPEG that libjpeg-turbo complains about.

Whoever decodes also reads the header first, by which an upload that is too large is refused. Neither ever
sees its metadata, of which only the orientation counts.
"""

from __future__ import annotations

import io
import math
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, WebPImagePlugin  # noqa: F401  Image.open knows WebP once its plugin is imported

from imagerec_worker.errors import BrokenImageError, TooLargeError, UnsupportedFormatError
from imagerec_worker.metadata import orientation_of, without_metadata

Pixels = npt.NDArray[np.uint8]

FORMATS = ("JPEG", "PNG", "WEBP", "GIF")

# EXIF orientation → how the stored rows and columns become upright: transpose, then flip rows, columns.
_UPRIGHT = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}

# Pillow reads images more than this many times the target in an average of blocks first: beyond three,
# the picture is the same to the eye and needs a fraction of the time and the memory.
_REDUCING_GAP = 3
_BAND_ROWS = 256


# What libjpeg-turbo calls the colours that it turns into RGB as Pillow does.
_FAST_COLOURS = frozenset({"YCbCr", "RGB", "Gray"})


class _Decoded(NamedTuple):
    """The upright square, and the image's width and height as stored."""

    pixels: Pixels
    width: int
    height: int


class _Target(NamedTuple):
    """The network's input: its side in pixels, and the share of the centre square's side that it shows."""

    size: int
    crop: float

    def side(self, width: int, height: int) -> int:
        """Return the side of the square that is cut out of an image, in pixels."""
        return max(1, round(min(width, height) * self.crop))


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
        UnsupportedFormatError: The bytes do not begin like an accepted format.
        TooLargeError: The image has more than ``max_pixels`` pixels.
        BrokenImageError: The image cannot be decoded whole.
    """
    name = _format_of(data)
    try:
        data, exif = without_metadata(name, data)
        orientation = orientation_of(exif)
        result = _decode_fast(data, orientation, _Target(size, crop), max_pixels) if name == "JPEG" else None
        if result is None:
            image = Image.open(io.BytesIO(data), formats=(name,))
            width, height = image.size
            _check_size(width, height, max_pixels)
            if name == "WEBP":
                orientation = orientation_of(image.info.get("exif", b""))
            result = _Decoded(_decode_pillow(image, orientation, _Target(size, crop)), width, height)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError) as error:
        raise TooLargeError("the image has far too many pixels; make it smaller") from error
    except (TooLargeError, BrokenImageError):
        raise
    except Exception as error:  # decoders raise nearly anything on bytes made to break them
        raise BrokenImageError(f"the {name} image is damaged or incomplete; save it again or send another") from error
    width, height = result.width, result.height
    if _UPRIGHT[orientation][0]:
        width, height = height, width
    return result.pixels, ImageInfo(name, width, height)


def warm_up(size: int) -> None:
    """Run both decoders once, so that no request pays for their loading."""
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


def _centre_square(width: int, height: int, orientation: int, side: int) -> tuple[int, int]:
    """Return left and top of a centre square of the given side, as stored.

    The odd pixel of a margin is to the right of and below the square in the upright image.
    """
    transpose, flip_rows, flip_columns = _UPRIGHT[orientation]
    flip_x, flip_y = (flip_rows, flip_columns) if transpose else (flip_columns, flip_rows)
    return (width - side + flip_x) // 2, (height - side + flip_y) // 2


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    transpose, flip_rows, flip_columns = _UPRIGHT[orientation]
    if transpose:
        pixels = pixels.transpose(1, 0, 2)
    pixels = pixels[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]
    return np.ascontiguousarray(pixels)


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise TooLargeError(
            f"the image has {width} by {height} pixels, at most {max_pixels} in all are accepted; make it smaller"
        )


def _decode_fast(data: bytes, orientation: int, target: _Target, max_pixels: int) -> _Decoded | None:
    """Decode a JPEG by libjpeg-turbo and OpenCV; None where Pillow must do it."""
    try:
        stored_height, stored_width, colours, _ = simplejpeg.decode_jpeg_header(data)
        if colours not in _FAST_COLOURS:
            return None
        _check_size(stored_width, stored_height, max_pixels)
        # The fast transforms err by a few steps a pixel, which averages out unless few pixels are spread over many.
        fast = target.side(stored_width, stored_height) >= target.size
        least = math.ceil(target.size / target.crop) if fast else 0  # 0: never scale
        # min_factor=2 leaves out the scales between 1/2 and 1, which no vector code of the library does.
        decoded = simplejpeg.decode_jpeg(
            data, "RGB", fastdct=fast, fastupsample=fast, min_height=least, min_width=least, min_factor=2
        )
    except ValueError:  # any warning too: extra bytes that Pillow forgives, or the truncation it does not
        return None
    height, width = decoded.shape[:2]
    side, size = target.side(width, height), target.size
    left, top = _centre_square(width, height, orientation, side)
    # Two taps see every pixel up to a factor of two; 1/8 is the library's smallest scale.
    method = cv2.INTER_LINEAR if side < 2 * size else cv2.INTER_AREA
    square = cv2.resize(decoded[top : top + side, left : left + side], (size, size), interpolation=method)
    return _Decoded(square if orientation == 1 else _upright(square, orientation), stored_width, stored_height)


def _decode_pillow(image: Image.Image, orientation: int, target: _Target) -> Pixels:
    """Decode any accepted image by Pillow: crop, flatten, turn upright, resize bicubically."""
    size = target.size
    if image.format == "JPEG":
        least = math.ceil(_REDUCING_GAP * size / target.crop)
        image.draft(None, (least, least))
    side = target.side(*image.size)
    left, top = _centre_square(*image.size, orientation, side)
    factor = max(1, side // (_REDUCING_GAP * size))
    trim = side % factor
    left, top, side = left + trim // 2, top + trim // 2, side - trim
    square = Image.new("RGB", (side // factor, side // factor))
    rows = max(1, _BAND_ROWS // factor) * factor
    for start in range(0, side, rows):  # in bands, so that only the stored image is ever held whole
        stop = min(start + rows, side)
        band = _flatten(image.crop((left, top + start, left + side, top + stop)))
        square.paste(band.reduce(factor) if factor > 1 else band, (0, start // factor))
    if orientation != 1:
        square = Image.fromarray(_upright(np.asarray(square), orientation))
    return np.asarray(square.resize((size, size), Image.Resampling.BICUBIC))


def _flatten(image: Image.Image) -> Image.Image:
    """Return ``image`` in RGB: 16-bit greys scaled to 8 bits, transparency on white."""
    if image.mode.startswith("I"):
        return _from_16_bit(image)
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    canvas = Image.new("RGB", image.size, "white")
    canvas.paste(image, mask=image)
    return canvas


def _from_16_bit(image: Image.Image) -> Image.Image:
    grey = np.asarray(image).astype(np.uint32)
    scaled = ((grey * 255 + 32767) // 65535).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        scaled[grey == transparent] = 255
    return Image.fromarray(scaled).convert("RGB")
