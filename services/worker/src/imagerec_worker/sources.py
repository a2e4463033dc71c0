"""Decoded images as they are stored, read in bands: RGB, transparency on white, 16 bits scaled to 8."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile

from imagerec_worker.budget import PngHeader
from imagerec_worker.metered import Meter

Box = tuple[int, int, int, int]  # left, top, right, bottom

# Most bytes that are inflated at once, and most that are made of them at once.
_DEFLATED_BYTES, _INFLATED_BYTES = 65_536, 1_048_576
_INFLATING_S = 0.4  # libpng does it once more


class Source(NamedTuple):
    """A decoded picture on its canvas, which is white wherever the picture is not.

    Attributes:
        size: Width and height of the canvas, in pixels.
        left: Column of the canvas in which the picture begins.
        top: Row of the canvas in which the picture begins.
        picture: Width and height of the picture, in pixels.
        read: Returns a part of the picture in RGB; the box counts from the picture's own corner.
    """

    size: tuple[int, int]
    left: int
    top: int
    picture: tuple[int, int]
    read: Callable[[Box], Image.Image]

    def band(self, box: Box) -> Image.Image:
        """Return a part of the canvas in RGB."""
        left, top = max(0, box[0] - self.left), max(0, box[1] - self.top)
        right, bottom = min(self.picture[0], box[2] - self.left), min(self.picture[1], box[3] - self.top)
        size = box[2] - box[0], box[3] - box[1]
        if (right - left, bottom - top) == size:
            return self.read((left, top, right, bottom))
        canvas = Image.new("RGB", size, "white")
        if left < right and top < bottom:
            place = left + self.left - box[0], top + self.top - box[1]
            canvas.paste(self.read((left, top, right, bottom)), place)
        return canvas


def pillow_source(image: Image.Image) -> Source:
    """Return an image that Pillow has opened and will decode; of a GIF the first frame, on its canvas."""
    left, top, right, bottom = 0, 0, *image.size
    if image.format == "GIF" and isinstance(image, ImageFile.ImageFile) and image.tile[0].extents:
        left, top, right, bottom = image.tile[0].extents

    def read(box: Box) -> Image.Image:
        return _flatten(image.crop((box[0] + left, box[1] + top, box[2] + left, box[3] + top)))

    return Source(image.size, left, top, (right - left, bottom - top), read)


def array_source(data: bytes) -> Source:
    """Decode by OpenCV, which turns colour keys of 16 bits into transparency and holds little of a WebP.

    Raises:
        ValueError: It cannot be decoded.
    """
    pixels: npt.NDArray[Any] | None = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.ndim != 3:
        raise ValueError("OpenCV finds no picture")
    whole = pixels

    def read(box: Box) -> Image.Image:
        part = whole[box[1] : box[3], box[0] : box[2]]
        if part.dtype == np.uint16:
            part = _to_8_bits(part)
        order = cv2.COLOR_BGRA2RGBA if part.shape[2] == 4 else cv2.COLOR_BGR2RGB
        return _flatten(Image.fromarray(cv2.cvtColor(part, order)))

    return Source((whole.shape[1], whole.shape[0]), 0, 0, (whole.shape[1], whole.shape[0]), read)


def is_keyed_colour_of_16_bits(header: PngHeader, data: bytes) -> bool:
    """Return whether a PNG has 16 bits a colour and a colour key, which Pillow compares after it has dropped 8 bits."""
    pixels = data.find(b"IDAT")
    return header.bits == 16 and header.colours == 2 and data.find(b"tRNS", 0, pixels) >= 0


def check_inflated(header: PngHeader, data: bytes) -> None:
    """Refuse a PNG of 16-bit colour whose data inflate to more than its pixels, or for long.

    Pillow stops there, and libpng inflates the rest as well: a thousand bytes for each that came.

    Raises:
        TooLargeError: Inflating takes too long.
        ValueError: There are more data than pixels.
    """
    left = (6 * header.width + 3) * header.height + 64  # each row has a byte more, interlaced ones two
    inflater, meter = zlib.decompressobj(), Meter("PNG", _INFLATING_S)
    with contextlib.suppress(zlib.error):  # its decoder says what is missing
        for piece in _deflated(data):
            rest = piece
            while rest:
                meter.check()
                left -= len(inflater.decompress(rest, _INFLATED_BYTES))
                rest = inflater.unconsumed_tail
                if left < 0:
                    raise ValueError("there are more pixels than the header says")
            if inflater.eof:
                return


def scale_colour_key(image: Image.Image, header: PngHeader) -> None:
    """Scale the colour key of a grey PNG as Pillow scales its pixels: from 2 or 4 bits to 8."""
    key = image.info.get("transparency")
    if header.colours == 0 and header.bits in {2, 4} and isinstance(key, int):
        image.info["transparency"] = key * (255 // (2**header.bits - 1))


def _deflated(data: bytes) -> Iterator[bytes]:
    """Yield the data of a PNG's pixels in pieces."""
    position = 8
    while position < len(data):
        end = position + 12 + int.from_bytes(data[position : position + 4], "big")
        if data[position + 4 : position + 8] == b"IDAT":
            for start in range(position + 8, min(end - 4, len(data)), _DEFLATED_BYTES):
                yield data[start : min(start + _DEFLATED_BYTES, end - 4)]
        position = end


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
    grey = np.asarray(image)
    scaled = _to_8_bits(grey)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        scaled[grey == transparent] = 255
    return Image.fromarray(scaled).convert("RGB")


def _to_8_bits(pixels: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    return ((pixels.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
