"""One upload may take so much memory and time, whatever its format: a corpus of bombs, small files that claim a lot."""

from __future__ import annotations

import functools
import io
import json
import os
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from flask import Flask
from PIL import Image

from chaos.attacks.images import MEBIBYTE
from imagerec_worker import budget
from imagerec_worker.errors import TooLargeError

MEMORY_BYTES = 150_000_000
# A second of the machine on which the prices were measured: it needs 0.1 s for the yardstick.
CPU_YARDSTICKS = 10
TRIES = 3
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
}

# A cheaper file of the same decoder and the same kind of cost runs always.
LONG = {
    *("webp-lossy-noise-4000", "webp-lossy-7071", "webp-lossy-3720-with-alpha", "webp-animated-7071"),
    *("png-rgba-5850", "png-rgba-5850-interlaced", "png-rgb-16-bit-5700-interlaced", "png-grey-alpha-16-bit-5850"),
    *("png-grey-16-bit-7071", "gif-7071", "jpeg-progressive-4780", "jpeg-progressive-noise"),
}


@functools.cache
def bomb(name: str) -> bytes:
    """A file of the corpus."""
    return BOMBS[name]()


def cost_of(app: Flask, data: bytes) -> dict[str, float]:
    """Upload ``data`` in a process of its own; return the status, the memory above idle, and the processor's time."""
    body = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n' + data + b"\r\n--x--\r\n"
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        idle_bytes = peak_bytes()
        start_s = time.process_time()
        answer = app.test_client().post("/predict", data=body, content_type="multipart/form-data; boundary=x")
        cost = {"cpu_s": time.process_time() - start_s, "memory_bytes": peak_bytes() - idle_bytes}
        os.write(writing, json.dumps(cost | {"status": answer.status_code, "detail": answer.text[:400]}).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        cost = json.loads(pipe.read() or b"{}")
    assert os.waitpid(pid, 0)[1] == 0
    return cost


@functools.cache
def progressive_noise() -> bytes:
    return encode(grain(2000), "JPEG", quality=90, progressive=True)


def yardstick_s() -> float:
    """Return the processor's time for a piece of decoding, in seconds: machines differ by a factor of three."""
    data = progressive_noise()
    start_s = time.process_time()
    Image.open(io.BytesIO(data)).load()
    return time.process_time() - start_s


first_yardstick_s = functools.cache(yardstick_s)  # for every first attempt; who needs another one measures anew


def peak_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # forking a process that has threads
@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.long] * (name in LONG)) for name in BOMBS])
def test_a_bomb_costs_little_or_is_refused_by_its_header(app: Flask, name: str) -> None:
    data = bomb(name)
    assert len(data) <= 20 * MEBIBYTE
    for attempt in range(TRIES):  # neighbours on the machine make processor time longer, never shorter
        limit_s = CPU_YARDSTICKS * (yardstick_s() if attempt else first_yardstick_s())
        cost = cost_of(app, data)
        assert cost["status"] in {200, 413, 422}, cost
        assert cost["memory_bytes"] <= MEMORY_BYTES, cost
        if cost["cpu_s"] <= limit_s or attempt == TRIES - 1:
            break
    assert cost["cpu_s"] <= limit_s, cost


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("webp-lossless-7071", "at most 140 MB are spent"),
        ("png-rgb-7071", "at most 140 MB are spent"),
        ("jpeg-progressive-7071", "at most 140 MB are spent"),
        ("jpeg-arithmetic-7071", "at most 1 s is spent"),
    ],
)
def test_a_refusal_names_the_limit_and_the_remedy(app: Flask, name: str, limit: str) -> None:
    answer = app.test_client().post("/predict", data=bomb(name), content_type="image/*")
    assert answer.status_code == 413
    assert limit in answer.get_json()["detail"]
    assert "make it smaller, or send an ordinary JPEG" in answer.get_json()["detail"]


@pytest.mark.parametrize(
    ("kind", "megapixels", "options"),
    [
        ("JPEG", 48, {}),
        ("JPEG", 24, {"progressive": True}),
        ("PNG", 24, {}),
        ("WEBP", 16, {"lossless": True, "quality": 0, "method": 0}),
        ("WEBP", 18, {"method": 0}),
        ("GIF", 40, {}),
    ],
)
def test_what_cameras_and_screens_make_is_answered(
    app: Flask, kind: str, megapixels: int, options: dict[str, object]
) -> None:
    data = encode(flat(int((megapixels * MEGABYTE) ** 0.5), "L" if kind == "GIF" else "RGB"), kind, **options)
    assert app.test_client().post("/predict", data=data, content_type="image/*").status_code == 200


def test_the_limits_are_exact() -> None:
    budget.check("GIF", 0, budget.MAX_MEMORY_BYTES, budget.MAX_WORK_NS)
    with pytest.raises(TooLargeError, match="MB of memory"):
        budget.check("GIF", 1, budget.MAX_MEMORY_BYTES)
    with pytest.raises(TooLargeError, match="s to decode"):
        budget.check("GIF", 0, 0, budget.MAX_WORK_NS + 1)
