"""Clients that exist, on what `make up` has deployed: tritonclient, and whatever reads an OpenAPI description."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import requests
import tritonclient.http as triton
from PIL import Image
from skimage import data

from tests.conftest import REPOSITORY, Deployment

FORMATS = ("JPEG", "PNG", "WEBP")


@pytest.fixture(scope="module")
def cats() -> list[bytes]:
    """One photograph in several formats."""
    files = []
    for kind in FORMATS:
        buffer = io.BytesIO()
        Image.fromarray(data.chelsea()).save(buffer, kind)
        files.append(buffer.getvalue())
    return files


def test_tritonclient_is_answered_as_predict_answers_by_every_worker(deployment: Deployment, cats: list[bytes]) -> None:
    expected = requests.post(f"{deployment.url}/predict", files={"image": cats[0]}, timeout=20).json()
    name = expected["model"]["name"]
    wanted = triton.InferInput("image", [len(cats)], "BYTES")
    wanted.set_data_from_numpy(np.array(cats, np.object_))
    with triton.InferenceServerClient(deployment.url.removeprefix("http://")) as client:
        assert client.is_server_ready()
        assert client.is_model_ready(name)
        size = client.get_model_metadata(name)["inputs"][1]["shape"][1]
        answer = client.infer(name, [wanted], parameters={"top": 5})
        labels = answer.as_numpy("label")
        assert [label.decode() for label in labels[0]] == [one["label"] for one in expected["predictions"]]
        assert {label[0].decode() for label in labels} <= {"tabby", "tiger cat", "Egyptian cat"}
        pixels = triton.InferInput("pixels", [1, size, size, 3], "UINT8")
        pixels.set_data_from_numpy(np.asarray(Image.fromarray(data.chelsea()).resize((size, size)))[np.newaxis])
        answer = client.infer(name, [pixels], parameters={"top": 5})
        # Their sum is only near 1: an int8 network rounds each of a thousand to 1/256.
        probabilities = answer.as_numpy("probabilities")[0]
        assert answer.as_numpy("probability")[0].tolist() == sorted(probabilities.tolist(), reverse=True)[:5]
        assert 0 < probabilities.max() <= 1
    workers = {requests.get(f"{deployment.url}/v2", timeout=60).headers["X-Worker"] for _ in range(30)}
    assert workers == set(deployment.workers)


@pytest.mark.long
def test_perf_analyzer_measures_it(deployment: Deployment, cats: list[bytes], tmp_path: Path) -> None:
    installed = REPOSITORY / ".cache/perf_analyzer"
    subprocess.run(["make", "-s", ".cache/perf_analyzer/.installed"], cwd=REPOSITORY, check=True)
    # Of a string in base64 the program sends the bytes as they are, so its length comes before it.
    element = base64.b64encode(struct.pack("<I", len(cats[0])) + cats[0]).decode()
    data = {"data": [{"image": {"content": {"b64": element}, "shape": [1]}}]}
    (tmp_path / "data.json").write_text(json.dumps(data))
    name = requests.get(f"{deployment.url}/version", timeout=60).json()["model"]["name"]
    words = ["-m", name, "-u", deployment.url.removeprefix("http://"), "-i", "http", "--shape", "image:1"]
    done = subprocess.run(
        [installed / "bin/perf_analyzer", *words, "--input-data", tmp_path / "data.json", "-p", "1000", "-s", "90"],
        env=os.environ | {"LD_LIBRARY_PATH": str(installed / "nvidia/cuda_runtime/lib")},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (measured,) = re.findall(r"Request count: (\d+)", done.stdout)
    assert int(measured) > 0


def test_what_the_balancer_answers_is_as_described(deployment: Deployment) -> None:
    import schemathesis
    from schemathesis.specs.openapi import checks

    described = [checks.status_code_conformance, checks.content_type_conformance, checks.response_schema_conformance]
    schema = schemathesis.openapi.from_url(f"{deployment.url}/openapi.json")
    model = requests.get(f"{deployment.url}/version", timeout=60).json()["model"]
    seen = set()
    for operation in (result.ok() for result in schema.get_all_operations()):
        if operation.method.lower() == "get" and "balancer" in operation.definition.raw["x-served-by"]:
            case = operation.Case(path_parameters={one.name: model[one.name] for one in operation.path_parameters})
            answer = case.call()
            case.validate_response(answer, checks=described)
            assert answer.status_code == 200
            seen.add(operation.path)
    assert {"/healthz", "/workers", "/live-figures", "/status", "/version", "/v2"} < seen
