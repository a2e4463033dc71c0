"""Mistakes in requests of the Open Inference Protocol V2: each is named, and none costs more than it may."""

from __future__ import annotations

import contextlib
import json
import re
import time
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest
from flask.testing import FlaskClient
from werkzeug.test import EnvironBuilder, TestResponse

from imagerec_worker import budget, plain_http, v2_views
from imagerec_worker.app import create_app
from imagerec_worker.bundle import Bundle
from imagerec_worker.errors import TooLargeError
from imagerec_worker.recognition import Recognition
from imagerec_worker.settings import Settings
from tests.unit.worker.bomb_files import encode, flat
from tests.unit.worker.test_v2 import MODEL, asking, binary, elements, images, picture, tensor


def refused(answer: TestResponse, status: int, *said: str) -> None:
    """The protocol's error: one member, which names what is wrong."""
    assert answer.status_code == status, answer.text
    assert answer.mimetype == "application/json"
    document = answer.get_json()
    assert list(document) == ["error"]
    for part in said:
        assert part in document["error"]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/v2/models/cats", "there is no model 'cats'; this worker serves 'colours'"),
        ("/v2/models/cats/ready", "no model 'cats'"),
        ("/v2/models/cats/config", "no model 'cats'"),
        (f"{MODEL}/versions/2", "there is no version '2' of 'colours'; this worker serves '1.0'"),
        (f"{MODEL}/versions/2/ready", "no version '2'"),
        (f"/v2/models/{'a' * 65}", f"there is no model '{'a' * 64}'; this worker"),
        (f"{MODEL}/versions/{'2' * 65}", f"there is no version '{'2' * 64}' of"),
        ("/v2/models", "there is nothing at /v2/models"),
        ("/v2/repository/index", "there is nothing at"),
    ],
)
def test_what_is_not_there(client: FlaskClient, path: str, said: str) -> None:
    refused(client.get(path), 404, said)


@pytest.mark.parametrize("path", ["/v2/models/cats/infer", f"{MODEL}/versions/2/infer"])
def test_another_model_infers_nothing(client: FlaskClient, path: str) -> None:
    refused(client.post(path, json=asking()), 404, "this worker serves")


def test_another_method(client: FlaskClient) -> None:
    answer = client.get(f"{MODEL}/infer")
    refused(answer, 405, "POST")
    assert "POST" in answer.headers["Allow"]


