"""The Open Inference Protocol V2: what is answered, and what each mistake is told."""

from __future__ import annotations

import base64
import io
import json
import re
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import tritonclient.http as triton
from flask.testing import FlaskClient
from PIL import Image
from tritonclient.utils import InferenceServerException
from werkzeug.test import TestResponse

from imagerec_worker import budget, create_app
from imagerec_worker.bundle import Bundle
from imagerec_worker.settings import Settings
from tests.unit.worker.conftest import start_server, stop_server

MODEL = "/v2/models/colours"
SIZE = 16
COLOURS = {"red": (250, 10, 10), "green": (10, 250, 10), "blue": (10, 10, 250)}


def picture(colour: str, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (60, 40), COLOURS[colour]).save(buffer, kind)
    return buffer.getvalue()


def tensor(*colours: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.stack([np.full((SIZE, SIZE, 3), COLOURS[colour], np.uint8) for colour in colours])


def elements(*files: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(file)) + file for file in files)


def asking(**changes: Any) -> dict[str, Any]:
    """A good request for one red tensor, with these members changed; None removes one."""
    good: dict[str, Any] = {"name": "pixels", "shape": [1, SIZE, SIZE, 3], "datatype": "UINT8"}
    good["data"] = tensor("red").ravel().tolist()
    whole = {key: changes.pop(key) for key in ("id", "outputs", "parameters", "inputs") if key in changes}
    entry = {key: value for key, value in (good | changes).items() if value is not None}
    return {"inputs": [entry]} | whole


def images(files: list[bytes], **more: Any) -> dict[str, Any]:
    data = [base64.b64encode(file).decode() for file in files]
    return {"inputs": [{"name": "image", "shape": [len(files)], "datatype": "BYTES", "data": data}], **more}


def binary(name: str, section: bytes, **changes: Any) -> tuple[bytes, dict[str, str]]:
    """A request whose tensor follows its JSON."""
    entry = {"name": name, "parameters": {"binary_data_size": len(section)}}
    entry |= {"datatype": "BYTES", "shape": [1]} if name == "image" else {"datatype": "UINT8", "shape": [1, 16, 16, 3]}
    text = json.dumps({"inputs": [entry | changes]}).encode()
    return text + section, {"Inference-Header-Content-Length": str(len(text))}


def outputs(answer: TestResponse) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    return {output["name"]: output for output in answer.get_json()["outputs"]}


def refused(answer: TestResponse, status: int, *said: str) -> None:
    """The protocol's error: one member, which names what is wrong."""
    assert answer.status_code == status, answer.text
    assert answer.mimetype == "application/json"
    document = answer.get_json()
    assert list(document) == ["error"]
    for part in said:
        assert part in document["error"]


# --- what is answered


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"ready": True}),
        (f"{MODEL}/ready", {"name": "colours", "ready": True}),
        (f"{MODEL}/versions/1.0/ready", {"name": "colours", "ready": True}),
    ],
)
def test_health_and_readiness(client: FlaskClient, path: str, document: dict[str, Any]) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.get_json()) == (200, document)


@pytest.mark.parametrize("path", ["/v2", "/v2/"])
def test_the_server_says_what_it_is(client: FlaskClient, path: str) -> None:
    document = client.get(path).get_json()
    assert (document["name"], document["extensions"]) == ("imagerec-worker", ["binary_tensor_data"])
    assert document["version"] == client.get("/version").get_json()["version"]


@pytest.mark.parametrize("path", [MODEL, f"{MODEL}/versions/1.0"])
def test_the_model_names_its_tensors(client: FlaskClient, path: str) -> None:
    document = client.get(path).get_json()
    assert (document["name"], document["versions"], document["platform"]) == ("colours", ["1.0"], "litert")
    assert document["inputs"] == [
        {"name": "image", "datatype": "BYTES", "shape": [-1]},
        {"name": "pixels", "datatype": "UINT8", "shape": [-1, SIZE, SIZE, 3]},
    ]
    assert [(each["name"], each["datatype"], each["shape"]) for each in document["outputs"]] == [
        ("label", "BYTES", [-1, -1]),
        ("wnid", "BYTES", [-1, -1]),
        ("probability", "FP32", [-1, -1]),
        ("probabilities", "FP32", [-1, 3]),
    ]


@pytest.mark.parametrize("path", [f"{MODEL}/infer", f"{MODEL}/versions/1.0/infer"])
def test_it_answers_what_predict_answers(client: FlaskClient, path: str) -> None:
    file = picture("green", "JPEG")
    answer = client.post(path, json=images([file], id="42"))
    document = answer.get_json()
    assert answer.data.endswith(b"}\n")
    assert (document["model_name"], document["model_version"], document["id"]) == ("colours", "1.0", "42")
    found = outputs(answer)
    expected = client.post("/predict", data=file, content_type="image/jpeg").get_json()["predictions"]
    for name in ("label", "wnid", "probability"):
        assert found[name]["shape"] == [1, 3]
        assert found[name]["data"] == [prediction[name] for prediction in expected]
    assert found["probabilities"]["shape"] == [1, 3]
    assert sum(found["probabilities"]["data"]) == pytest.approx(1)


