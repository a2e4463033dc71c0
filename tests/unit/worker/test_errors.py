"""Each error of the table: what causes it, what it looks like, and that the README lists it."""

from __future__ import annotations

import io
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image
from werkzeug.test import EnvironBuilder, TestResponse

from imagerec_worker.app import create_app
from imagerec_worker.bundle import Bundle
from imagerec_worker.errors import PROBLEMS
from imagerec_worker.settings import Settings

README = Path(__file__).parents[3] / "services/worker/README.md"
JPEG = "image/jpeg"


def picture(kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture
def make_client(colours: Bundle) -> Callable[..., FlaskClient]:
    """The function that makes a client of an application with other settings."""
    return lambda **changes: create_app(
        Settings(**{"bundle": colours.path, "worker_name": "worker1", **changes})
    ).test_client()


def assert_problem(answer: TestResponse, status: int, slug: str, detail: str) -> dict[str, Any]:
    assert answer.status_code == status
    assert answer.mimetype == "application/problem+json"
    document: dict[str, Any] = json.loads(answer.data)
    assert set(document) == {"type", "title", "status", "detail", "instance", "worker"}
    assert document["type"] == f"/problems/{slug}"
    assert document["status"] == status
    assert document["worker"] == "worker1"
    assert detail in document["detail"]
    return document


def test_the_readme_lists_the_same_problems() -> None:
    rows = re.findall(r"^\| (\d{3}) \| `/problems/([a-z-]+)` \|", README.read_text(), re.MULTILINE)
    assert rows == [(str(problem.status), problem.slug) for problem in PROBLEMS]


def test_every_problem_has_a_test() -> None:
    tests = set(re.findall(r'assert_problem\(\s*[^"]*?, (\d{3}), "([a-z-]+)"', Path(__file__).read_text()))
    assert tests == {(str(problem.status), problem.slug) for problem in PROBLEMS}


@pytest.mark.parametrize(
    ("body", "kind", "detail"),
    [
        (b"", None, "multipart/form-data"),
        (b"a=b", "application/x-www-form-urlencoded", "multipart/form-data"),
        (picture(), "application/octet-stream", "multipart/form-data"),
        (b"", JPEG, "empty"),
        (b"--x--\r\n", "multipart/form-data; boundary=x", "no file named 'image'"),
    ],
    ids=["nothing", "text form", "unnamed bytes", "empty body", "empty form"],
)
def test_no_image(client: FlaskClient, body: bytes, kind: str | None, detail: str) -> None:
    answer = client.post("/predict", data=body, content_type=kind)
    assert_problem(answer, 400, "no-image", detail)


@pytest.mark.parametrize(
    ("body", "kind", "detail"),
    [
        (b"no form at all", "multipart/form-data; boundary=x", "boundary never occurs"),
        (b"no boundary", "multipart/form-data", "has no boundary"),
    ],
    ids=["broken form", "form without boundary"],
)
def test_bad_form(client: FlaskClient, body: bytes, kind: str, detail: str) -> None:
    answer = client.post("/predict", data=body, content_type=kind)
    assert_problem(answer, 400, "bad-form", detail)
    assert answer.data.endswith(b"}\n")


def test_no_image_in_a_form_with_other_fields(client: FlaskClient) -> None:
    for data in (
        {"image": "text, no file"},
        {"picture": (io.BytesIO(picture()), "x.jpg")},
        {"image": (io.BytesIO(), "x")},
    ):
        assert client.post("/predict", data=data).get_json()["type"] == "/problems/no-image"


@pytest.mark.parametrize("top", ["0", "21", "-1", "five", "", "1.0", "٣", "007", "1" * 20])
def test_bad_parameter(client: FlaskClient, top: str) -> None:
    answer = client.post("/predict", query_string={"top": top}, data=picture(), content_type=JPEG)
    assert_problem(answer, 400, "bad-parameter", "from 1 to 20")


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("tpo=1", "there is no parameter 'tpo'; did you mean top?"),
        ("top=1&model=x", "there is no parameter 'model'; there is only top"),
        ("top=1&top=2", "top is given 2 times"),
        ("a" * 40, f"there is no parameter '{'a' * 32}'; there is only top"),
    ],
)
def test_a_parameter_that_is_unknown_or_given_twice_is_refused(client: FlaskClient, query: str, detail: str) -> None:
    answer = client.post(f"/predict?{query}", data=picture(), content_type=JPEG)
    assert_problem(answer, 400, "bad-parameter", detail)


def test_not_found(client: FlaskClient) -> None:
    answer = client.get("/pictures")
    document = assert_problem(answer, 404, "not-found", "nothing at /pictures")
    assert document["instance"] == "/pictures"


@pytest.mark.parametrize("path", ["/v2//health/live", "/v2/models//colours"])
def test_two_slashes_are_another_address_and_no_page_says_so(app: Flask, path: str) -> None:
    environ = EnvironBuilder().get_environ() | {"PATH_INFO": path}
    answer = app.test_client().open(environ)
    assert (answer.status_code, answer.mimetype.endswith("json")) == (404, True)
    assert f"there is nothing at {path}" in answer.text


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("GET", "/predict", {"POST", "OPTIONS"}), ("DELETE", "/healthz", {"GET", "HEAD", "OPTIONS"})],
)
def test_method_not_allowed(client: FlaskClient, method: str, path: str, allowed: set[str]) -> None:
    answer = client.open(path, method=method)
    assert_problem(answer, 405, "method-not-allowed", path)
    assert set(answer.headers["Allow"].split(", ")) == allowed


