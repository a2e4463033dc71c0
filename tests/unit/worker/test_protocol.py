"""The Open Inference Protocol's own description, as MLServer publishes it: true of what the worker answers."""

from __future__ import annotations

import json
from importlib.metadata import files
from typing import Any

import hypothesis
import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from imagerec_worker.bundle import Bundle
from imagerec_worker.v2_request import OUTPUTS
from tests.unit.worker.test_v2 import MODEL, asking, elements, images, picture, tensor

# What MLServer adds to the protocol.
OWN_OF_MLSERVER = ("infer_stream", "generate", "generate_stream")


@pytest.fixture(scope="module")
def protocol() -> dict[str, Any]:
    """The description without what MLServer adds and without the 500 that it allows.

    Its type `bytes` is none that OpenAPI knows.
    """
    (found,) = [one for one in files("mlserver") or [] if one.name == "dataplane.json"]
    description: dict[str, Any] = json.loads(found.read_text().replace('"type": "bytes"', '"type": "string"'))
    for path in [path for path in description["paths"] if path.endswith(OWN_OF_MLSERVER)]:
        del description["paths"][path]
    for entry in description["paths"].values():
        for operation in entry.values():
            if isinstance(operation, dict):
                operation["responses"].pop("500", None)
    return description


def statuses(operation: Any, mode: str, *models: dict[str, str]) -> list[set[int]]:
    """Send what is made from the description, to the models of these names; return how each has answered."""
    import schemathesis
    from schemathesis.specs.openapi import checks as of_openapi

    checks = [
        schemathesis.checks.not_a_server_error,
        of_openapi.status_code_conformance,
        of_openapi.content_type_conformance,
        of_openapi.response_schema_conformance,
    ]
    seen: list[set[int]] = [set() for _ in models]

    @hypothesis.settings(
        max_examples=8 if operation.body else 2,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate],
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=schemathesis.GenerationMode(mode)))
    def check(case: Any) -> None:
        made = case.path_parameters or {}
        for names, answered in zip(models, seen, strict=True):
            case.path_parameters = {**made, **names}
            answer = case.call()
            answered.add(answer.status_code)
            case.validate_response(answer, checks=checks)

    check()
    return seen


@pytest.mark.parametrize("mode", ["positive", "negative"])
@pytest.mark.filterwarnings("ignore")  # schemathesis warns of what it makes itself
def test_the_worker_answers_as_the_protocol_says(
    app: Flask, colours: Bundle, protocol: dict[str, Any], mode: str
) -> None:
    """Each request is sent to the model that is there, and to one of any name."""
    import schemathesis

    schema = schemathesis.openapi.from_dict(protocol)
    schema.app = app
    told: tuple[set[int], set[int]] = (set(), set())  # by the model that is there, and by one of any name
    inferred: tuple[set[int], set[int]] = (set(), set())
    own = {"model_name": colours.name, "model_version": colours.version}
    for operation in (result.ok() for result in schema.get_all_operations()):
        ours = {one.name: own[one.name] for one in operation.path_parameters if one.name in own}
        if operation.body:
            found, models = inferred, [ours, {}]
        elif mode == "positive":
            found, models = told, [ours, {}] if "404" in operation.definition.raw["responses"] else [ours]
        else:
            continue
        for answered, more in zip(found, statuses(operation, mode, *models), strict=False):
            answered.update(more)
    assert 400 in inferred[0]  # no photograph comes about by chance, so no inference succeeds
    assert told[0] <= {200}
    assert inferred[1] <= {400, 404}
    assert told[1] <= {404}


def as_json(answer: TestResponse) -> TestResponse:
    """The answer with its binary data where the description has data, byte by byte."""
    if answer.mimetype == "application/json":
        return answer
    length = int(answer.headers["Inference-Header-Content-Length"])
    document, section = json.loads(answer.data[:length]), answer.data[length:]
    for output in document["outputs"]:
        if "data" not in output:
            size = output["parameters"]["binary_data_size"]
            output["data"], section = list(section[:size]), section[size:]
            assert len(output["data"]) == size
    assert not section
    answer.set_data(json.dumps(document))
    answer.content_type = "application/json"
    return answer


@pytest.mark.parametrize("wanted", [["label"], ["probabilities", "wnid"], []], ids=["one", "two", "all"])
@pytest.mark.parametrize("binary_answer", [False, True], ids=["json-out", "binary-out"])
@pytest.mark.parametrize("sent", ["BYTES", "BYTES in binary", "tensor", "tensor in binary"])
def test_an_inference_is_answered_as_the_protocol_says(
    client: FlaskClient, protocol: dict[str, Any], sent: str, binary_answer: bool, wanted: list[str]
) -> None:
    files, pixels = [picture("red"), picture("blue", "JPEG")], tensor("red", "blue")
    document, section = {
        "BYTES": (images(files), b""),
        "BYTES in binary": (images(files), elements(*files)),
        "tensor": (asking(shape=list(pixels.shape), data=pixels.tolist()), b""),
        "tensor in binary": (asking(shape=list(pixels.shape)), pixels.tobytes()),
    }[sent]
    document |= {"id": "7", "parameters": {"binary_data_output": binary_answer}}
    document["outputs"] = [{"name": name} for name in wanted]
    if section:
        del document["inputs"][0]["data"]
        document["inputs"][0]["parameters"] = {"binary_data_size": len(section)}
    text = json.dumps(document).encode()
    answer = client.post(
        f"{MODEL}/infer", data=text + section, headers={"Inference-Header-Content-Length": str(len(text))}
    )
    assert answer.status_code == 200, answer.text
    assert answer.mimetype == ("application/octet-stream" if binary_answer else "application/json")
    import schemathesis

    schema = schemathesis.openapi.from_dict(protocol)
    schema["/v2/models/{model_name}/infer"]["POST"].validate_response(as_json(answer))
    assert [output["name"] for output in answer.get_json()["outputs"]] == (wanted or list(OUTPUTS))