NUMBERS = tensor("red").ravel().tolist()
MISTAKES: dict[str, tuple[dict[str, Any] | Any, str]] = {
    "a list": ([1], "must be a JSON object"),
    "no inputs": ({}, "inputs must be a list"),
    "inputs of numbers": ({"inputs": [1]}, "inputs must be a list of JSON objects"),
    "an empty list of inputs": ({"inputs": []}, "the request has 0 inputs"),
    "two inputs": ({"inputs": asking()["inputs"] * 2}, "the request has 2 inputs"),
    "an unknown input": (asking(name="picture"), "there is no input 'picture'; there are image, pixels"),
    "an input without a name": (asking(name=None), "there is no input without a name"),
    "another type": (asking(datatype="FP32"), "'pixels' has datatype \"FP32\"; it must be UINT8"),
    "no type": (asking(datatype=None), "has datatype null"),
    "no shape": (asking(shape=None), "no shape of whole numbers; it must be [n, 16, 16, 3]"),
    "a shape of texts": (asking(shape=["1"]), "no shape of whole numbers"),
    "a shape of a number": (asking(shape=7), "no shape of whole numbers"),
    "a shape of too many numbers": (asking(shape=[1] * 9), "has shape [1, 1, 1, 1, 1, 1, 1, 1]; it must be"),
    "a large number": (asking(shape=[2**64 - 1, 16, 16, 3]), "has shape [18446744073709551615, 16, 16, 3]"),
    "a very large number": (asking(shape=[2**64, 16, 16, 3]), "has shape [a very large number, 16, 16, 3]"),
    "another shape": (asking(shape=[1, 3, 16, 16]), "has shape [1, 3, 16, 16]; it must be [n, 16, 16, 3]"),
    "none at all": (asking(shape=[0, 16, 16, 3], data=[]), "n from 1 to 16"),
    "too many": (asking(shape=[17, 16, 16, 3]), "has shape [17, 16, 16, 3]; it must be [n, 16, 16, 3], n from 1 to 16"),
    "too many files": (images([b"x"] * 17), "n from 1 to 16"),
    "no data": (asking(data=None), "neither data nor the parameter binary_data_size"),
    "too few numbers": (asking(data=NUMBERS[1:]), "which is 768 numbers; its data has 767"),
    "nested otherwise": (asking(data=[NUMBERS]), "nested otherwise than its shape"),
    "ragged": (asking(data=[[NUMBERS[:300], NUMBERS[300:]]]), "nested otherwise"),
    "data that are no list": (asking(data="abc"), "its data has 0"),
    "a number above 255": (asking(data=[256, *NUMBERS[1:]]), "whole numbers from 0 to 255"),
    "a negative number": (asking(data=[-1, *NUMBERS[1:]]), "whole numbers from 0 to 255"),
    "a fraction": (asking(data=[0.5, *NUMBERS[1:]]), "whole numbers from 0 to 255"),
    "a truth": (asking(data=[True, *NUMBERS[1:]]), "whole numbers from 0 to 255"),
    "another count of files": (
        {"inputs": [{"name": "image", "shape": [2], "datatype": "BYTES", "data": ["eA=="]}]},
        "'image' has shape [2], its data has 1 elements",
    ),
    "files that are no texts": (
        {"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": [1]}]},
        "list of strings, each a file in base64",
    ),
    "files that are no list": (
        {"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": 7}]},
        "list of strings, each a file in base64",
    ),
    "no base64": (
        {"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": ["ß"]}]},
        "element 1 of 'image': it is no base64",
    ),
    "an empty file": (images([picture("red"), b""]), "element 2 of 'image': it is empty"),
    "no image": (images([b"text"]), "element 1 of 'image': the upload is not an image of an accepted format"),
    "a broken image": (images([picture("red"), picture("red", "JPEG")[:-99]]), "element 2 of 'image': the JPEG image"),
    "an unknown output": (asking(outputs=[{"name": "scores"}]), "there is no output 'scores'; there are label, wnid"),
    "an output twice": (asking(outputs=[{"name": "label"}] * 2), "output 'label' is asked for twice"),
    "outputs of texts": (asking(outputs=["label"]), "outputs must be a list of JSON objects"),
    "outputs that are no list": (asking(outputs={}), "outputs must be a list of JSON objects"),
    "outputs that are not asked for": (asking(outputs=False), "outputs must be a list of JSON objects"),
    "an output in shared memory": (
        asking(outputs=[{"name": "label", "parameters": {"shared_memory_region": "a", "shared_memory_byte_size": 9}}]),
        "output 'label' has shared_memory_region; memory is not shared here",
    ),
    "an input in shared memory": (
        {"inputs": [asking(data=None)["inputs"][0] | {"parameters": {"shared_memory_region": "a"}}]},
        "input 'pixels' has shared_memory_region; memory is not shared here",
    ),
    "classification": (asking(outputs=[{"name": "label", "parameters": {"classification": 3}}]), "parameter top"),
    "binary by text": (asking(outputs=[{"name": "label", "parameters": {"binary_data": "yes"}}]), "true or false"),
    "an unknown parameter": (asking(parameters={"tpo": 3}), "the request has no parameter 'tpo'; did you mean top?"),
    "a long parameter": (asking(parameters={"x" * 65: 3}), f"no parameter '{'x' * 64}'; there are top and binary_data"),
    "parameters of a list": (asking(parameters=[]), "the parameters of the request must be a JSON object"),
    "top of zero": (asking(parameters={"top": 0}), "top must be a whole number from 1 to 20"),
    "top of twenty-one": (asking(parameters={"top": 21}), "top must be a whole number from 1 to 20"),
    "top by truth": (asking(parameters={"top": True}), "top must be a whole number"),
    "an id of a number": (asking(id=7), "id must be a string"),
    "binary data that are not there": (
        {"inputs": [asking(data=None)["inputs"][0] | {"parameters": {"binary_data_size": 768}}]},
        "binary_data_size 768, but 0 bytes follow",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_the_document_is_named(client: FlaskClient, name: str) -> None:
    document, said = MISTAKES[name]
    refused(client.post(f"{MODEL}/infer", json=document), 400, said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "the body is not JSON (Expecting value)"),
        (b"picture", "not JSON"),
        (b'{"inputs": [', "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"id": ' + b"9" * 5000 + b"}", "not JSON"),
        (picture("red"), "Inference-Header-Content-Length must say how long it is"),
    ],
    ids=["nothing", "text", "half", "no UTF-8", "deep", "a long number", "a photograph"],
)
def test_what_is_no_json(client: FlaskClient, text: bytes, said: str) -> None:
    refused(client.post(f"{MODEL}/infer", data=text), 400, said)


