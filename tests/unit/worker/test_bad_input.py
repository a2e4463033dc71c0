"""What a real gunicorn does with bad and unusual uploads: a documented answer, and the same process afterwards."""

from __future__ import annotations

import contextlib
import io
import socket
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from imagerec_worker import budget

Form = Callable[..., tuple[bytes, dict[str, str]]]
MEBIBYTE = 1024 * 1024


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def green(width: int = 60, height: int = 40, mode: str = "RGB") -> Image.Image:
    return Image.new("RGB", (width, height), (10, 240, 20)).convert(mode)


@pytest.fixture
def unharmed(server: Any) -> Iterator[Any]:
    """The server; afterwards the same process must still answer, without having grown much."""
    pid, resident = server.worker_pid(), server.resident_bytes()
    yield server
    answer = server.ask("POST", "/predict", encode(green(), "JPEG"), {"Content-Type": "image/jpeg"})
    assert answer.status == 200
    assert server.worker_pid() == pid
    assert server.resident_bytes() - resident < 64 * MEBIBYTE


@pytest.fixture
def predict(unharmed: Any, form: Form) -> Callable[..., Any]:
    """The function that uploads a file as a form does and returns the answer."""

    def send(content: bytes, filename: str = "upload", query: str = "") -> Any:
        body, headers = form(("image", filename, content))
        return unharmed.ask("POST", f"/predict{query}", body, headers)

    return send


def assert_refused(answer: Any, status: int, slug: str) -> None:
    assert answer.status == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json["type"] == f"/problems/{slug}"


def assert_seen(answer: Any, label: str, kind: str, width: int, height: int) -> None:
    assert answer.status == 200
    assert answer.json["image"] == {"format": kind, "width": width, "height": height}
    assert answer.json["predictions"][0]["label"] == label
    assert answer.json["predictions"][0]["probability"] > 0.5


def test_no_file(unharmed: Any, form: Form) -> None:
    body, headers = form(("comment", None, b"where is it?"))
    assert_refused(unharmed.ask("POST", "/predict", body, headers), 400, "no-image")
    assert_refused(unharmed.ask("POST", "/predict"), 400, "no-image")


def test_empty_file(predict: Callable[..., Any]) -> None:
    assert_refused(predict(b""), 400, "no-image")


def test_text_named_jpg(predict: Callable[..., Any]) -> None:
    assert_refused(predict(b"This is not a photograph.\n" * 100, "photograph.jpg"), 415, "unsupported-format")


