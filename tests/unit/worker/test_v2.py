"""The Open Inference Protocol V2: what is answered, and tritonclient against a real gunicorn."""

from __future__ import annotations

import base64
import io
import json
import re
import struct
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from flask.testing import FlaskClient
from PIL import Image
from tritonclient.utils import InferenceServerException
from werkzeug.test import TestResponse

from imagerec_worker import budget
from imagerec_worker.app import create_app
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
    assert (document["name"], document["extensions"]) == (
        "imagerec-worker",
        ["binary_tensor_data", "model_configuration"],
    )
    assert document["version"] == client.get("/version").get_json()["version"]


@pytest.mark.parametrize("path", [MODEL, f"{MODEL}/versions/1.0"])
def test_triton_s_configuration_says_what_the_metadata_say(client: FlaskClient, path: str) -> None:
    metadata, configuration = client.get(path).get_json(), client.get(f"{path}/config").get_json()
    assert (configuration["name"], configuration["max_batch_size"]) == ("colours", 0)
    for of_metadata, of_configuration in (("inputs", "input"), ("outputs", "output")):
        assert [
            (one["name"], one["data_type"].removeprefix("TYPE_").replace("STRING", "BYTES"), one["dims"])
            for one in configuration[of_configuration]
        ] == [(one["name"], one["datatype"], one["shape"]) for one in metadata[of_metadata]]
    assert all(one["optional"] for one in configuration["input"])


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


@pytest.mark.parametrize(("top", "count"), [(1, 1), (2, 2), (20, 3)])
def test_so_many_classes_are_told_as_are_wanted(client: FlaskClient, top: int, count: int) -> None:
    found = outputs(client.post(f"{MODEL}/infer", json=asking(parameters={"top": top})))
    assert found["label"]["shape"] == [1, count]


def test_what_is_null_counts_as_absent(client: FlaskClient) -> None:
    """Clients that were generated from the protocol's description send so what is not set."""
    nothing = dict.fromkeys(("id", "parameters", "outputs"))
    request = asking(**nothing)
    request["inputs"][0] |= {"parameters": None}
    answer = client.post(f"{MODEL}/infer", json=request)
    assert list(outputs(answer)) == ["label", "wnid", "probability", "probabilities"]
    assert "id" not in answer.get_json()
    request["parameters"] = dict.fromkeys(("top", "binary_data_output", "priority"))
    request["inputs"][0]["parameters"] = {"binary_data_size": None}
    request["outputs"] = [{"name": "label", "parameters": dict.fromkeys(("binary_data", "classification"))}]
    assert list(outputs(client.post(f"{MODEL}/infer", json=request))) == ["label"]
    body, headers = binary("pixels", tensor("red").tobytes(), data=None)
    assert outputs(client.post(f"{MODEL}/infer", data=body, headers=headers))["label"]["data"][0] == "red"


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
    colours: Bundle, logged: Callable[[], list[Any]]
) -> None:
    client = create_app(Settings(bundle=colours.path)).test_client()
    answer = client.post(f"{MODEL}/infer", json=images([picture("red")] * 2), headers={"X-Request-Id": "mine"})
    client.get("/v2/health/ready")
    assert answer.headers["X-Request-Id"] == "mine"
    assert "inference;dur=" in answer.headers["Server-Timing"]
    (line,) = logged()
    assert (line["id"], line["route"], line["status"]) == ("mine", "/v2/models/<name>/infer", 200)
    assert line["decode_ms"] > 0
    text = client.get("/metrics").text
    assert 'imagerec_answers_total{route="/v2/models/<name>/infer",status="200"} 1.0' in text
    assert 'imagerec_phase_seconds_count{phase="inference"} 1.0' in text


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


@pytest.mark.parametrize("sequence", [7, "camera"], ids=["number", "text"])
def test_what_tritonclient_says_of_order_has_no_effect(triton_client: Any, sequence: int | str) -> None:
    answer = triton_client.infer(
        "colours",
        triton_inputs("pixels", True),
        sequence_id=sequence,
        sequence_start=True,
        sequence_end=True,
        priority=3,
        timeout=1,
    )
    assert [best[0] for best in answer.as_numpy("label")] == [b"green", b"blue"]


def test_tritonclient_shows_what_is_wrong(triton_client: Any) -> None:
    wanted = triton.InferInput("pixels", [1, 8, 8, 3], "UINT8")
    wanted.set_data_from_numpy(np.zeros((1, 8, 8, 3), np.uint8))
    with pytest.raises(
        InferenceServerException, match=r"\[400\].*has shape \[1, 8, 8, 3\]; it must be \[n, 16, 16, 3\]"
    ):
        triton_client.infer("colours", [wanted])


def test_tritonclient_hears_that_memory_is_not_shared(triton_client: Any) -> None:
    """Else it would take for the answer what lies in its memory."""
    wanted = triton.InferRequestedOutput("label")
    wanted.set_shared_memory("region", 64)
    with pytest.raises(InferenceServerException, match=r"\[400\] output 'label' has shared_memory_region"):
        triton_client.infer("colours", triton_inputs("pixels", True), outputs=[wanted])


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