@pytest.mark.parametrize("length", ["0", "-1", "x", "1e3", "٣", "99999999999999999999", "5000", ""])
def test_a_header_length_that_cannot_be(client: FlaskClient, length: str) -> None:
    """Beyond the body among them."""
    body, _ = binary("pixels", tensor("red").tobytes())
    answer = client.post(
        f"{MODEL}/infer", data=body, environ_overrides={"HTTP_INFERENCE_HEADER_CONTENT_LENGTH": length}
    )
    refused(answer, 400, "Inference-Header-Content-Length is", f"the body, which has {len(body)} bytes")


FILE = picture("red")
BINARY_MISTAKES: dict[str, tuple[tuple[bytes, dict[str, str]], str]] = {
    "too few pixels": (binary("pixels", bytes(767)), "which is 768 bytes; its binary data has 767"),
    "too many pixels": (binary("pixels", bytes(769)), "its binary data has 769"),
    "another size": (
        binary("pixels", bytes(768), parameters={"binary_data_size": 700}),
        "binary_data_size 700, but 768 bytes follow the JSON",
    ),
    "a size by text": (binary("pixels", bytes(768), parameters={"binary_data_size": "768"}), "but 768 bytes follow"),
    "unclaimed": (binary("pixels", bytes(768), parameters={}), "768 bytes follow the JSON; the parameter"),
    "both ways": (binary("pixels", bytes(768), data=[]), "has data and binary_data_size"),
    "half a length": (binary("image", elements(FILE)[:3]), "ends inside element 1"),
    "half a file": (binary("image", elements(FILE)[:-1]), "ends inside element 1"),
    "a length beyond": (binary("image", b"\xff\xff\xff\xffx"), "ends inside element 1"),
    "one file of two": (binary("image", elements(FILE), shape=[2]), "shape [2], its binary data holds 1 elements"),
    "two files of one": (binary("image", elements(FILE, FILE)), "holds more elements"),
    "a million files": (binary("image", bytes(4_000_000)), "holds more elements"),
    "an empty file": (binary("image", elements(b"")), "element 1 of 'image': it is empty"),
}


@pytest.mark.parametrize("name", BINARY_MISTAKES)
def test_a_mistake_in_the_binary_data_is_named(client: FlaskClient, name: str) -> None:
    (body, headers), said = BINARY_MISTAKES[name]
    refused(client.post(f"{MODEL}/infer", data=body, headers=headers), 400, said)


GOOD = [
    binary("image", elements(FILE, FILE), shape=[2]),
    binary("pixels", tensor("red").tobytes()),
    (json.dumps(images([FILE], id="1", outputs=[{"name": "label"}], parameters={"top": 2})).encode(), {}),
]


