"""What an image file carries besides its pixels: taken off before a decoder sees it, and only the orientation read.

Pillow reads comments, profiles and EXIF as soon as it opens a file, at a price that a hostile upload sets: many
small comments are joined in quadratic time, every PNG profile is inflated, and each entry of an EXIF directory may
copy the whole block. Nothing of it changes a pixel but the orientation.
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

from imagerec_worker.errors import TooLargeError
from imagerec_worker.scans import check_scans

# A 20 MiB PNG written in the usual pieces of 8 KiB has 2,560; XMP in a GIF looks like one for every 60 bytes.
_MAX_BLOCKS = 50_000

# Any number of 0xFF may stand before a marker. To match them all would take quadratic time where none follows.
_JPEG_MARKER = re.compile(rb"\xff([\x01-\xfe])")
_JPEG_RESTARTS = frozenset(range(0xD0, 0xD8))
_JPEG_SCAN, _JPEG_EXIF = 0xDA, 0xE1
JPEG_END = b"\xff\xd9"
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Frame headers and tables; APP0 and APP14, which say what the colours mean.
_JPEG_KEPT = _JPEG_FRAMES | {0xC4, 0xCC, 0xDB, 0xDD, 0xE0, 0xEE}
_JPEG_DROPPED = frozenset({0xDC, *range(0xE0, 0xF0), 0xFE}) - _JPEG_KEPT
# Frames whose colours a single scan may hold all together; then decoders look at no other.
_JPEG_SEQUENTIAL = frozenset({0xC0, 0xC1, 0xC9})
_PNG_CHUNK = re.compile(rb"\w{4}")
_PNG_KEPT = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_GIF_BLOCK = re.compile(rb"[!,;]")
_GIF_GRAPHIC_CONTROL = 0xF9

_EXIF_ORIENTATION = 0x0112
_EXIF_SHORT, _EXIF_LONG = 3, 4
_MAX_EXIF_ENTRIES = 1000


class Plain(NamedTuple):
    """An image file with nothing but what its pixels need.

    Attributes:
        data: The file.
        exif: The EXIF block that it had, empty when none.
        frame: The frame header of a JPEG, from its marker's second byte on; empty for other formats.
        scans: How many scans at most bring the pixels of a JPEG, or 0 for one that brings all.
        ended: Whether the last bytes are the end of a JPEG.
    """

    data: bytes
    exif: bytes
    frame: bytes = b""
    scans: int = 0
    ended: bool = True


def without_metadata(kind: str, data: bytes) -> Plain:
    """Return the file without its metadata.

    Args:
        kind: ``JPEG``, ``PNG`` or ``GIF``, by the file's first bytes.
        data: The whole file.

    Raises:
        TooLargeError: The file has far too many blocks or scans.
        ValueError: Its structure makes no sense.
    """
    try:
        return {"JPEG": _plain_jpeg, "PNG": _plain_png, "GIF": _plain_gif}[kind](data)
    except IndexError:
        raise ValueError("a header ends too early") from None


def orientation_of(exif: bytes) -> int:
    """Return the orientation that an EXIF block gives, 1 to 8; 1 when there is none or it makes no sense."""
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(f"{order}4xI", exif)
        (entries,) = struct.unpack_from(f"{order}H", exif, directory)
        for index in range(min(entries, _MAX_EXIF_ENTRIES)):
            place = directory + 2 + 12 * index
            tag, kind, count = struct.unpack_from(f"{order}HHI", exif, place)
            if tag == _EXIF_ORIENTATION and count == 1 and kind in {_EXIF_SHORT, _EXIF_LONG}:
                value: int
                (value,) = struct.unpack_from(order + ("H" if kind == _EXIF_SHORT else "I"), exif, place + 8)
                return value if 1 <= value <= 8 else 1
    except struct.error:  # it ends too early
        pass
    return 1


def _plain_jpeg(data: bytes) -> Plain:
    view = memoryview(data)
    parts, exif, frame, position = [view[:2]], b"", b"", 2
    for _ in range(_MAX_BLOCKS):
        match = _JPEG_MARKER.search(data, position)
        if match is None:
            raise ValueError("the file ends before its pixels begin")
        marker, position = match[1][0], match.end()
        if marker == _JPEG_SCAN:
            if not frame:
                raise ValueError("pixels come before their frame")
            in_scans = frame[0] not in _JPEG_SEQUENTIAL or data[position + 2 : position + 3] != frame[8:9]
            parts.append(view[match.start() :])
            scans = check_scans(frame, data, match.start()) if in_scans else 0
            return Plain(b"".join(parts), exif, frame, scans, data.endswith(JPEG_END))
        if marker in _JPEG_RESTARTS:
            continue
        length = int.from_bytes(data[position : position + 2], "big")
        if marker not in _JPEG_KEPT | _JPEG_DROPPED or length < 2:
            raise ValueError(f"no header has a segment {marker:#x} of {length} bytes")
        if marker in _JPEG_FRAMES:
            if frame:
                raise ValueError("there are two frames")
            frame = data[position - 1 : position + length]
        if marker in _JPEG_KEPT:
            parts.append(view[position - 2 : position + length])
        elif marker == _JPEG_EXIF and not exif and data.startswith(b"Exif\0\0", position + 2):
            exif = data[position + 2 : position + length]
        position += length
    raise _too_many("JPEG")


def _plain_png(data: bytes) -> Plain:
    view = memoryview(data)
    parts, exif, position = [view[:8]], b"", 8
    for _ in range(_MAX_BLOCKS):
        kind = data[position + 4 : position + 8]
        if _PNG_CHUNK.fullmatch(kind) is None:  # here Pillow stops too: it is broken, or the pixels have been before it
            parts.append(view[position:])
            return Plain(b"".join(parts), exif)
        end = position + 12 + int.from_bytes(data[position : position + 4], "big")
        if kind == b"IHDR" and position != 8:
            raise ValueError("there are two headers")
        if kind in _PNG_KEPT:
            parts.append(view[position:end])
        elif kind == b"eXIf" and not exif:
            exif = data[position + 8 : end - 4]
        if kind == b"IEND":
            return Plain(b"".join(parts), exif)
        position = end
    raise _too_many("PNG")


def _plain_gif(data: bytes) -> Plain:
    flags = data[10] if len(data) > 10 else 0
    position = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    view = memoryview(data)
    parts = [view[:position]]
    blocks = 0
    while blocks < _MAX_BLOCKS:
        match = _GIF_BLOCK.search(data, position)
        if match is None or match[0] != b"!":  # the first frame, or the end
            parts.append(view[len(data) if match is None else match.start() :])
            return Plain(b"".join(parts), b"")
        start = match.start()
        position = start + 2
        while blocks < _MAX_BLOCKS:
            length = data[position] if position < len(data) else 0
            position += 1 + length
            blocks += 1
            if not length:
                break
        if data[start + 1 : start + 2] == bytes((_GIF_GRAPHIC_CONTROL,)):
            parts.append(view[start:position])
    raise _too_many("GIF")


def _too_many(kind: str) -> TooLargeError:
    return TooLargeError(f"the {kind} image is cut into more than {_MAX_BLOCKS} blocks; save it again")
