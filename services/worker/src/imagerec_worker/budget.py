"""What decoding one upload may cost: told from its header, and refused before anything is decoded.

The prices were measured with the decoders that the worker uses, on noise and on single colours, and rounded up.
They are upper bounds: memory is exact within a tenth, time is that of a core which reads noise at the highest quality.
"""

from __future__ import annotations

import contextlib
import resource
import struct
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import NamedTuple

from imagerec_worker import offload
from imagerec_worker.errors import TooLargeError, UnsupportedFormatError

MAX_MEMORY_BYTES = 140_000_000
MAX_WORK_NS = 1_000_000_000

# What a decoder asks for and does not touch.
_SLACK_BYTES = 10_000_000

_capping = threading.Lock()  # a process has one limit, and some servers have several threads

# About 0.1 s of a core, whatever the format: 7 million pixels of a PNG, a JPEG file of 10 MB.
DEAR_MEMORY_BYTES = 30_000_000
DEAR_WORK_NS = 100_000_000

# A JSON text as long as this holds 16 pictures of 224 by 224 pixels, written as numbers.
MAX_JSON_BYTES = 12 * 1024 * 1024

# The body, the file cut out of its form, and the file without its metadata.
_COPIES = 3
# What the present request holds besides the file that is decoded: other photographs of a request of `/v2`.
beside_bytes: ContextVar[int] = ContextVar("beside_bytes", default=0)

_NS_PER_PNG_BYTE, _NS_PER_PNG_ROW = 5, 30
_PNG_ROW_BYTES = 8  # its address: of a picture a pixel wide that is most of it
_NS_PER_ARITHMETIC_BYTE, _NS_PER_ARITHMETIC_SAMPLE = 110, 60
_NS_PER_SCANNED_BYTE, _NS_PER_SCANNED_BLOCK = 25, 40  # of a JPEG in scans: each of them passes by each block

_PNG_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}

_JPEG_ARITHMETIC = frozenset({0xC9, 0xCA})
_JPEG_DECODED = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})
_JPEG_SHRINKS = (8, 4, 2)


# What Python makes of JSON, in bytes: the text itself, and an object for whatever these characters announce.
# One letter beyond ASCII makes Python keep a text in four bytes a letter, twice while it is read.
_JSON_COPIES, _JSON_COPIES_WIDE = 2, 9
_JSON_PRICES = {b",": 45, b"[": 80, b"{": 80, b":": 140, b'"': 25}


class Frame(NamedTuple):
    """The frame header of a JPEG: size in pixels, how it is coded, and its coefficients, two bytes each."""

    width: int
    height: int
    components: int
    arithmetic: bool
    coefficients: int


class PngHeader(NamedTuple):
    """The first chunk of a PNG: size in pixels, bits of a sample, colour type."""

    width: int
    height: int
    bits: int
    colours: int


