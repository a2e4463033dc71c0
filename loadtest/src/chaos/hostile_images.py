"""Hostile images: bombs, files of two formats at once, and seeded mutations of sound files. Pillow and numpy only."""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
from PIL import Image

MEBIBYTE = 1024 * 1024
FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
TYPES = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "GIF": "image/gif"}
BOMB_BYTES = 100 * MEBIBYTE
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


def _chunk(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _png(width: int, height: int, bits: int, pixels: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    return SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", pixels) + _chunk(b"IEND")


def _png_with(chunks: bytes) -> bytes:
    """A sound PNG with further chunks behind its header."""
    png = sound("PNG")
    return png[:33] + chunks + png[33:]


def _jpeg_with(segments: bytes) -> bytes:
    jpeg = sound("JPEG")
    return jpeg[:2] + segments + jpeg[2:]


def _gif_with(blocks: bytes) -> bytes:
    """A sound GIF with further blocks before its first frame."""
    gif = sound("GIF")
    start = _gif_start()
    return gif[:start] + blocks + gif[start:]


def _gif_start() -> int:
    flags = sound("GIF")[10]
    return 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)


def _jpeg_of(width: int, height: int, data: bytes) -> bytes:
    """``data`` with another size in its frame header."""
    frame = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
    return data[: frame + 5] + struct.pack(">HH", height, width) + data[frame + 9 :]


def _jpeg_scans(number: int, side: int, progressive: bool) -> bytes:
    """A JPEG of ``side`` by ``side`` pixels whose last scan, or an empty one, comes ``number`` times."""
    data = sound("JPEG", progressive=progressive)
    if progressive:
        last, end = data.rindex(b"\xff\xda"), data.rindex(b"\xff\xd9")
        return _jpeg_of(side, side, data[:last] + data[last:end] * number + b"\xff\xd9")
    head = data[: data.index(b"\xff\xda")]
    return _jpeg_of(side, side, head + b"\xff\xda\0\x08\1\1\0\0\x3f\0" * number + b"\xff\xd9")


def _webp(width: int, height: int) -> bytes:
    """An animated WebP whose canvas claims ``width`` by ``height`` pixels around one small frame."""
    still = sound("WEBP")[12:]
    frame = (0).to_bytes(6, "little") + (47).to_bytes(3, "little") * 2 + (100).to_bytes(3, "little") + b"\0" + still
    canvas = b"\x02\0\0\0" + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    chunks = b"".join(
        kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)
        for kind, content in ((b"VP8X", canvas), (b"ANIM", bytes(6)), (b"ANMF", frame))
    )
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks


def _lossless_webp(side: int) -> bytes:
    """A lossless WebP of ``side`` by ``side`` pixels of one colour: 40 bytes."""
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), (40, 200, 90)).save(buffer, "WEBP", lossless=True, method=0, quality=0)
    return buffer.getvalue()


def _gif_frames(number: int) -> bytes:
    gif = sound("GIF")
    start = _gif_start()
    return gif[:start] + gif[start:-1] * number + b";"


def _exif(size: int) -> bytes:
    """An EXIF directory of 5,000 entries, each of which claims the same ``size`` bytes."""
    entries = b"".join(struct.pack(">HHII", 0x8000 + index, 7, size, 0) for index in range(5000))
    return b"MM\0\x2a\0\0\0\x08" + struct.pack(">H", 5000) + entries + bytes(size + 4)


@cache
def _deflated() -> bytes:
    return zlib.compress(bytes(BOMB_BYTES), 1)


