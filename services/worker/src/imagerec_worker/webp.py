"""A WebP file's first picture, cut out of whatever the file holds besides.

libwebp reads animations by holding two canvases and a frame of four bytes a pixel each, also for a file of one picture.
The picture alone, made a file of its own, takes less than half of that and of the time.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from imagerec_worker.errors import TooLargeError

_MAX_CHUNKS = 50_000
_FRAME_HEADER_BYTES = 16
_SIGNATURE, _LOSSLESS_SIGNATURE = b"\x9d\x01\x2a", 0x2F
_EXTENDED, _LOSSY, _LOSSLESS, _ALPHA, _ANIMATION_FRAME, _EXIF = b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANMF", b"EXIF"

# Measured: by the kind of picture, and by whether it is transparent.
_PIXEL_BYTES = {(_LOSSY, False): 7, (_LOSSY, True): 10, (_LOSSLESS, False): 8, (_LOSSLESS, True): 9}


class Still(NamedTuple):
    """The first picture of a WebP file.

    Attributes:
        data: A WebP file of this picture alone.
        exif: The EXIF block of the whole file, empty when there is none.
        canvas: Width and height of the image in pixels.
        left: Column of the canvas in which the picture begins.
        top: Row of the canvas in which the picture begins.
        size: Width and height of the picture in pixels.
        pixel_bytes: Bytes that its decoder holds for a pixel of the picture.
    """

    data: bytes
    exif: bytes
    canvas: tuple[int, int]
    left: int
    top: int
    size: tuple[int, int]
    pixel_bytes: int


def first_picture(data: bytes) -> Still:
    """Return the first picture of the WebP file ``data``.

    Raises:
        TooLargeError: The file has far too many chunks.
        ValueError: Its structure makes no sense.
    """
    canvas: tuple[int, int] | None = None
    left = top = 0
    alpha = image = exif = b""
    kind = b""
    position = 12
    for _ in range(_MAX_CHUNKS):
        if position + 8 > len(data):
            break
        name = data[position : position + 4]
        (length,) = struct.unpack_from("<I", data, position + 4)
        start, end = position + 8, position + 8 + length
        position = end + (length & 1)
        if name == _EXTENDED and canvas is None:
            canvas = (_three_bytes(data, start + 4) + 1, _three_bytes(data, start + 7) + 1)
        elif name == _ANIMATION_FRAME and not image:
            left, top = 2 * _three_bytes(data, start), 2 * _three_bytes(data, start + 3)
            position = start + _FRAME_HEADER_BYTES  # its picture follows as chunks of the same shape
        elif name == _ALPHA and not image:
            alpha = data[start:end]
        elif name in {_LOSSY, _LOSSLESS} and not image:
            kind, image = name, data[start:end]
            if canvas is None:
                break  # a simple file has nothing else
        elif name == _EXIF and not exif:
            exif = data[start:end]
    else:
        raise TooLargeError(f"the WEBP image is cut into more than {_MAX_CHUNKS} blocks; save it again")
    size, transparent = _lossless_size(image) if kind == _LOSSLESS else (_lossy_size(image), bool(alpha))
    pixel_bytes = _PIXEL_BYTES[kind, transparent]
    if canvas is not None and (left + size[0] > canvas[0] or top + size[1] > canvas[1]):
        raise ValueError("the picture reaches beyond its canvas")
    return Still(_file(kind, image, alpha, size), exif, canvas or size, left, top, size, pixel_bytes)


def _file(kind: bytes, image: bytes, alpha: bytes, size: tuple[int, int]) -> bytes:
    chunks = [(kind, image)]
    if alpha and kind == _LOSSY:
        sides = b"".join((side - 1).to_bytes(3, "little") for side in size)
        chunks = [(_EXTENDED, b"\x10\0\0\0" + sides), (_ALPHA, alpha), (kind, image)]
    parts = [b"WEBP"]
    for name, content in chunks:
        parts += [name, struct.pack("<I", len(content)), content, b"\0" * (len(content) & 1)]
    return b"".join([b"RIFF", struct.pack("<I", sum(map(len, parts))), *parts])


def _three_bytes(data: bytes, position: int) -> int:
    return int.from_bytes(data[position : position + 3], "little")


def _lossy_size(image: bytes) -> tuple[int, int]:
    if len(image) < 10 or image[3:6] != _SIGNATURE:
        raise ValueError("there is no picture")
    width, height = struct.unpack_from("<HH", image, 6)
    return width & 0x3FFF, height & 0x3FFF


def _lossless_size(image: bytes) -> tuple[tuple[int, int], bool]:
    if len(image) < 5 or image[0] != _LOSSLESS_SIGNATURE:
        raise ValueError("there is no picture")
    (bits,) = struct.unpack_from("<I", image, 1)
    return ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1), bool(bits >> 28 & 1)