def read_frame(segment: bytes) -> Frame:
    """Return what a JPEG's frame header says.

    Args:
        segment: The segment from its marker's second byte on.

    Raises:
        UnsupportedFormatError: Nothing here decodes such a JPEG.
        ValueError: The segment makes no sense.
    """
    marker = segment[0]
    try:
        bits, height, width, components = struct.unpack_from(">BHHB", segment, 3)
        factors = [divmod(segment[10 + 3 * index], 16) for index in range(components)]
    except (struct.error, IndexError):
        raise ValueError("the frame header ends too early") from None
    if marker not in _JPEG_DECODED:
        raise _unsupported("the JPEG image is of the lossless or hierarchical kind")
    if bits != 8:
        raise _unsupported(f"the JPEG image has {bits} bits a colour, 8 are supported")
    if width and not height:
        raise _unsupported("the JPEG image gives its height behind its pixels (DNL)")
    if not (width and factors and all(across and down for across, down in factors)):
        raise ValueError("the frame has no pixels")
    across, down = (max(sides) for sides in zip(*factors, strict=True))
    blocks = -(-width // (8 * across)) * -(-height // (8 * down)) * sum(a * d for a, d in factors)
    return Frame(width, height, components, marker in _JPEG_ARITHMETIC, 64 * blocks)


def check_jpeg(frame: Frame, held_bytes: int, scans: int, least: int, pixel_bytes: int, *, times: int = 1) -> None:
    """Refuse a JPEG that costs too much.

    Args:
        frame: Its frame header.
        held_bytes: Length of the file.
        scans: How many scans bring its pixels, or 0 for one that brings all: then no decoder keeps all coefficients.
        least: Least width and height that it is shrunk to while it is decoded, in pixels.
        pixel_bytes: Bytes that the decoder writes for a pixel.
        times: How often it is decoded in all.

    Raises:
        TooLargeError: It costs too much.
    """
    shrink = next((s for s in _JPEG_SHRINKS if min(frame.width, frame.height) // s >= least), 1)
    pixels = -(-frame.width // shrink) * -(-frame.height // shrink)
    work_ns = 0
    if frame.arithmetic:
        work_ns = _NS_PER_ARITHMETIC_BYTE * held_bytes + _NS_PER_ARITHMETIC_SAMPLE * frame.coefficients
    if scans:
        work_ns += _NS_PER_SCANNED_BYTE * held_bytes + _NS_PER_SCANNED_BLOCK * scans * frame.coefficients // 64
    kept_bytes = 2 * frame.coefficients if scans else 0
    check("JPEG", held_bytes, pixel_bytes * pixels + kept_bytes, times * work_ns)


def read_png_header(data: bytes) -> PngHeader:
    """Return what a PNG's first chunk says.

    Raises:
        UnsupportedFormatError: It is Apple's variant, which only Apple's programs read.
        ValueError: The chunk makes no sense.
    """
    if data[12:16] == b"CgBI":
        raise _unsupported("the PNG image is of Apple's own kind (CgBI)")
    if data[8:16] != b"\0\0\0\rIHDR":
        raise ValueError("a PNG begins with its header")
    header = PngHeader(*struct.unpack_from(">IIBB", data, 16))
    if header.colours not in _PNG_SAMPLES:
        raise ValueError(f"no PNG has colours of type {header.colours}")
    return header


def check_png(header: PngHeader, held_bytes: int, sixteen_bytes: int) -> None:
    """Refuse a PNG that costs too much.

    Args:
        header: Its header.
        held_bytes: Length of the file.
        sixteen_bytes: Bytes that the decoder writes for a pixel of 16-bit colour.

    Raises:
        TooLargeError: It costs too much.
    """
    pixels, samples = header.width * header.height, _PNG_SAMPLES[header.colours]
    narrow, wide = (1, 2) if samples == 1 else (4, sixteen_bytes)
    pixel_bytes = wide if header.bits == 16 else narrow
    # Two rows are held besides, of whatever width.
    row_bytes = header.width * samples * header.bits // 8
    work_ns = (_NS_PER_PNG_BYTE * row_bytes + _NS_PER_PNG_ROW) * header.height
    check("PNG", held_bytes, pixel_bytes * pixels + 4 * row_bytes + _PNG_ROW_BYTES * header.height, work_ns)


def check(kind: str, held_bytes: int, decoded_bytes: int, work_ns: int = 0) -> None:
    """Refuse what would take more memory or time than one upload may; hand what is dear over, as ``offload`` says.

    Args:
        kind: Name of the format.
        held_bytes: Length of the file.
        decoded_bytes: Most bytes that its decoder holds besides.
        work_ns: Most nanoseconds that decoding takes.

    Raises:
        TooLargeError: It costs too much; the message names the limit.
    """
    own_bytes, rest_bytes = _COPIES * held_bytes + decoded_bytes, beside_bytes.get()
    if own_bytes + rest_bytes > MAX_MEMORY_BYTES:
        rest = f" and {_megabytes(rest_bytes)} MB for the rest of its request" if rest_bytes else ""
        need = f"{_megabytes(own_bytes)} MB of memory to decode{rest}, at most {MAX_MEMORY_BYTES // 1_000_000} MB are"
    elif work_ns > MAX_WORK_NS:
        need = f"{work_ns / 1e9:.1f} s to decode, at most {MAX_WORK_NS / 1e9:.0f} s is"
    else:
        if own_bytes > DEAR_MEMORY_BYTES or work_ns > DEAR_WORK_NS:
            offload.take_turn()
        return
    raise TooLargeError(f"the {kind} image needs {need} spent on an image; make it smaller, or send an ordinary JPEG")


@contextlib.contextmanager
def capped(held_bytes: int) -> Iterator[None]:
    """Hold the process to the memory of an upload while a decoder works whose headers do not tell all that it takes.

    A lossless WebP may bring 65,536 tables of 5 kB each for a picture of a megapixel; how many they are stands in its
    data. Who asks for more is told that there is no memory.

    Args:
        held_bytes: Length of the file.
    """
    with _capping:
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        own_bytes = MAX_MEMORY_BYTES - beside_bytes.get() - _COPIES * held_bytes
        limit = pages * resource.getpagesize() + own_bytes + _SLACK_BYTES
        _limit_addresses(limit if soft == resource.RLIM_INFINITY else min(soft, limit), hard)
        try:
            yield
        finally:
            _limit_addresses(soft, hard)


def _limit_addresses(soft: int, hard: int) -> None:
    with contextlib.suppress(OSError):  # where a sandbox forbids it, decoders work without
        resource.prlimit(0, resource.RLIMIT_AS, (soft, hard))


def check_json(text: bytes) -> None:
    """Refuse a JSON text that is too long, or that takes too much memory once it is read.

    Raises:
        TooLargeError: It costs too much; the message names the limit.
    """
    advice = "send the tensor in binary, or fewer pictures at once"
    if len(text) > MAX_JSON_BYTES:
        raise TooLargeError(
            f"the JSON of the request has {len(text)} bytes, at most {MAX_JSON_BYTES} are read; {advice}"
        )
    copies = _JSON_COPIES if text.isascii() else _JSON_COPIES_WIDE
    memory_bytes = copies * len(text) + sum(text.count(sign) * price for sign, price in _JSON_PRICES.items())
    if memory_bytes > MAX_MEMORY_BYTES:
        need, most = _megabytes(memory_bytes), MAX_MEMORY_BYTES // 1_000_000
        raise TooLargeError(f"the JSON of the request needs {need} MB of memory, at most {most} MB are spent; {advice}")
    if memory_bytes > DEAR_MEMORY_BYTES:
        offload.take_turn()


def _megabytes(count: int) -> int:
    return -(-count // 1_000_000)


def _unsupported(what: str) -> UnsupportedFormatError:
    return UnsupportedFormatError(f"{what}; save it as an ordinary JPEG or PNG")
