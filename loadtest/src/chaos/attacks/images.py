"""Images to attack with: sound ones, and the parts that they are made of. Pillow and numpy only."""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from functools import cache

import numpy as np
from PIL import Image

MEBIBYTE = 1024 * 1024
FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
TYPES = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "GIF": "image/gif"}
BOMB_BYTES = 100 * MEBIBYTE
Upload = tuple[str, str, bytes]  # name, content type, body
SIGNATURE = b"\x89PNG\r\n\x1a\n"


@cache
def sound(kind: str, side: int = 48, progressive: bool = False) -> bytes:
    """A sound image of smooth colours and some grain: ``kind`` is one of FORMATS."""
    rows, columns = np.mgrid[0:side, 0:side] * 255 // side
    grain = np.random.default_rng(6).integers(0, 24, (side, side, 3))
    pixels = np.clip(np.stack([rows, columns, 255 - rows], axis=-1) + grain, 0, 255).astype(np.uint8)
    options: dict[str, object] = {"progressive": True} if progressive else {}
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, content: bytes = b"") -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, bits: int, pixels: bytes) -> bytes:
    """A grey PNG that claims this size, around deflated pixels."""
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    return SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND")


def png_with(chunks: bytes) -> bytes:
    """A sound PNG with further chunks behind its header."""
    data = sound("PNG")
    return data[:33] + chunks + data[33:]


def jpeg_with(segments: bytes) -> bytes:
    """A sound JPEG with further segments behind its start."""
    jpeg = sound("JPEG")
    return jpeg[:2] + segments + jpeg[2:]


def gif_with(blocks: bytes) -> bytes:
    """A sound GIF with further blocks before its first frame."""
    gif = sound("GIF")
    start = gif_start()
    return gif[:start] + blocks + gif[start:]


def gif_start() -> int:
    """Where the first block of the sound GIF stands."""
    flags = sound("GIF")[10]
    return 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)


def jpeg_of(width: int, height: int, data: bytes) -> bytes:
    """``data`` with another size in its frame header."""
    frame = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
    return data[: frame + 5] + struct.pack(">HH", height, width) + data[frame + 9 :]


def jpeg_scans(number: int, side: int, progressive: bool) -> bytes:
    """A JPEG of ``side`` by ``side`` pixels whose last scan, or an empty one, comes ``number`` times."""
    data = sound("JPEG", progressive=progressive)
    if progressive:
        last, end = data.rindex(b"\xff\xda"), data.rindex(b"\xff\xd9")
        return jpeg_of(side, side, data[:last] + data[last:end] * number + b"\xff\xd9")
    head = data[: data.index(b"\xff\xda")]
    return jpeg_of(side, side, head + b"\xff\xda\0\x08\1\1\0\0\x3f\0" * number + b"\xff\xd9")


def webp(width: int, height: int) -> bytes:
    """An animated WebP whose canvas claims ``width`` by ``height`` pixels around one small frame."""
    still = sound("WEBP")[12:]
    frame = (0).to_bytes(6, "little") + (47).to_bytes(3, "little") * 2 + (100).to_bytes(3, "little") + b"\0" + still
    canvas = b"\x02\0\0\0" + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    chunks = b"".join(
        kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)
        for kind, content in ((b"VP8X", canvas), (b"ANIM", bytes(6)), (b"ANMF", frame))
    )
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks


def lossless_webp(side: int) -> bytes:
    """A lossless WebP of ``side`` by ``side`` pixels of one colour: 40 bytes."""
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), (40, 200, 90)).save(buffer, "WEBP", lossless=True, method=0, quality=0)
    return buffer.getvalue()


def gzip_bomb() -> bytes:
    """A body of 100 MB of zeros, gzipped."""
    return gzip.compress(bytes(BOMB_BYTES), 1, mtime=0)