BOMBS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "png-13000-square-in-one-bit": (
        "PNG",
        lambda: _png(13_000, 13_000, 1, zlib.compress(bytes(13_000 * 1626), 1)),
    ),
    "png-claims-2-billion-square": ("PNG", lambda: _png(2**31 - 1, 2**31 - 1, 8, zlib.compress(b"\0"))),
    "png-pixels-inflate-to-100-megabytes": ("PNG", lambda: _png(16, 16, 8, _deflated())),
    "png-ztxt-of-100-megabytes": ("PNG", lambda: _png_with(_chunk(b"zTXt", b"Comment\0\0" + _deflated()))),
    "png-itxt-of-100-megabytes": ("PNG", lambda: _png_with(_chunk(b"iTXt", b"Comment\0\1\0\0\0" + _deflated()))),
    "png-profile-of-100-megabytes": ("PNG", lambda: _png_with(_chunk(b"iCCP", b"a\0\0" + _deflated()))),
    "png-900-profiles-of-a-megabyte": (
        "PNG",
        lambda: _png_with(_chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(MEBIBYTE))) * 900),
    ),
    "png-60000-texts": ("PNG", lambda: _png_with(_chunk(b"tEXt", b"a\0b") * 60_000)),
    "png-exif-entries-share-bytes": ("PNG", lambda: _png_with(_chunk(b"eXIf", _exif(300_000)))),
    "gif-5000-frames": ("GIF", lambda: _gif_frames(5000)),
    "gif-claims-65535-square": ("GIF", lambda: sound("GIF")[:6] + b"\xff" * 4 + sound("GIF")[10:]),
    "gif-frame-larger-than-its-screen": (
        "GIF",
        lambda: sound("GIF").replace(b"," + bytes(4) + struct.pack("<HH", 48, 48), b"," + bytes(4) + b"\xff" * 4),
    ),
    "gif-comment-in-pieces-of-a-byte": ("GIF", lambda: _gif_with(b"!\xfe" + b"\1x" * 500_000 + b"\0")),
    "gif-200000-comments": ("GIF", lambda: _gif_with(b"!\xfe\1x\0" * 200_000)),
    "webp-canvas-of-16384-square": ("WEBP", lambda: _webp(16_384, 16_384)),
    "webp-canvas-of-65535-square": ("WEBP", lambda: _webp(65_535, 65_535)),
    "webp-lossless-7071-square-in-one-colour": ("WEBP", lambda: _lossless_webp(7071)),
    "jpeg-claims-65535-square": ("JPEG", lambda: _jpeg_of(65_535, 65_535, sound("JPEG"))),
    "jpeg-claims-7000-square": ("JPEG", lambda: _jpeg_of(7000, 7000, sound("JPEG"))),
    "jpeg-progressive-500-scans": ("JPEG", lambda: _jpeg_scans(500, 48, progressive=True)),
    "jpeg-progressive-80-more-scans-of-5000-square": ("JPEG", lambda: _jpeg_scans(80, 5000, progressive=True)),
    "jpeg-progressive-22-more-scans-of-5000-square": ("JPEG", lambda: _jpeg_scans(22, 5000, progressive=True)),
    "jpeg-sequential-10000-scans-of-7000-square": ("JPEG", lambda: _jpeg_scans(10_000, 7000, progressive=False)),
    "jpeg-200000-comments": ("JPEG", lambda: _jpeg_with(b"\xff\xfe\0\2" * 200_000)),
    "jpeg-exif-in-pieces-of-a-byte": ("JPEG", lambda: _jpeg_with(b"\xff\xe1\0\x09Exif\0\0x" * 100_000)),
    "jpeg-exif-entries-share-bytes": (
        "JPEG",
        lambda: _jpeg_with(b"\xff\xe1" + struct.pack(">H", 65_018) + b"Exif\0\0" + _exif(4996)),
    ),
}

POLYGLOTS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "gif-and-script": ("image/gif", lambda: b"GIF89a=1/*" + sound("GIF")[10:] + b"*/;alert(1)//"),
    "jpeg-and-zip": ("image/jpeg", lambda: sound("JPEG") + b"PK\x03\x04" + bytes(26) + b"PK\x05\x06" + bytes(18)),
    "png-and-html": (
        "image/png",
        lambda: _png_with(_chunk(b"tEXt", b"Comment\0<!-- --><script>alert(1)</script>")),
    ),
    "pdf-and-jpeg": (
        "image/jpeg",
        lambda: b"%PDF-1.7\n1 0 obj\n<<>>\nstream\n" + sound("JPEG") + b"\nendstream\n%%EOF",
    ),
    "jpeg-with-php": ("image/jpeg", lambda: _jpeg_with(b"\xff\xfe\0\x1a<?php system('id'); ?>  ")),
    "svg": (
        "image/svg+xml",
        lambda: (
            b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
            b'<svg xmlns="http://www.w3.org/2000/svg"><text>&e;</text><script>alert(1)</script></svg>'
        ),
    ),
    "eps": (
        "image/jpeg",
        lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%id) (r) file\nshowpage\n%%EOF\n",
    ),
    "eps-with-a-dos-header": (
        "image/png",
        lambda: b"\xc5\xd0\xd3\xc6" + struct.pack("<II", 30, 40) + bytes(18) + b"%!PS",
    ),
    "heic": ("image/heic", lambda: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64)),
    "mvg": (
        "image/png",
        lambda: b"push graphic-context\nfill 'url(https://127.0.0.1/x.jpg\"|id \"x)'\npop graphic-context\n",
    ),
    "tiff": ("image/tiff", lambda: b"II*\0\x08\0\0\0\0\0\0\0\0\0"),
    "bmp": ("image/bmp", lambda: b"BM" + struct.pack("<IIIIiiHHIIiiII", 66, 0, 54, 40, 2, 2, 1, 24, 0, 12, 0, 0, 0, 0)),
    "webp-head-on-a-wave": ("image/webp", lambda: b"RIFF" + struct.pack("<I", 36) + b"WAVEfmt " + bytes(28)),
}