def test_a_batch_is_answered_in_its_order_and_as_wanted(client: FlaskClient) -> None:
    wanted = {"outputs": [{"name": "probability"}, {"name": "label"}], "parameters": {"top": 1}}
    files = [picture(colour, kind) for colour, kind in zip(list(COLOURS) * 5, ["PNG", "JPEG", "GIF"] * 5, strict=True)]
    answer = client.post(f"{MODEL}/infer", json=images([*files, files[2]], **wanted))
    assert "id" not in answer.get_json()
    found = outputs(answer)
    assert list(found) == ["probability", "label"]
    assert found["label"]["data"] == [*list(COLOURS) * 5, "blue"]
    assert found["probability"]["shape"] == found["label"]["shape"] == [16, 1]


@pytest.mark.parametrize("nested", [False, True])
def test_numbers_may_be_flat_or_nested(client: FlaskClient, nested: bool) -> None:
    pixels = tensor("blue", "red")
    data = pixels.tolist() if nested else pixels.ravel().tolist()
    found = outputs(client.post(f"{MODEL}/infer", json=asking(shape=[2, 16, 16, 3], data=data, parameters={"top": 1})))
    assert found["label"]["data"] == ["blue", "red"]


def test_sixteen_pictures_of_the_usual_size_fit_as_numbers() -> None:
    """Written with blanks, and with three digits each."""
    budget.check_json(b"[" + b"255, " * (16 * 224 * 224 * 3) + b"255]")


def test_binary_comes_back_when_it_is_asked_for(client: FlaskClient) -> None:
    body, headers = binary("image", elements(picture("red"), picture("blue")), shape=[2])
    document = json.loads(body[: int(headers["Inference-Header-Content-Length"])])
    document["parameters"] = {"binary_data_output": True, "top": 2}
    document["outputs"] = [{"name": "label"}, {"name": "wnid", "parameters": {"binary_data": False}}]
    text = json.dumps(document).encode()
    section = elements(picture("red"), picture("blue"))
    answer = client.post(
        f"{MODEL}/infer", data=text + section, headers={"Inference-Header-Content-Length": str(len(text))}
    )
    length = int(answer.headers["Inference-Header-Content-Length"])
    label, wnid = json.loads(answer.data[:length])["outputs"]
    assert answer.mimetype == "application/octet-stream"
    assert label["parameters"]["binary_data_size"] == len(answer.data) - length
    assert re.findall(rb"[a-z]+", answer.data[length:])[::2] == [b"red", b"blue"]
    assert wnid["data"][::2] == ["n00000001", "n00000003"]


