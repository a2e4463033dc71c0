"""The HTTP contract of every endpoint."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask import Flask, render_template
from flask.testing import FlaskClient
from PIL import Image

from imagerec_worker.answers import Classification
from imagerec_worker.app import create_app
from imagerec_worker.bundle import Bundle
from imagerec_worker.classifier import Prediction
from imagerec_worker.preprocess import ImageInfo
from imagerec_worker.recognition import Timing
from imagerec_worker.settings import Settings

Form = Callable[..., tuple[bytes, dict[str, str]]]


@pytest.fixture(scope="session")
def red() -> bytes:
    """A red JPEG of 60 by 40 pixels."""
    buffer = io.BytesIO()
    Image.new("RGB", (60, 40), (250, 10, 10)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture
def with_settings(colours: Bundle) -> Callable[..., FlaskClient]:
    """A client of an application with other settings."""
    return lambda **changes: create_app(Settings(bundle=colours.path, **changes)).test_client()


def server_timing(headers: Any) -> dict[str, float]:
    return {
        name: float(duration) for name, duration in re.findall(r"(\w+);dur=([0-9.]+)(?:, |$)", headers["Server-Timing"])
    }


def test_an_image_in_a_form_is_classified(client: FlaskClient, form: Form, red: bytes) -> None:
    body, headers = form(("image", "red.jpg", red))
    answer = client.post("/predict", data=body, headers=headers)
    assert answer.status_code == 200
    assert answer.mimetype == "application/json"
    document = answer.get_json()
    assert list(document) == ["predictions", "model", "worker", "image", "timing_ms"]
    assert [list(prediction) for prediction in document["predictions"]] == [["label", "wnid", "probability"]] * 3
    best = document["predictions"][0]
    assert (best["label"], best["wnid"]) == ("red", "n00000001")
    assert best["probability"] > 0.99
    assert document["model"] == {"name": "colours", "version": "1.0"}
    assert document["worker"] == "worker1"
    assert document["image"] == {"format": "JPEG", "width": 60, "height": 40}
    assert list(document["timing_ms"]) == ["queue", "read", "decode", "inference", "total"]


@pytest.mark.parametrize("kind", ["image/jpeg", "image/png", "image/*"])
def test_an_image_as_the_body_is_classified_whatever_kind_of_image_it_claims(
    client: FlaskClient, red: bytes, kind: str
) -> None:
    answer = client.post("/predict", data=red, content_type=kind)
    assert answer.status_code == 200
    assert answer.get_json()["predictions"][0]["label"] == "red"


def test_a_form_that_only_the_full_parser_reads_gets_the_same_answer(
    client: FlaskClient, form: Form, red: bytes
) -> None:
    body, headers = form(("image", "red.jpg", red))
    unusual = client.post("/predict", data=b"preamble\r\n" + body, headers=headers)
    assert unusual.status_code == 200
    assert (
        unusual.get_json()["predictions"]
        == client.post("/predict", data=body, headers=headers).get_json()["predictions"]
    )


def test_a_large_upload_of_an_unusual_form_stays_in_memory(
    client: FlaskClient, form: Form, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (600, 600, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    assert len(buffer.getvalue()) > 1_000_000
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    body, headers = form(("image", "noise.png", buffer.getvalue()))
    assert client.post("/predict", data=b"preamble\r\n" + body, headers=headers).status_code == 200


@pytest.mark.parametrize(("top", "count"), [("1", 1), ("2", 2), ("20", 3)])
def test_top_bounds_the_number_of_predictions(client: FlaskClient, red: bytes, top: str, count: int) -> None:
    answer = client.post(f"/predict?top={top}", data=red, content_type="image/jpeg")
    assert len(answer.get_json()["predictions"]) == count


def test_five_predictions_are_the_default(imagenet: Bundle, red: bytes) -> None:
    client = create_app(Settings(bundle=imagenet.path)).test_client()
    assert len(client.post("/predict", data=red, content_type="image/jpeg").get_json()["predictions"]) == 5


def test_times_agree_in_document_and_header(client: FlaskClient, red: bytes) -> None:
    answer = client.post(
        "/predict", data=red, content_type="image/jpeg", headers={"X-Request-Start": f"t={time.time() - 100:.6f}"}
    )
    timing = answer.get_json()["timing_ms"]
    assert server_timing(answer.headers) == timing
    assert timing["queue"] >= 100_000
    assert min(timing["decode"], timing["inference"]) > 0
    assert timing["total"] == pytest.approx(timing["read"] + timing["decode"] + timing["inference"], abs=0.0015)
    assert timing["total"] < timing["queue"]


@pytest.mark.parametrize("start", ["t=never", "", "t=nan", "t=inf", "t=-inf", "t=99999999999", "t=1000000000"])
def test_a_start_that_makes_no_sense_is_no_queue(client: FlaskClient, red: bytes, start: str) -> None:
    answer = client.post("/predict", data=red, content_type="image/jpeg", headers={"X-Request-Start": start})
    assert answer.get_json()["timing_ms"]["queue"] == 0


def test_every_answer_names_its_worker_and_is_not_stored(client: FlaskClient) -> None:
    for path in ("/healthz", "/readyz", "/version", "/metrics", "/predict", "/nowhere"):
        headers = client.get(path).headers
        assert headers["X-Worker"] == "worker1"
        assert headers["Cache-Control"] == "no-store"


def test_submit_ignores_other_fields_of_the_form(client: FlaskClient, form: Form, red: bytes) -> None:
    body, headers = form(("number_backend_servers", None, b"2"), ("image", "red.jpg", red), ("go", None, b"Go"))
    answer = client.post("/submit", data=body, headers=headers)
    assert answer.status_code == 200
    assert answer.get_json()["predictions"][0]["label"] == "red"


BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


def test_submit_answers_a_browser_with_a_page(client: FlaskClient, form: Form, red: bytes) -> None:
    body, headers = form(("image", "red.jpg", red))
    answer = client.post("/submit", data=body, headers=headers | BROWSER)
    assert answer.status_code == 200
    assert answer.mimetype == "text/html"
    assert "<h1>red</h1>" in answer.text
    assert "worker1" in answer.text
    assert "60 \N{MULTIPLICATION SIGN} 40 pixels" in answer.text
    assert set(server_timing(answer.headers)) == {"queue", "read", "decode", "inference", "total"}
    assert not re.search(r"<script|<style|style=|https?://", answer.text)


def test_the_page_words_small_shares_and_leaves_out_what_is_no_guess(app: Flask) -> None:
    guesses = [Prediction("cat", "n1", 0.93), Prediction("dog", "n2", 0.0004), Prediction("tench", "n3", 0.0)]
    result = Classification(guesses, ImageInfo("JPEG", 4, 3), Timing(0.0, 0.5, 1.0, 2.0, 3.5))
    with app.test_request_context():
        page = render_template("result.html", result=result, worker="w", model={"name": "m", "version": "1"})
    assert re.findall(r"<td>(.*?)</td>", page) == ["cat", "93.0%", "dog", "under 0.1%"]


def test_submit_answers_a_browser_s_mistake_with_a_page(client: FlaskClient, form: Form) -> None:
    body, headers = form(("image", "notes.jpg", b"just <b>text</b>"))
    answer = client.post("/submit", data=body, headers=headers | BROWSER)
    assert answer.status_code == 415
    assert answer.mimetype == "text/html"
    assert "<h1>Unsupported format</h1>" in answer.text
    assert "JPEG, PNG, WEBP, GIF" in answer.text


@pytest.mark.parametrize("accept", [None, "*/*", "application/json", "application/json, text/html;q=0.9"])
def test_submit_answers_programs_with_json(client: FlaskClient, red: bytes, accept: str | None) -> None:
    headers = {"Accept": accept} if accept else {}
    assert client.post("/submit", data=red, content_type="image/jpeg", headers=headers).mimetype == "application/json"
    assert client.post("/submit", headers=headers).mimetype == "application/problem+json"


def test_predict_answers_a_browser_with_json(client: FlaskClient, red: bytes) -> None:
    assert client.post("/predict", data=red, content_type="image/jpeg", headers=BROWSER).mimetype == "application/json"


def test_labels_are_escaped_in_the_page(
    write_colours: Callable[..., Bundle], form: Form, red: bytes, tmp_path: Path
) -> None:
    hostile = write_colours(tmp_path / "b", classes=[("n1", "<script>1</script>"), ("n2", "b"), ("n3", "c")])
    body, headers = form(("image", "red.jpg", red))
    page = create_app(Settings(bundle=hostile.path)).test_client().post("/submit", data=body, headers=headers | BROWSER)
    assert "<script>" not in page.text
    assert "&lt;script&gt;1&lt;/script&gt;" in page.text


def test_any_label_and_name_becomes_json(
    write_colours: Callable[..., Bundle], red: bytes, tmp_path: Path, logged: Callable[[], list[Any]]
) -> None:
    labels = [
        ("n1", 'a "cat" \\ \N{LATIN SMALL LETTER E WITH ACUTE}\n\0</script>'),
        ("n\u2028", "b"),
        ("n3", "\U0001f600"),
    ]
    odd = write_colours(tmp_path / "b", classes=labels, version="1.0+x")
    name = 'my "own" \\ worker'
    answer = (
        create_app(Settings(bundle=odd.path, worker_name=name))
        .test_client()
        .post("/predict", data=red, content_type="image/jpeg", headers={"X-Request-Id": "a"})
    )
    document = answer.get_json()
    assert json.dumps(document, separators=(",", ":")) + "\n" == answer.text
    assert sorted((each["wnid"], each["label"]) for each in document["predictions"]) == sorted(labels)
    line = logged()[-1]
    assert line["worker"] == document["worker"] == name
    assert {f"{phase}_ms": spent_ms for phase, spent_ms in document["timing_ms"].items()}.items() <= line.items()


def test_the_api_is_described(client: FlaskClient) -> None:
    """What it says is looked at in `test_openapi.py`."""
    document = client.get("/openapi.json").get_json()
    assert {"/predict", "/submit", "/version"} <= document["paths"].keys()


def test_healthz_is_live(client: FlaskClient) -> None:
    assert client.get("/healthz").get_json() == {"status": "live"}


def test_readyz_follows_the_drain_file(with_settings: Callable[..., FlaskClient], tmp_path: Path) -> None:
    client = with_settings(drain_file=tmp_path / "drain")
    assert (client.get("/readyz").status_code, client.get("/readyz").get_json()) == (200, {"status": "ready"})
    (tmp_path / "drain").touch()
    assert client.get("/readyz").status_code == 503
    assert client.get("/healthz").status_code == 200
    (tmp_path / "drain").unlink()
    assert client.get("/readyz").status_code == 200


def test_a_draining_worker_still_answers(with_settings: Callable[..., FlaskClient], tmp_path: Path, red: bytes) -> None:
    (tmp_path / "drain").touch()
    answer = with_settings(drain_file=tmp_path / "drain").post("/predict", data=red, content_type="image/jpeg")
    assert answer.status_code == 200


def test_version_says_what_runs(client: FlaskClient, colours: Bundle) -> None:
    document = client.get("/version").get_json()
    assert list(document) == ["service", "version", "worker", "model", "limits", "formats"]
    assert document == {
        "service": "imagerec-worker",
        "version": version("imagerec-worker"),
        "worker": "worker1",
        "model": {
            "name": "colours",
            "version": "1.0",
            "title": "Red, green or blue",
            "digest": colours.digest,
            "classes": 3,
            "labels": ["red", "green", "blue"],
            "input_size": 16,
            "quantisation": "float32",
            "notice": "",
            "unsure_below": 0.3,
        },
        "limits": {"max_bytes": 20971520, "max_pixels": 50000000},
        "formats": ["JPEG", "PNG", "WEBP", "GIF"],
    }


@pytest.mark.parametrize("count", [30, 31])
def test_version_lists_the_labels_of_few_classes_only(
    write_colours: Callable[..., Bundle], network: Callable[..., bytes], tmp_path: Path, count: int
) -> None:
    labels = [(f"n{i}", f"thing {i}") for i in range(count)]
    many = write_colours(tmp_path / "b", model=network(classes=count), classes=labels)
    model = create_app(Settings(bundle=many.path)).test_client().get("/version").get_json()["model"]
    assert model["classes"] == count
    assert model.get("labels") == ([f"thing {i}" for i in range(30)] if count == 30 else None)


def test_metrics_count_answers_and_phases(with_settings: Callable[..., FlaskClient], red: bytes) -> None:
    client = with_settings(worker_name="w")
    for _ in range(3):
        client.post("/predict", data=red, content_type="image/jpeg")
    client.post("/predict")
    client.get("/elsewhere")
    text = client.get("/metrics").text
    assert 'imagerec_answers_total{route="/predict",status="200"} 3.0' in text
    assert 'imagerec_answers_total{route="/predict",status="400"} 1.0' in text
    assert 'imagerec_answers_total{route="unknown",status="404"} 1.0' in text
    for phase in ("queue", "read", "decode", "inference", "total"):
        assert f'imagerec_phase_seconds_count{{phase="{phase}"}} 3.0' in text
    assert re.search(r'imagerec_model_info\{digest="[0-9a-f]{64}",name="colours",version="1.0",worker="w"\} 1.0', text)


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("debug", ["/predict", "/predict", "/healthz"]),
        ("info", ["/predict", "/predict"]),
        ("warning", ["/predict"]),
        ("error", []),
    ],
)
def test_the_level_chooses_which_requests_are_logged(
    with_settings: Callable[..., FlaskClient],
    logged: Callable[[], list[Any]],
    red: bytes,
    level: str,
    expected: list[str],
) -> None:
    client = with_settings(log_level=level)
    client.post("/predict", data=red, content_type="image/jpeg")
    client.post("/predict")
    client.get("/healthz")
    lines = logged()
    assert [line["route"] for line in lines] == expected
    assert all(len(line["id"]) == 32 for line in lines)


def test_applications_share_nothing(app: Flask, with_settings: Callable[..., FlaskClient]) -> None:
    other = with_settings(worker_name="other")
    other.get("/nowhere")
    assert 'route="unknown"' in other.get("/metrics").text
    assert dataclasses.replace(app.extensions["imagerec_worker"].settings, worker_name="other") == (
        other.application.extensions["imagerec_worker"].settings
    )
    assert app.test_client().get("/healthz").headers["X-Worker"] == "worker1"