def gzip_bomb() -> bytes:
    """A body of 100 MB of zeros, gzipped."""
    return gzip.compress(bytes(BOMB_BYTES), 1, mtime=0)


def mutated(count: int, seed: int) -> Iterator[tuple[str, str, bytes, bytes]]:
    """Yield ``count`` of (name, format, the sound file, that file damaged), the same for the same seed."""
    rng = np.random.default_rng(seed)
    originals = [(kind, sound(kind, side)) for kind in FORMATS for side in (16, 64)]
    originals += [("JPEG", sound("JPEG", 64, progressive=True))]
    for number in range(count):
        kind, data = originals[number % len(originals)]
        damage = _DAMAGES[int(rng.integers(len(_DAMAGES)))]
        found = damage(data, rng)
        while found == data:
            found = _flip_bits(data, rng)
        yield f"{number:04}-{kind.lower()}-{damage.__name__.strip('_')}", kind, data, found


def _place(data: bytes, rng: np.random.Generator) -> int:
    """A place in ``data``: in half of the cases among the first 64 bytes, where the structure stands."""
    return int(rng.integers(min(64, len(data)) if rng.random() < 0.5 else len(data)))


def _flip_bits(data: bytes, rng: np.random.Generator) -> bytes:
    found = bytearray(data)
    for _ in range(int(rng.integers(1, 9))):
        found[_place(data, rng)] ^= 1 << int(rng.integers(8))
    return bytes(found)


def _set_bytes(data: bytes, rng: np.random.Generator) -> bytes:
    place, value = _place(data, rng), int(rng.choice([0x00, 0x7F, 0x80, 0xFF]))
    length = int(rng.choice([1, 2, 4]))
    return data[:place] + bytes([value]) * length + data[place + length :]


def _delete_bytes(data: bytes, rng: np.random.Generator) -> bytes:
    place = _place(data, rng)
    return data[:place] + data[place + int(rng.integers(1, 17)) :]


def _insert_bytes(data: bytes, rng: np.random.Generator) -> bytes:
    place = _place(data, rng)
    return data[:place] + rng.bytes(int(rng.integers(1, 17))) + data[place:]


def _truncate(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: int(rng.integers(1, len(data)))]


def _duplicate_segment(data: bytes, rng: np.random.Generator) -> bytes:
    start, end = sorted(int(place) for place in rng.integers(0, len(data) + 1, 2))
    return data[:end] + data[start:end] * int(rng.integers(1, 4)) + data[end:]


def _swap_segments(data: bytes, rng: np.random.Generator) -> bytes:
    first, second, third = sorted(int(place) for place in rng.integers(0, len(data) + 1, 3))
    return data[:first] + data[second:third] + data[first:second] + data[third:]


def _splice(data: bytes, rng: np.random.Generator) -> bytes:
    """The header of this file with the body of one of another format."""
    others = [other for other in (sound(kind) for kind in FORMATS) if other[:4] != data[:4]]
    other = others[int(rng.integers(len(others)))]
    return data[: int(rng.integers(8, 64))] + other[int(rng.integers(0, 64)) :]


_DAMAGES = (
    _flip_bits,
    _set_bytes,
    _delete_bytes,
    _insert_bytes,
    _truncate,
    _duplicate_segment,
    _swap_segments,
    _splice,
)
