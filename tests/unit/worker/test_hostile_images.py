"""Whatever hostile clients upload, the application answers as documented, soon, and goes on."""

from __future__ import annotations

import io
import struct
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image

from chaos.attacks import bombs, forms, images, mutations
from imagerec_worker.errors import PROBLEMS

# 408, 421 and the like come from servers; 503 is for draining alone.
DOCUMENTED = {200} | {problem.status for problem in PROBLEMS} - {503}
FORMS = {name: (kind, body) for name, kind, body in forms.forms()}


def send(client: FlaskClient, kind: str, body: bytes, **fields: str) -> int:
    """Upload and return the status; every refusal must be a problem document, and none may take long."""
    start_s = time.process_time()
    answer = client.post("/predict", data=body, content_type=kind, headers=fields)
    assert time.process_time() - start_s < 5
    assert answer.status_code in DOCUMENTED
    if answer.status_code != 200:
        assert answer.content_type == "application/problem+json"
        assert answer.json is not None
        assert answer.json["status"] == answer.status_code
    return answer.status_code


def peak_bytes() -> int:
    """The most memory that this process has held."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def test_mutated_images(client: FlaskClient) -> None:
    statuses = [send(client, images.TYPES[kind], data) for _, kind, _, data in mutations.mutated(300, seed=6)]
    assert {200, 415, 422} <= set(statuses)


@pytest.mark.parametrize("name", bombs.BOMBS)
def test_bomb(client: FlaskClient, name: str) -> None:
    kind, make = bombs.BOMBS[name]
    body = make()
    images.sound("PNG")
    before = peak_bytes()
    send(client, images.TYPES[kind], body)
    assert peak_bytes() - before < 200 * images.MEBIBYTE


def test_gzipped_body_is_not_inflated(client: FlaskClient) -> None:
    body = images.gzip_bomb()
    assert send(client, "image/jpeg", body, **{"Content-Encoding": "gzip"}) == 415


@pytest.mark.parametrize("name", bombs.POLYGLOTS)
def test_polyglot(client: FlaskClient, name: str) -> None:
    kind, make = bombs.POLYGLOTS[name]
    accepted = name in {"jpeg-and-zip", "png-and-html", "jpeg-with-php"}
    assert send(client, kind, make()) == (200 if accepted else 413 if name == "gif-and-script" else 415)


@pytest.mark.parametrize("name", FORMS)
def test_form(client: FlaskClient, name: str) -> None:
    kind, body = FORMS[name]
    send(client, kind, body)


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("1001-parts", 413),
        ("10000-parts", 413),
        ("field-of-600-kilobytes", 413),
        ("no-boundary", 400),
        ("20-images", 200),
    ],
)
def test_form_with_a_documented_answer(client: FlaskClient, name: str, status: int) -> None:
    kind, body = FORMS[name]
    assert send(client, kind, body) == status


def test_a_good_image_after_all(client: FlaskClient) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.full((20, 20, 3), (250, 0, 0), np.uint8)).save(buffer, "PNG")
    assert send(client, "image/png", buffer.getvalue()) == 200


@pytest.mark.parametrize("canvas", [(11_000, 9_000), (10, 10)], ids=["canvas", "frame beyond the canvas"])
def test_a_large_gif_is_refused_without_a_word_in_the_log(client: FlaskClient, canvas: tuple[int, int]) -> None:
    """Pillow would warn of it in two lines that are no JSON, whenever a process meets the first one."""
    frame = b"," + struct.pack("<4HB", 0, 0, 11_000, 9_000, 0) + b"\x02\x01\x00\x00;"
    data = b"GIF89a" + struct.pack("<2H", *canvas) + b"\x80\0\0" + bytes(6) + frame
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        answer = client.post("/predict", data=data, content_type="image/gif")
    assert (answer.status_code, answer.get_json()["type"]) == (413, "/problems/too-large")
    assert "11000 by 9000 pixels" in answer.get_json()["detail"]