def test_too_large_in_bytes(make_client: Callable[..., FlaskClient]) -> None:
    body = picture()
    assert make_client(max_bytes=len(body)).post("/predict", data=body, content_type=JPEG).status_code == 200
    answer = make_client(max_bytes=len(body) - 1).post("/predict", data=body, content_type=JPEG)
    assert_problem(answer, 413, "too-large", f"at most {len(body) - 1} bytes")


@pytest.mark.parametrize("bytes_more", [0, 1])
def test_the_limit_is_that_of_the_image_and_not_of_the_form_around_it(
    make_client: Callable[..., FlaskClient], form: Callable[..., tuple[bytes, dict[str, str]]], bytes_more: int
) -> None:
    image = picture()
    body, headers = form(("text", None, b"x" * 100_000), ("image", "x.jpg", image + bytes(bytes_more)))
    answer = make_client(max_bytes=len(image)).post("/predict", data=body, headers=headers)
    assert answer.status_code == (413 if bytes_more else 200)


def test_too_large_in_pixels(make_client: Callable[..., FlaskClient]) -> None:
    assert make_client(max_pixels=4096).post("/predict", data=picture(), content_type=JPEG).status_code == 200
    answer = make_client(max_pixels=4095).post("/predict", data=picture(), content_type=JPEG)
    assert_problem(answer, 413, "too-large", "64 by 64 pixels")


def test_too_large_in_text_of_the_form(client: FlaskClient, form: Callable[..., tuple[bytes, dict[str, str]]]) -> None:
    body, headers = form(("text", None, b"x" * 600_000), ("image", "x.jpg", picture()))
    answer = client.post("/predict", data=body, headers=headers)
    assert_problem(answer, 413, "too-large", "500000 bytes in a text field")


WITHOUT_PARAMETERS = ["/healthz", "/readyz", "/version", "/metrics", "/openapi.json"]
V2_WITHOUT_PARAMETERS = [
    "",
    "/health/live",
    "/health/ready",
    *(f"/models/colours{end}" for end in ("", "/config", "/ready")),
]


@pytest.mark.parametrize("path", WITHOUT_PARAMETERS)
def test_an_address_without_parameters_refuses_any(client: FlaskClient, path: str) -> None:
    answer = client.get(f"{path}?verbose=1")
    assert_problem(answer, 400, "bad-parameter", "there is no parameter 'verbose'; this address has none, leave it out")
    assert client.get(f"{path}?").status_code == 200


@pytest.mark.parametrize("path", V2_WITHOUT_PARAMETERS)
def test_an_address_of_v2_refuses_any_parameter(client: FlaskClient, path: str) -> None:
    answer = client.get(f"/v2{path}?verbose=1")
    assert answer.status_code == 400
    assert answer.get_json() == {"error": "there is no parameter 'verbose'; this address has none, leave it out"}


def test_an_inference_of_v2_refuses_any_parameter_of_the_address(client: FlaskClient) -> None:
    answer = client.post("/v2/models/colours/infer?top=1", json={})
    assert answer.status_code == 400
    assert "parameter 'top'" in answer.get_json()["error"]


def test_an_unknown_address_or_method_matters_more_than_its_parameters(client: FlaskClient) -> None:
    assert client.get("/nowhere?verbose=1").status_code == 404
    assert client.delete("/version?verbose=1").status_code == 405


@pytest.mark.parametrize("path", ["/predict", "/submit"])
def test_an_unknown_parameter_gets_the_nearest_known(client: FlaskClient, path: str) -> None:
    answer = client.post(f"{path}?tpo=1", data=picture(), content_type=JPEG)
    assert_problem(answer, 400, "bad-parameter", "there is no parameter 'tpo'; did you mean top?")


def test_unsupported_format(client: FlaskClient) -> None:
    answer = client.post("/predict", data=picture("BMP"), content_type="image/bmp")
    assert_problem(answer, 415, "unsupported-format", "JPEG, PNG, WEBP, GIF")


def test_broken_image(client: FlaskClient) -> None:
    answer = client.post("/predict", data=picture()[:-100], content_type=JPEG)
    assert_problem(answer, 422, "broken-image", "JPEG image is damaged or incomplete")


def test_busy(make_client: Callable[..., FlaskClient]) -> None:
    client = make_client(queue_budget_s=50)
    fresh = {"X-Request-Start": f"t={time.time():.3f}"}
    assert client.post("/predict", data=picture(), content_type=JPEG, headers=fresh).status_code == 200
    stale = {"X-Request-Start": f"t={time.time() - 100:.3f}"}
    answer = client.post("/predict", data=b"not even looked at", content_type=JPEG, headers=stale)
    document = assert_problem(answer, 429, "busy", "try again in 1 s")
    assert re.search(r"has waited 1\d\d\.\d s", document["detail"])
    assert answer.headers["Retry-After"] == "1"


def test_draining(make_client: Callable[..., FlaskClient], tmp_path: Path) -> None:
    (tmp_path / "drain").touch()
    answer = make_client(drain_file=tmp_path / "drain").get("/readyz")
    assert_problem(answer, 503, "draining", "out of service")


def test_any_other_error_of_http_is_a_problem_too(client: FlaskClient) -> None:
    cut_short = {"CONTENT_LENGTH": "100"}
    answer = client.post("/predict", data=b"\xff\xd8", content_type=JPEG, environ_overrides=cut_short)
    assert answer.status_code == 400
    assert answer.mimetype == "application/problem+json"
    assert answer.get_json()["type"] == "about:blank"
    assert answer.get_json()["title"] == "Bad Request"
    assert answer.get_json()["detail"] == "the body ended after 2 of 100 bytes; send it again whole"
