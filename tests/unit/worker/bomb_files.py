"""A corpus of bombs: small files that claim or cost a lot."""

from __future__ import annotations

import functools
import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image

MEGABYTE = 1_000_000


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def flat(side: int, mode: str = "RGB") -> Image.Image:
    return Image.new(mode, (side, side), (40, 200, 90, 100)[: len(mode)] if len(mode) > 1 else 40)


def grain(side: int, colours: int = 256) -> Image.Image:
    return Image.fromarray(np.random.default_rng(3).integers(0, colours, (side, side, 3), np.uint8))


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, bits: int, colours: int, interlaced: bool = False) -> bytes:
    """A PNG whose samples are all equal, each row by Paeth's filter, the dearest."""
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colours]
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    packer = zlib.compressobj(1)
    pixels = b""
    for left, top, across, down in passes if interlaced else [(0, 0, 1, 1)]:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        row = b"\4" + bytes(-(-columns * samples * bits // 8))
        for start in range(0, rows, 512):
            pixels += packer.compress(row * min(512, rows - start))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, interlaced))
    palette = chunk(b"PLTE", bytes(768)) if colours == 3 else b""
    return b"\x89PNG\r\n\x1a\n" + header + palette + chunk(b"IDAT", pixels + packer.flush()) + chunk(b"IEND", b"")


def jpeg_of(width: int, height: int, data: bytes) -> bytes:
    """A JPEG with another size in its frame header."""
    frame = max(data.find(bytes((0xFF, marker))) for marker in (0xC0, 0xC2, 0xC9))
    return data[: frame + 5] + struct.pack(">HH", height, width) + data[frame + 9 :]


def arithmetic(side: int, noise: bytes = b"") -> bytes:
    """A JPEG in arithmetic coding, of ``noise`` or of nothing: its decoder goes on with zeros, and says nothing."""
    data = jpeg_of(side, side, encode(flat(16), "JPEG", subsampling=0))
    scan = data.index(b"\xff\xda")
    return data[:scan].replace(b"\xff\xc0", b"\xff\xc9") + data[scan : scan + 14] + noise + b"\xff\xd9"


def many_scans(data: bytes, number: int) -> bytes:
    """A progressive JPEG whose last scan, which refines, is there again and again."""
    last, end = data.rindex(b"\xff\xda"), data.rindex(b"\xff\xd9")
    return data[:last] + data[last:end] * (number - data.count(b"\xff\xda") + 1) + b"\xff\xd9"