def test_requests_are_counted_timed_and_logged_like_all_others(
    colours: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    client = create_app(Settings(bundle=colours.path)).test_client()
    answer = client.post(f"{MODEL}/infer", json=images([picture("red")] * 2), headers={"X-Request-Id": "mine"})
    client.get("/v2/health/ready")
    assert answer.headers["X-Request-Id"] == "mine"
    assert "inference;dur=" in answer.headers["Server-Timing"]
    (line,) = [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]
    assert (line["id"], line["route"], line["status"]) == ("mine", "/v2/models/<name>/infer", 200)
    assert line["decode_ms"] > 0
    text = client.get("/metrics").text
    assert 'imagerec_answers_total{route="/v2/models/<name>/infer",status="200"} 1.0' in text
    assert 'imagerec_phase_seconds_count{phase="inference"} 1.0' in text


# --- mistakes


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/v2/models/cats", "there is no model 'cats'; this worker serves 'colours'"),
        ("/v2/models/cats/ready", "no model 'cats'"),
        (f"{MODEL}/versions/2", "there is no version '2' of 'colours'; this worker serves '1.0'"),
        (f"{MODEL}/versions/2/ready", "no version '2'"),
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
    "classification": (asking(outputs=[{"name": "label", "parameters": {"classification": 3}}]), "parameter top"),
    "binary by text": (asking(outputs=[{"name": "label", "parameters": {"binary_data": "yes"}}]), "true or false"),
    "an unknown parameter": (asking(parameters={"tpo": 3}), "the request has no parameter 'tpo'; did you mean top?"),
    "a sequence": (asking(parameters={"sequence_id": 1}), "no parameter 'sequence_id'"),
    "parameters of a list": (asking(parameters=[]), "the parameters of the request must be a JSON object"),
    "top of zero": (asking(parameters={"top": 0}), "top must be a whole number from 1 to 20"),
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


@hypothesis.settings(max_examples=60, derandomize=True, suppress_health_check=list(hypothesis.HealthCheck))
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
    client = create_app(Settings(bundle=colours.path, queue_budget_s=0.5, drain_file=tmp_path / "drain")).test_client()
    stale = {"X-Request-Start": f"t={time.time() - 1:.3f}"}
    answer = client.post(f"{MODEL}/infer", data=b"not looked at", headers=stale)
    refused(answer, 429, "has waited 1.")
    assert answer.headers["Retry-After"] == "1"
    for path in ("/v2/health/ready", f"{MODEL}/ready"):
        refused(client.get(path), 503, "taken out of service")
    assert client.get("/v2/health/live").status_code == 200


# --- the client that people have


def triton_inputs(how: str, as_binary: bool) -> list[triton.InferInput]:
    if how == "pixels":
        wanted = triton.InferInput("pixels", [2, SIZE, SIZE, 3], "UINT8")
        wanted.set_data_from_numpy(tensor("green", "blue"), binary_data=as_binary)
        return [wanted]
    files = [picture("green"), picture("blue", "JPEG")]
    wanted = triton.InferInput("image", [2], "BYTES")
    files = files if as_binary else [base64.b64encode(file) for file in files]
    wanted.set_data_from_numpy(np.array(files, np.object_), binary_data=as_binary)
    return [wanted]


@pytest.fixture(scope="module")
def server(colours: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A real gunicorn with the colour network."""
    worker_class = "imagerec_worker.gunicorn_worker.ImageWorker"
    running = start_server(colours.path, worker_class, tmp_path_factory.mktemp("gunicorn"))
    yield running
    stop_server(running)


@pytest.fixture
def triton_client(server: Any) -> Any:
    """The client of the Triton server, as it is, for a real gunicorn."""
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        yield client


def test_tritonclient_reads_health_and_metadata(triton_client: Any) -> None:
    assert triton_client.is_server_live()
    assert triton_client.is_server_ready()
    assert triton_client.is_model_ready("colours")
    assert triton_client.is_model_ready("colours", "1.0")
    assert not triton_client.is_model_ready("cats")
    assert triton_client.get_server_metadata()["name"] == "imagerec-worker"
    assert triton_client.get_model_metadata("colours")["versions"] == ["1.0"]


@pytest.mark.parametrize("answer_binary", [True, False, None], ids=["binary-out", "json-out", "all-out"])
@pytest.mark.parametrize("as_binary", [True, False], ids=["binary", "json"])
@pytest.mark.parametrize("how", ["image", "pixels"])
def test_tritonclient_infers(triton_client: Any, how: str, as_binary: bool, answer_binary: bool | None) -> None:
    names = ("label", "wnid", "probability", "probabilities")
    wanted = None
    if answer_binary is not None:
        wanted = [triton.InferRequestedOutput(name, binary_data=answer_binary) for name in names]
    answer = triton_client.infer(
        "colours", triton_inputs(how, as_binary), outputs=wanted, request_id="7", parameters={"top": 2}
    )
    assert answer.get_response()["id"] == "7"
    label, wnid, probability, probabilities = (answer.as_numpy(name) for name in names)
    texts = [text.decode() if isinstance(text, bytes) else text for text in (*label[:, 0], *wnid[:, 0])]
    assert texts == ["green", "blue", "n00000002", "n00000003"]
    assert (probability.dtype, probability.shape) == (np.float32, (2, 2))
    assert probabilities.shape == (2, 3)
    assert np.array_equal(probability[:, 0], probabilities.max(axis=1))


def test_tritonclient_shows_what_is_wrong(triton_client: Any) -> None:
    wanted = triton.InferInput("pixels", [1, 8, 8, 3], "UINT8")
    wanted.set_data_from_numpy(np.zeros((1, 8, 8, 3), np.uint8))
    with pytest.raises(
        InferenceServerException, match=r"\[400\].*has shape \[1, 8, 8, 3\]; it must be \[n, 16, 16, 3\]"
    ):
        triton_client.infer("colours", [wanted])


def test_sixteen_pictures_take_no_more_memory_than_one(server: Any) -> None:
    """Each of these takes 4 MB decoded."""
    buffer = io.BytesIO()
    Image.new("RGBA", (1000, 1000), (10, 250, 10, 255)).save(buffer, "PNG", compress_level=1)
    file = buffer.getvalue()

    def peak_bytes(count: int) -> int:
        body, headers = binary("image", elements(*[file] * count), shape=[count])
        answer = server.ask("POST", f"{MODEL}/infer", body, headers)
        assert answer.json["outputs"][0]["data"][::3] == ["green"] * count
        return int(server.resident_bytes("VmHWM"))

    assert peak_bytes(1) > peak_bytes(16) - 12 * 1024 * 1024


def test_the_dearest_json_takes_no_more_than_its_price(server: Any) -> None:
    """Half of what is read at most, for the time that it takes."""
    before = server.resident_bytes("VmHWM")
    text = b"[" + b"1.5," * 1_300_000 + b"1]"
    assert server.ask("POST", f"{MODEL}/infer", text).status == 400
    assert server.resident_bytes("VmHWM") - before < budget.MAX_MEMORY_BYTES // 2 + 16 * 1024 * 1024