@hypothesis.settings(max_examples=60, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(
    good=st.sampled_from(GOOD),
    place=st.integers(0, 2000),
    length=st.integers(0, 40),
    junk=st.one_of(
        st.binary(max_size=8), st.sampled_from([b"null", b"[", b"]", b"{}", b"-1", b"1e9", b"true", b'"', b"9"])
    ),
)
def test_a_request_with_a_piece_replaced_is_answered_or_refused(
    client: FlaskClient, good: tuple[bytes, dict[str, str]], place: int, length: int, junk: bytes
) -> None:
    body, headers = good
    place %= len(body)
    body = body[:place] + junk + body[place + length :]
    if headers:
        known = int(headers["Inference-Header-Content-Length"])
        headers = {"Inference-Header-Content-Length": str(known + (len(junk) - length) * (place < known))}
    answer = client.post(f"{MODEL}/infer", data=body, headers=headers)
    assert answer.status_code in {200, 400, 413}
    assert answer.status_code == 200 or list(answer.get_json()) == ["error"]


def test_a_compressed_body_is_refused(client: FlaskClient) -> None:
    answer = client.post(f"{MODEL}/infer", data=b"x", headers={"Content-Encoding": "gzip"})
    refused(answer, 400, "encoded as 'gzip'; send it as it is")


def test_the_sizes_of_a_request_and_of_an_image_are_bounded(colours: Bundle) -> None:
    client = create_app(Settings(bundle=colours.path, max_bytes=len(FILE), max_pixels=2400)).test_client()
    assert client.post(f"{MODEL}/infer", json=images([FILE])).status_code == 200
    refused(client.post(f"{MODEL}/infer", json=images([FILE + b"x"])), 413, "element 1 of 'image': an image may have")
    answer = client.post(f"{MODEL}/infer", data=bytes(len(FILE) + 1024 * 1024 + 1))
    refused(answer, 413, "a request may have at most")
    small = create_app(Settings(bundle=colours.path, max_pixels=2399)).test_client()
    refused(small.post(f"{MODEL}/infer", json=images([FILE])), 413, "element 1 of 'image': the image has 60 by 40")


@pytest.mark.parametrize(
    ("unit", "megabytes"),
    [(b"[],", 8), (b'{"":1},', 5), (b'"ab",', 8), (b"1.5,", 12)],
    ids=["lists", "objects", "texts", "numbers"],
)
def test_json_that_would_fill_the_memory_is_not_read(client: FlaskClient, unit: bytes, megabytes: int) -> None:
    text = b"[" + unit * (megabytes * 1_000_000 // len(unit)) + b"1]"
    refused(client.post(f"{MODEL}/infer", data=text), 413, "MB of memory, at most 140 MB", "in binary")


def test_json_that_is_too_long_is_not_read(client: FlaskClient) -> None:
    refused(client.post(f"{MODEL}/infer", data=b" " * 13_000_000), 413, "at most 12582912 are read")


def test_a_worker_that_is_busy_or_drained_says_so(colours: Bundle, tmp_path: Path) -> None:
    (tmp_path / "drain").touch()
    client = create_app(Settings(bundle=colours.path, queue_budget_s=50, drain_file=tmp_path / "drain")).test_client()
    stale = {"X-Request-Start": f"t={time.time() - 100:.3f}"}
    answer = client.post(f"{MODEL}/infer", data=b"not looked at", headers=stale)
    refused(answer, 429, "try again in 1 s")
    assert re.search(r"has waited 1\d\d\.\d s", answer.get_json()["error"])
    assert answer.headers["Retry-After"] == "1"
    for path in ("/v2/health/ready", f"{MODEL}/ready"):
        refused(client.get(path), 503, "taken out of service")
    assert client.get("/v2/health/live").status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        asking(parameters={"a" * 1_000_000: 1}),
        asking(datatype=[0.123456789] * 100_000),
        asking(shape=[1, [0.123456789] * 100_000]),
    ],
    ids=["name", "datatype", "shape"],
)
def test_a_mistake_of_any_length_is_named_at_little_cost(client: FlaskClient, body: dict[str, Any]) -> None:
    text = json.dumps(body)
    tracemalloc.start()
    try:
        answer = client.post(f"{MODEL}/infer", data=text, content_type="application/json")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert answer.status_code == 400
    assert len(answer.data) < 400
    assert peak < 8 * len(text)


@pytest.mark.parametrize(("letter", "allowed"), [("x", True), ("\N{GRINNING FACE}", False)], ids=["narrow", "wide"])
def test_a_letter_beyond_ascii_makes_a_text_dearer(letter: str, allowed: bool) -> None:
    """Python keeps all of the text in four bytes a letter then, twice while it is read."""
    text = json.dumps(
        [letter * 4, "x" * 7_000_000, *[1] * 1_800_000], ensure_ascii=False, separators=(",", ":")
    ).encode()
    with contextlib.nullcontext() if allowed else pytest.raises(TooLargeError, match="MB of memory"):
        budget.check_json(text)