def test_truncated_jpeg(predict: Callable[..., Any], chelsea: npt.NDArray[np.uint8]) -> None:
    whole = encode(Image.fromarray(chelsea), "JPEG")
    assert_refused(predict(whole[: len(whole) // 2]), 422, "broken-image")


def test_body_of_30_megabytes(unharmed: Any, form: Form) -> None:
    body, headers = form(("image", "large.jpg", bytes(30_000_000)))
    fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"POST /predict HTTP/1.1\r\nHost: worker\r\n{fields}Content-Length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", unharmed.port), timeout=60) as connection:
        connection.sendall(head + body[:1000])  # the answer must not wait for the rest
        answer = b""
        with contextlib.suppress(ConnectionResetError):  # closed with the rest of the body unread
            while data := connection.recv(65536):
                answer += data
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"/problems/too-large" in answer


def test_chunked_body_of_30_megabytes(unharmed: Any) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: worker\r\nContent-Type: image/jpeg\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"100000\r\n" + bytes(MEBIBYTE) + b"\r\n"
    answer = b""
    with socket.create_connection(("127.0.0.1", unharmed.port), timeout=60) as connection:
        connection.sendall(head)
        with contextlib.suppress(OSError):  # the server may have seen enough before everything is sent
            for _ in range(30):
                connection.sendall(chunk)
            connection.sendall(b"0\r\n\r\n")
        with contextlib.suppress(OSError):
            answer = connection.recv(65536)
    assert answer[:13] in {b"HTTP/1.1 413 ", b""}


def test_chunked_body_one_byte_over_the_limit(unharmed: Any) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: worker\r\nContent-Type: image/jpeg\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"100000\r\n" + bytes(MEBIBYTE) + b"\r\n"
    with socket.create_connection(("127.0.0.1", unharmed.port), timeout=60) as connection:
        connection.sendall(head + chunk * 20 + b"1\r\nx\r\n0\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_png_of_13000_by_13000_in_one_bit(unharmed: Any, predict: Callable[..., Any]) -> None:
    bomb = encode(Image.new("1", (13000, 13000)), "PNG")
    assert len(bomb) < 100_000
    before = unharmed.resident_bytes("VmHWM")
    assert_refused(predict(bomb), 413, "too-large")
    assert unharmed.resident_bytes("VmHWM") - before < 32 * MEBIBYTE


@pytest.mark.slow
def test_largest_accepted_png_has_bounded_memory(unharmed: Any, predict: Callable[..., Any]) -> None:
    """34 million pixels of four bytes, and little besides."""
    large = encode(Image.new("RGBA", (5850, 5850), (0, 0, 255, 255)), "PNG", compress_level=1)
    before = unharmed.resident_bytes("VmHWM")
    assert_seen(predict(large), "blue", "PNG", 5850, 5850)
    assert unharmed.resident_bytes("VmHWM") - before < 150_000_000


def test_the_dearest_json_takes_no_more_than_its_price(unharmed: Any) -> None:
    """Half of what is read at most, for the time that it takes."""
    before = unharmed.resident_bytes("VmHWM")
    text = b"[" + b"1.5," * 1_300_000 + b"1]"
    assert unharmed.ask("POST", "/v2/models/colours/infer", text).status == 400
    assert unharmed.resident_bytes("VmHWM") - before < budget.MAX_MEMORY_BYTES // 2 + 16 * MEBIBYTE


@pytest.mark.slow
def test_memory_of_large_images_is_given_back(server: Any) -> None:
    """Sizes that grow, and uploads that do not compress, would teach the C library to keep ever larger blocks."""
    noise = np.random.default_rng(1).integers(0, 256, (1500, 1500, 3), np.uint8)
    images = [encode(green(side, side, "RGBA"), "PNG", compress_level=1) for side in (60, 1000, 1500, 2500, 3000)]
    images += [encode(Image.fromarray(np.roll(noise, turn)), "PNG") for turn in range(3)]
    before = 0
    for image in images:
        assert server.ask("POST", "/predict", image, {"Content-Type": "image/png"}).status == 200
        before = before or server.resident_bytes()
    assert server.resident_bytes() - before < 20 * MEBIBYTE


def test_16_bit_png(predict: Callable[..., Any]) -> None:
    grey = encode(Image.fromarray(np.full((40, 60), 32768, np.uint16)), "PNG")
    answer = predict(grey)
    assert answer.status == 200
    assert answer.json["image"] == {"format": "PNG", "width": 60, "height": 40}
    assert {round(prediction["probability"], 2) for prediction in answer.json["predictions"]} == {0.33}


def test_16_bit_colour_png(predict: Callable[..., Any]) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = (b"\0" + struct.pack(">HHH", 2000, 60000, 3000) * 60) * 40
    header = struct.pack(">IIBBBBB", 60, 40, 16, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    assert_seen(predict(png), "green", "PNG", 60, 40)


def test_cmyk_jpeg(predict: Callable[..., Any]) -> None:
    assert_seen(predict(encode(green(mode="CMYK"), "JPEG")), "green", "JPEG", 60, 40)


def test_grey_jpeg(predict: Callable[..., Any]) -> None:
    answer = predict(encode(green(mode="L"), "JPEG"))
    assert answer.status == 200
    assert {round(prediction["probability"], 2) for prediction in answer.json["predictions"]} == {0.33}


def test_transparent_png(predict: Callable[..., Any]) -> None:
    """Hidden red must not show: on white, no colour is stronger than the others."""
    hidden = encode(Image.new("RGBA", (60, 40), (255, 0, 0, 0)), "PNG")
    probabilities = [prediction["probability"] for prediction in predict(hidden).json["predictions"]]
    assert max(probabilities) - min(probabilities) < 0.01


def test_palette_png(predict: Callable[..., Any]) -> None:
    assert_seen(predict(encode(green(mode="P"), "PNG")), "green", "PNG", 60, 40)


def test_animated_gif(predict: Callable[..., Any]) -> None:
    others = [Image.new("RGB", (60, 40), "red"), Image.new("RGB", (60, 40), "blue")]
    assert_seen(predict(encode(green(), "GIF", save_all=True, append_images=others)), "green", "GIF", 60, 40)


def test_webp(predict: Callable[..., Any]) -> None:
    assert_seen(predict(encode(green(), "WEBP")), "green", "WEBP", 60, 40)


def test_rotated_by_exif(predict: Callable[..., Any]) -> None:
    """Stored 90 by 40, green in the left third: upright it is 40 by 90, and the square in the middle is blue."""
    picture = Image.new("RGB", (90, 40), (0, 0, 250))
    picture.paste((0, 250, 0), (0, 0, 25, 40))
    exif = Image.Exif()
    exif[0x0112] = 6
    assert_seen(predict(encode(picture, "JPEG", exif=exif, quality=95)), "blue", "JPEG", 40, 90)


def test_eps(predict: Callable[..., Any]) -> None:
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(/tmp/owned) (w) file closefile\nshowpage\n"
    assert_refused(predict(eps, "drawing.eps"), 415, "unsupported-format")


def test_svg(predict: Callable[..., Any]) -> None:
    svg = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9"/></svg>'
    assert_refused(predict(svg, "drawing.svg"), 415, "unsupported-format")


@pytest.mark.parametrize("top", ["0", "21", "ten"])
def test_wrong_top(predict: Callable[..., Any], top: str) -> None:
    assert_refused(predict(encode(green(), "JPEG"), query=f"?top={top}"), 400, "bad-parameter")


def test_1001_form_parts(unharmed: Any, form: Form) -> None:
    image = ("image", "green.jpg", encode(green(), "JPEG"))
    body, headers = form(image, *[("field", None, b"x")] * 999)
    assert unharmed.ask("POST", "/predict", body, headers).status == 200
    body, headers = form(image, *[("field", None, b"x")] * 1000)
    assert_refused(unharmed.ask("POST", "/predict", body, headers), 413, "too-large")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_wrong_method(unharmed: Any, method: str) -> None:
    answer = unharmed.ask(method, "/predict")
    assert_refused(answer, 405, "method-not-allowed")
    assert "POST" in answer.headers["Allow"]


@pytest.mark.parametrize("path", ["/nowhere", "/predict/", "/../etc/passwd", "/static/app.js"])
def test_unknown_path(unharmed: Any, path: str) -> None:
    assert_refused(unharmed.ask("GET", path), 404, "not-found")