def webp_frames(side: int, picture: bytes, number: int = 1) -> bytes:
    """An animation whose canvas and frames have ``side`` by ``side`` pixels."""
    size = (side - 1).to_bytes(3, "little") * 2
    frame = bytes(6) + size + b"\x64\0\0\0" + picture[12:]
    chunks = [(b"VP8X", b"\2\0\0\0" + size), (b"ANIM", bytes(6)), *[(b"ANMF", frame)] * number]
    body = b"WEBP" + b"".join(kind + struct.pack("<I", len(content)) + content for kind, content in chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def lossless(side: int, mode: str = "RGB") -> bytes:
    return encode(flat(side, mode), "WEBP", lossless=True, method=0, quality=0)


def inflating(megabytes: int) -> bytes:
    """A PNG of 16 bits with a colour key, whose data go on behind its pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0)) + chunk(b"tRNS", bytes(6))
    packer = zlib.compressobj(wbits=-15)
    pixels, more = (packer.compress(bytes(count)) + packer.flush(zlib.Z_FULL_FLUSH) for count in (100, MEGABYTE))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"\x78\x9c" + pixels + more * megabytes) + chunk(b"IEND", b"")


def number(value: int, bits: int) -> list[int]:
    """A number as compressed data have it, its lowest bit first."""
    return [value >> place & 1 for place in range(bits)]


def tables(tokens: list[int]) -> list[int]:
    """The head of a block of deflate with tables of its own.

    Args:
        tokens: How long the codes of the 256 bytes are: 0 for one bit, 1 and seven bits for so many of none, less 11.
    """
    order = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1)
    lengths = [bit for code in order for bit in number(int(code in {1, 18}), 3)]
    # Those of the block's end and of the one distance have one bit too.
    return [0, 0, 1, *number(0, 5), *number(0, 5), *number(len(order) - 4, 4), *lengths, *tokens, 0, 0]


# Blocks of deflate that bring nothing.
EMPTY = {
    "stored": [0, 0, 0, 0, 0, 0, 0, 0, *number(0xFFFF0000, 32)],
    "fixed": [0, 1, 0, *number(0, 7)],
    "dynamic": [*tables([1, *number(138 - 11, 7), 1, *number(118 - 11, 7)]), 0],
}
# Eight zeros.
TINY = [*tables([0, 1, *number(138 - 11, 7), 1, *number(117 - 11, 7)]), *[0] * 8, 1]


def repeated(bits: list[int], size: int) -> bytes:
    """The bits again and again, in ``size`` bytes."""
    whole = np.packbits(np.array(bits * 8, np.uint8), bitorder="little").tobytes()
    return whole * (size // len(whole))


def behind(blocks: bytes, picture: bytes) -> bytes:
    """A PNG with blocks of deflate before its pixels."""
    pixels = picture.index(b"IDAT")
    end = pixels + 4 + int.from_bytes(picture[pixels - 4 : pixels], "big")
    packed = picture[pixels + 4 : end]
    return picture[: pixels - 4] + chunk(b"IDAT", packed[:2] + blocks + packed[2:]) + picture[end + 4 :]


def with_chunk(picture: bytes, kind: bytes, content: bytes) -> bytes:
    """A PNG with another chunk behind its header."""
    return picture[:33] + chunk(kind, content) + picture[33:]


def gif_of_clear_codes(size: int) -> bytes:
    """A GIF whose data are the code that empties the table, again and again."""
    head = encode(flat(16, "L"), "GIF")
    begin = head.index(b",") + 10
    return head[:begin] + b"\1" + (b"\xff" + b"\xaa" * 255) * (size // 256) + b"\0;"


def webp_of_groups(side: int) -> bytes:
    """A lossless WebP in which each of ``side`` by ``side`` blocks of 4 by 4 pixels has five tables of its own."""
    order = (17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8)  # in which the format lists how long codes of codes are
    one_symbol = [1, 0, 0, 0]

    def bytes_of_8_bits(rest: list[int]) -> list[int]:
        lengths = [bit for code in order for bit in number(int(code in {8, 18}), 3)]
        return [0, *number(len(order) - 4, 4), *lengths, 0, *[0] * 256, *rest]

    blocks = np.arange(side * side)
    head = [*number(4 * side - 1, 14) * 2, *number(0, 4), *number(0, 2), 1, *number(0, 3)]
    head += [0, *bytes_of_8_bits([1, *number(24 - 11, 7)]), *bytes_of_8_bits([]), *one_symbol * 3]
    which = np.unpackbits(np.stack([blocks & 255, blocks >> 8], axis=1).astype(np.uint8))
    bits = np.concatenate([np.array(head, np.uint8), which, np.tile(np.array(one_symbol * 5, np.uint8), side * side)])
    content = b"\x2f" + np.packbits(bits, bitorder="little").tobytes()
    content += b"\0" * (len(content) & 1)
    chunks = b"WEBPVP8L" + struct.pack("<I", len(content)) + content
    return b"RIFF" + struct.pack("<I", len(chunks)) + chunks


def empty_blocks(kind: str, keyed: bool = False) -> bytes:
    """A PNG of 19 megabytes before its pixels, which are 64 by 64."""
    picture = with_chunk(png(64, 64, 16, 2), b"tRNS", bytes(6)) if keyed else png(64, 64, 8, 2)
    return behind(repeated(EMPTY[kind], 19 * MEGABYTE), picture)


BOMBS: dict[str, Callable[[], bytes]] = {
    "webp-lossless-7071": lambda: lossless(7071),
    "webp-lossless-4180": lambda: lossless(4180),
    "webp-lossless-3940-with-alpha": lambda: lossless(3940, "RGBA"),
    "webp-lossless-noise-2200": lambda: encode(grain(2200), "WEBP", lossless=True, method=0, quality=0),
    "webp-lossy-7071": lambda: encode(flat(7071), "WEBP", method=0),
    "webp-lossy-4440": lambda: encode(flat(4440), "WEBP", method=0),
    "webp-lossy-noise-4000": lambda: encode(grain(4000), "WEBP", method=0, quality=20),
    "webp-lossy-3720-with-alpha": lambda: encode(flat(3720, "RGBA"), "WEBP", method=0),
    "webp-animated-7071": lambda: webp_frames(7071, lossless(7071)),
    "webp-animated-4000-of-many-frames": lambda: webp_frames(4000, lossless(4000), 1000),
    "webp-canvas-7071-around-a-dot": lambda: webp_frames(7071, encode(flat(16), "WEBP")),
    "webp-two-million-chunks": lambda: (
        webp_frames(16, encode(flat(16), "WEBP"))[:30] + b"XMP \0\0\0\0" * (2 * MEGABYTE)
    ),
    "png-rgb-7071": lambda: png(7071, 7071, 8, 2),
    "png-rgba-5850": lambda: png(5850, 5850, 8, 6),
    "png-rgba-5850-interlaced": lambda: png(5850, 5850, 8, 6, interlaced=True),
    "png-rgba-16-bit-4950": lambda: png(4950, 4950, 16, 6),
    "png-rgb-16-bit-5700-interlaced": lambda: png(5700, 5700, 16, 2, interlaced=True),
    "png-grey-alpha-16-bit-5850": lambda: png(5850, 5850, 16, 4),
    "png-grey-16-bit-7071": lambda: png(7071, 7071, 16, 0),
    "png-grey-1-bit-7071-interlaced": lambda: png(7071, 7071, 1, 0, interlaced=True),
    "png-palette-7071": lambda: png(7071, 7071, 8, 3),
    "png-one-row-of-30-million": lambda: png(30 * MEGABYTE, 1, 8, 6),
    "png-noise-of-19-megabytes": lambda: encode(grain(2500), "PNG", compress_level=0),
    "gif-7071": lambda: encode(flat(7071, "L"), "GIF"),
    "gif-7071-noise": lambda: encode(grain(3000, 2).convert("L"), "GIF"),
    "gif-claims-7071": lambda: b"GIF89a" + struct.pack("<HH", 7071, 7071) + encode(flat(16, "L"), "GIF")[10:],
    "jpeg-7071": lambda: encode(flat(7071), "JPEG", subsampling=0),
    "jpeg-noise-of-19-megabytes": lambda: encode(grain(2900), "JPEG", quality=95, subsampling=0),
    "jpeg-65500-by-760": lambda: jpeg_of(65500, 760, encode(Image.new("RGB", (65500, 760)), "JPEG")),
    "jpeg-cmyk-7071": lambda: encode(flat(7071, "CMYK"), "JPEG"),
    "jpeg-progressive-7071": lambda: encode(flat(7071), "JPEG", progressive=True, subsampling=0),
    "jpeg-progressive-4780": lambda: encode(flat(4780), "JPEG", progressive=True, subsampling=0),
    "jpeg-progressive-4780-of-32-scans": lambda: many_scans(
        encode(flat(4780), "JPEG", progressive=True, subsampling=0), 32
    ),
    "jpeg-progressive-noise": lambda: encode(grain(4000), "JPEG", quality=50, progressive=True),
    "jpeg-arithmetic-7071": lambda: arithmetic(7071),
    "jpeg-arithmetic-2000": lambda: arithmetic(2000),
    "jpeg-arithmetic-2000-noise": lambda: arithmetic(
        2000, np.random.default_rng(5).integers(0, 255, 5 * MEGABYTE, np.uint8).tobytes()
    ),
    "jpeg-19-megabytes-of-profiles": lambda: (
        (data := encode(flat(64), "JPEG"))[:2] + (b"\xff\xe2\xff\xf0" + bytes(65518)) * 290 + data[2:]
    ),
    "png-19-megabytes-of-texts": lambda: (
        (data := png(64, 64, 8, 2))[:33] + chunk(b"tEXt", b"a\0" + bytes(400)) * 46_000 + data[33:]
    ),
    "png-one-column-of-15-million": lambda: png(1, 15_500_000, 8, 0),
    "png-one-column-of-40-million": lambda: png(1, 40 * MEGABYTE, 1, 0),
    "png-that-inflates-to-four-gigabytes": lambda: inflating(4000),
    "webp-of-65536-groups-of-tables": lambda: webp_of_groups(256),
    **{f"png-19-megabytes-of-empty-{kind}-blocks": functools.partial(empty_blocks, kind) for kind in EMPTY},
    "png-16-bit-with-a-key-19-megabytes-of-empty-blocks": lambda: empty_blocks("dynamic", keyed=True),
    "png-rgba-5400-behind-5-megabytes-of-empty-blocks": lambda: behind(
        repeated(EMPTY["dynamic"], 5 * MEGABYTE), png(5400, 5400, 8, 6)
    ),
    "png-19-megabytes-of-empty-blocks-in-a-profile": lambda: with_chunk(
        png(64, 64, 8, 2), b"iCCP", b"a\0\0\x78\x01" + repeated(EMPTY["dynamic"], 19 * MEGABYTE)
    ),
    "png-2000-in-blocks-of-8-bytes": lambda: behind(repeated(TINY, 18_600_000), png(2000, 2000, 8, 2)),
    "gif-19-megabytes-of-clear-codes": lambda: gif_of_clear_codes(19 * MEGABYTE),
    "jpeg-19-megabytes-of-profiles-behind-its-pixels": lambda: (
        (data := encode(flat(64), "JPEG"))[:-2] + b"\xff\xe2\0\2" * (19 * MEGABYTE // 4) + data[-2:]
    ),
    "jpeg-progressive-grey-7071-of-32-scans": lambda: many_scans(encode(flat(7071, "L"), "JPEG", progressive=True), 32),
}


@functools.cache
def bomb(name: str) -> bytes:
    """A file of the corpus."""
    return BOMBS[name]()
