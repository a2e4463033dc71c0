"""What is fuzzed: each target takes any bytes and may refuse them by a documented error alone."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import struct
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import cast

import numpy as np
from PIL import Image

from imagerec_worker.bundle import Bundle
from imagerec_worker.errors import ProblemError
from imagerec_worker.metadata import orientation_of, without_metadata
from imagerec_worker.multipart import find_file
from imagerec_worker.preprocess import preprocess
from imagerec_worker.recognition import TOP_MAX
from imagerec_worker.v2_request import BATCH_MAX, HEADER_LENGTH, OUTPUTS, image_of, read_inference
from tests.fuzz.growth import asking

SIZE, MAX_PIXELS = 32, 50_000_000
_HEADS = {b"\xff\xd8": "JPEG", b"\x89P": "PNG", b"GI": "GIF"}
_BOUNDARY = "frontier"
_MAX_HEADER_BYTES = 32 * 1024  # no server of ours reads more
_SIDE = 4  # of the network that inference requests are for: its pixels fit into a small input
_BUNDLE = cast(Bundle, SimpleNamespace(input_size=_SIDE))


def metadata(data: bytes) -> None:
    """Take the metadata off an image; what is left must be no longer."""
    kind = _HEADS.get(data[:2])
    if kind is None:
        assert 1 <= orientation_of(data) <= 8
        return
    with contextlib.suppress(ProblemError, ValueError):
        plain = without_metadata(kind, data)
        assert len(plain.data) <= len(data)
        assert 1 <= orientation_of(plain.exif) <= 8


def inference(data: bytes) -> None:
    """Read an inference request of the protocol V2. The first line says how long the JSON is, or is empty."""
    line, _, body = data.partition(b"\n")
    environ: dict[str, object] = {"CONTENT_LENGTH": str(len(body)), "wsgi.input": io.BytesIO(body)}
    if line:
        environ["HTTP_" + HEADER_LENGTH.upper().replace("-", "_")] = line.decode("latin-1")
    with contextlib.suppress(ProblemError):
        asked = read_inference(environ, _BUNDLE, len(data))
        assert 1 <= asked.top <= TOP_MAX
        assert {name for name, _ in asked.outputs} <= set(OUTPUTS)
        if asked.pixels is None:
            assert 1 <= len(asked.files) <= BATCH_MAX
            for file in asked.files:
                assert 0 < len(image_of(file, len(data))) <= len(data)
        else:
            assert not asked.files
            assert asked.pixels.dtype == np.uint8
            assert 1 <= len(asked.pixels) <= BATCH_MAX
            assert asked.pixels.shape[1:] == (_SIDE, _SIDE, 3)


def multipart(data: bytes) -> None:
    """Find the image of a form; it must be a part of the body. The first line is the Content-Type where it can be."""
    line, _, body = data.partition(b"\n")
    if len(line) > _MAX_HEADER_BYTES:
        return
    given = line.decode("latin-1") if line.startswith(b"multipart/") else f"multipart/form-data; boundary={_BOUNDARY}"
    with contextlib.suppress(ProblemError):
        assert find_file(body, given, "image") in body


def preprocessing(data: bytes) -> None:
    """Make the network's input of an upload."""
    with contextlib.suppress(ProblemError):
        pixels, info = preprocess(data, SIZE, MAX_PIXELS)
        assert (pixels.shape, pixels.dtype) == ((SIZE, SIZE, 3), np.uint8)
        assert info.width * info.height <= MAX_PIXELS


TARGETS: dict[str, Callable[[bytes], None]] = {
    "inference": inference,
    "metadata": metadata,
    "multipart": multipart,
    "preprocessing": preprocessing,
}


def _pictures() -> Iterator[bytes]:
    noise = np.random.default_rng(1).integers(0, 256, (24, 20, 4), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    kinds: list[tuple[str, str, dict[str, object]]] = [
        ("RGB", "JPEG", {"quality": 40}),
        ("RGB", "JPEG", {"quality": 40, "progressive": True, "exif": exif}),
        ("L", "JPEG", {"quality": 30, "comment": b"a remark"}),
        ("CMYK", "JPEG", {"quality": 30}),
        ("RGBA", "PNG", {"exif": exif}),
        ("P", "PNG", {"transparency": 3}),
        ("1", "PNG", {}),
        ("I;16", "PNG", {}),
        ("RGBA", "WEBP", {"lossless": True}),
        ("RGB", "WEBP", {"quality": 30, "exif": exif}),
        ("P", "GIF", {"transparency": 1}),
        ("L", "GIF", {"interlace": True, "comment": b"a remark"}),
    ]
    for mode, kind, options in kinds:
        if mode == "I;16":
            picture = Image.fromarray(noise[..., 0].astype(np.uint16) * 257)
        else:
            picture = Image.fromarray(noise).convert(mode)
        file = io.BytesIO()
        picture.save(file, kind, **options)
        yield file.getvalue()


def _forms() -> Iterator[bytes]:
    part = "--{b}\r\nContent-Disposition: form-data; name={n}{f}\r\n{t}\r\ncontent\r\n"
    image = part.format(b=_BOUNDARY, n='"image"', f='; filename="x.jpg"', t="Content-Type: image/jpeg\r\n")
    field = part.format(b=_BOUNDARY, n='"comment"', f="", t="")
    odd = part.format(b=_BOUNDARY, n="image", f="; filename*=utf-8''%e9.jpg", t="X-Long: a\r\n b\r\n")
    end = f"--{_BOUNDARY}--\r\n"
    for form in (image + end, field + image + end, odd + end, image, "preamble\r\n" + field + field + end):
        yield b"\n" + form.encode()
        yield f"multipart/form-data; boundary={_BOUNDARY}\n{form}".encode()
    yield b'multipart/form-data; boundary="a b"\n--a b\r\n\r\n\r\n--a b--'


def _inference_requests() -> Iterator[bytes]:
    files = [b"a file", b"another one"]
    element = b"".join(struct.pack("<I", len(file)) + file for file in files)
    pixels = bytes(range(_SIDE * _SIDE * 3))
    image = {"name": "image", "datatype": "BYTES", "shape": [2]}
    tensor = {"name": "pixels", "datatype": "UINT8", "shape": [1, _SIDE, _SIDE, 3]}
    nested = np.frombuffer(pixels, np.uint8).reshape(1, _SIDE, _SIDE, 3).tolist()
    for entry, binary in (
        (image | {"data": [base64.b64encode(file).decode() for file in files]}, b""),
        (image | {"parameters": {"binary_data_size": len(element)}}, element),
        (tensor | {"data": list(pixels)}, b""),
        (tensor | {"data": nested}, b""),
        (tensor | {"parameters": {"binary_data_size": len(pixels)}}, pixels),
    ):
        asked: dict[str, object] = {"id": "7", "parameters": {"top": 3, "binary_data_output": True}, "inputs": [entry]}
        asked["outputs"] = [{"name": "label", "parameters": {"binary_data": False}}, {"name": "probability"}]
        text = json.dumps(asked).encode()
        yield (str(len(text)).encode() if binary else b"") + b"\n" + text + binary


def seeds(target: str) -> list[bytes]:
    """Return what fuzzing begins with: something good and something odd of every kind, and each asking to grow."""
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    plain = {
        "inference": lambda: list(_inference_requests()),
        "metadata": lambda: [*_pictures(), exif],
        "multipart": lambda: list(_forms()),
        "preprocessing": lambda: list(_pictures()),
    }[target]()
    return plain + [asking(seed, len(seed) // 2, 16) for seed in plain]