LARGE = encode(flat(800, "RGBA"), "PNG")  # 2.6 MB decoded
PADDED = encode(flat(16), "JPEG")
PADDED = PADDED[:2] + 12 * (b"\xff\xe3\xff\xff" + bytes(65_533)) + PADDED[2:]  # 0.8 MB in a file
BESIDE: dict[str, tuple[bytes, dict[str, str]] | bytes] = {
    "a file in binary": binary("image", elements(LARGE, PADDED), shape=[2]),
    "a file in base64": json.dumps(images([LARGE, PADDED])).encode(),
    "a name with an emoji": json.dumps(images([LARGE], id="\N{GRINNING FACE}" + 250_000 * "x")).encode(),
}


@pytest.mark.parametrize("name", BESIDE)
def test_a_picture_pays_for_what_its_request_holds_besides(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(budget, "MAX_MEMORY_BYTES", 3_000_000)
    for alone in (LARGE, PADDED):
        body, headers = binary("image", elements(alone))
        assert client.post(f"{MODEL}/infer", data=body, headers=headers).status_code == 200
    given = BESIDE[name]
    body, headers = (given, {}) if isinstance(given, bytes) else given
    answer = client.post(f"{MODEL}/infer", data=body, headers=headers)
    refused(answer, 413, "element 1 of 'image': the PNG image needs", "MB for the rest of its request")
    body, headers = binary("image", elements(LARGE))
    assert client.post(f"{MODEL}/infer", data=body, headers=headers).status_code == 200


def test_the_body_is_given_back_once_it_is_read(client: FlaskClient) -> None:
    environ = EnvironBuilder(f"{MODEL}/infer", method="POST", json=images([FILE])).get_environ()
    assert environ["wsgi.input"].getvalue()
    answer = plain_http.Answer()
    assert answer.whole(client.application.wsgi_app(environ, answer.start)).startswith(b"HTTP/1.1 200 ")
    assert environ["wsgi.input"].getvalue() == b""


def test_pictures_that_take_long_are_too_many(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a child may have had too little of the processor for them."""
    monkeypatch.setattr(Recognition, "spent_s", 8.5)
    monkeypatch.setattr(v2_views, "time", SimpleNamespace(process_time=lambda: 0.0))
    body, headers = binary("image", elements(*[picture("red")] * 2), shape=[2])
    said = "0 pictures took more than 8 s; send fewer at once"
    refused(client.post(f"{MODEL}/infer", data=body, headers=headers), 413, said)


@pytest.mark.parametrize(("spent_s", "turns"), [(0.1, 0), (0.11, 2)], ids=["cheap", "dear"])
def test_a_turn_is_taken_for_pictures_that_are_dear_together(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, spent_s: float, turns: int
) -> None:
    taken = []
    monkeypatch.setattr(Recognition, "spent_s", spent_s)
    monkeypatch.setattr(v2_views.offload, "take_turn", lambda: taken.append(True))
    body, headers = binary("image", elements(*[picture("red")] * 2), shape=[2])
    assert client.post(f"{MODEL}/infer", data=body, headers=headers).status_code == 200
    assert len(taken) == turns


@pytest.mark.parametrize(("spent_s", "status"), [(0.5, 200), (0.51, 429)], ids=["not long", "long"])
def test_others_do_not_wait_long_for_many_pictures(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, spent_s: float, status: int
) -> None:
    monkeypatch.setattr(Recognition, "spent_s", spent_s)
    monkeypatch.setattr(v2_views.offload, "holds_others_up", lambda: True)
    body, headers = binary("image", elements(picture("red")))
    answer = client.post(f"{MODEL}/infer", data=body, headers=headers)
    assert answer.status_code == status
    if status == 429:
        said = "others wait, and 0 pictures took more than 0.5 s; send fewer at once, or try again in 1 s"
        assert answer.get_json() == {"error": said}
