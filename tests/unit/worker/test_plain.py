"""``POST /predict`` before Flask: it answers as Flask does, and leaves to Flask what is not plain."""

from __future__ import annotations

import errno
import gc
import io
import re
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from PIL import Image
from werkzeug.test import EnvironBuilder

from imagerec_worker import offload
from imagerec_worker.app import create_app
from imagerec_worker.bundle import Bundle
from imagerec_worker.settings import Settings
from tests.conftest import REPOSITORY
from tests.unit.worker.both_ways import BothWays, ask

CORPUS = REPOSITORY / "tests/fuzz/corpus"
Forms = Callable[..., tuple[bytes, dict[str, str]]]


def jpeg(**options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (60, 40), (250, 10, 10)).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def environ_of(body: bytes = b"", path: str = "/predict", method: str = "POST", **more: Any) -> dict[str, Any]:
    content_type = more.pop("CONTENT_TYPE", "image/jpeg")
    builder = EnvironBuilder(path=path, method=method, input_stream=io.BytesIO(body), content_length=len(body))
    return {**builder.get_environ(), "CONTENT_TYPE": content_type, **more}


@pytest.fixture
def both(both_ways: Flask) -> BothWays:
    """The WSGI application that answers both ways."""
    assert isinstance(both_ways.wsgi_app, BothWays)
    return both_ways.wsgi_app


@pytest.mark.parametrize("target", ["metadata", "preprocessing"])
def test_both_ways_answer_every_image_of_the_fuzzer_alike(both: BothWays, target: str) -> None:
    statuses = {ask(both, environ_of(file.read_bytes()))[0] for file in sorted((CORPUS / target).iterdir())}
    assert {"200 OK", "415 UNSUPPORTED MEDIA TYPE", "422 UNPROCESSABLE ENTITY"} <= statuses


def test_both_ways_answer_every_form_of_the_fuzzer_alike(both: BothWays) -> None:
    statuses = set()
    for file in sorted((CORPUS / "multipart").iterdir()):
        line, _, body = file.read_bytes().partition(b"\n")
        given = line.decode("latin-1") if line.startswith(b"multipart/") else "multipart/form-data; boundary=frontier"
        statuses.add(ask(both, environ_of(body.replace(b"content", jpeg()), CONTENT_TYPE=given))[0])
    assert {"200 OK", "400 BAD REQUEST", "415 UNSUPPORTED MEDIA TYPE"} <= statuses


REQUESTS: dict[str, tuple[dict[str, Any], int]] = {
    "top": ({"QUERY_STRING": "top=2"}, 200),
    "top twice": ({"QUERY_STRING": "top=2&top=3"}, 400),
    "no top": ({"QUERY_STRING": "top="}, 400),
    "another parameter": ({"QUERY_STRING": "topp=2&%ff=%00"}, 400),
    "a query that is no text": ({"QUERY_STRING": "top=\xff&\x80"}, 400),
    "nothing but an ampersand": ({"QUERY_STRING": "&"}, 200),
    "an id": ({"HTTP_X_REQUEST_ID": "my-photo.7"}, 200),
    "an id that is none": ({"HTTP_X_REQUEST_ID": "a b"}, 200),
    "a trace": ({"HTTP_TRACEPARENT": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}, 200),
    "a browser": ({"HTTP_ACCEPT": "text/html,*/*;q=0.1"}, 200),
    "an odd host": ({"HTTP_HOST": "a b/c"}, 200),
    "no host": ({"HTTP_HOST": ""}, 200),
    "a start": ({"HTTP_X_REQUEST_START": "t=never"}, 200),
    "no type": ({"CONTENT_TYPE": ""}, 400),
    "another type": ({"CONTENT_TYPE": "application/octet-stream"}, 400),
    "a type in capitals": ({"CONTENT_TYPE": " IMAGE/JPEG ; x=y"}, 200),
    "a form without boundary": ({"CONTENT_TYPE": "multipart/form-data"}, 400),
    "a length that is none": ({"CONTENT_LENGTH": "many"}, 400),
    "no length": ({"CONTENT_LENGTH": ""}, 400),
    "a body cut short": ({"CONTENT_LENGTH": "1000000"}, 400),
    "a body beyond the limit": ({"CONTENT_LENGTH": "100000000"}, 413),
    "chunks": ({"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}, 200),
    "below another path": ({"SCRIPT_NAME": "/below"}, 200),
    "a method in its name": ({"REQUEST_METHOD": "GET"}, 405),
    "its options": ({"REQUEST_METHOD": "OPTIONS"}, 200),
}


@pytest.mark.parametrize(("more", "status"), REQUESTS.values(), ids=REQUESTS.keys())
def test_both_ways_answer_a_request_alike(both: BothWays, more: dict[str, Any], status: int) -> None:
    answer = ask(both, environ_of(jpeg(), **more))
    assert int(answer[0][:3]) == status, answer


@pytest.mark.parametrize(("body", "status"), [(jpeg(), 200), (b"text", 415)], ids=["answer", "problem"])
def test_both_ways_are_counted_and_logged_alike(
    colours: Bundle, logged: Callable[[], list[Any]], body: bytes, status: int
) -> None:
    apps = [create_app(Settings(bundle=colours.path, worker_name="w")) for _ in range(2)]
    environ = {"HTTP_X_REQUEST_ID": "x", "HTTP_TRACEPARENT": "00-" + 16 * "0a" + "-" + 8 * "0b" + "-01"}
    kept = []
    for app, application in zip(apps, (apps[0].wsgi_app, apps[1].wsgi_app.application), strict=True):
        ask(application, environ_of(body, **environ))
        line = logged()[-1]
        assert (line["status"], line["route"], line["request_bytes"]) == (status, "/predict", len(body))
        text = app.test_client().get("/metrics").text
        counted = re.findall(r"^imagerec_(?:answers_total|phase_seconds_count).*", text, re.MULTILINE)
        kept.append((list(line), line["response_bytes"] > 0, counted))
    assert kept[0] == kept[1]
    assert any(f'status="{status}"' in each for each in kept[0][2])


def test_flask_is_not_asked_for_what_is_plain(colours: Bundle, form: Forms, monkeypatch: pytest.MonkeyPatch) -> None:
    app = create_app(Settings(bundle=colours.path))
    body, headers = form(("image", "red.jpg", jpeg()))
    monkeypatch.setattr(app.wsgi_app, "application", None)
    assert app.test_client().post("/predict", data=body, headers=headers).status_code == 200


@pytest.mark.parametrize("more", [0, 1], ids=["4 MiB", "a byte more"])
def test_a_body_that_was_too_large_to_be_read_yet_is_a_child_s(
    app: Flask, monkeypatch: pytest.MonkeyPatch, more: int
) -> None:
    handed_over: list[bool] = []
    monkeypatch.setattr(offload, "hand_over", lambda: handed_over.append(True))
    length = str(4 * 1024 * 1024 + more)
    assert ask(app.wsgi_app, environ_of(path="/version", method="GET", CONTENT_LENGTH=length))[0] == "200 OK"
    assert len(handed_over) == more


def test_what_goes_wrong_before_flask_is_logged_and_answered_by_flask(
    colours: Bundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(Settings(bundle=colours.path))
    monkeypatch.setattr("imagerec_worker.plain.answer", lambda *_: 1 / 0)
    answer = app.test_client().post("/predict", data=jpeg(), content_type="image/jpeg")
    assert (answer.status_code, answer.mimetype) == (500, "application/problem+json")
    assert answer.get_json()["detail"] == "the worker failed; its log says why"
    assert "ZeroDivisionError" in caplog.text


def test_a_line_that_cannot_be_written_is_an_error_and_no_silence(
    colours: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    app = create_app(Settings(bundle=colours.path))
    monkeypatch.setattr("imagerec_worker.plain.finish", full)
    answer = app.test_client().post("/predict", data=jpeg(), content_type="image/jpeg")
    assert (answer.status_code, answer.mimetype) == (500, "application/problem+json")


@pytest.mark.parametrize("body", [b"text", jpeg()[:300]], ids=["refused at once", "refused by the decoder"])
def test_a_body_that_was_refused_is_let_go_at_once(colours: Bundle, body: bytes) -> None:
    """A collector of cycles comes too late: with their bodies and images, a few dozen are more than the host gives."""
    app = create_app(Settings(bundle=colours.path))
    stream = io.BytesIO(body)
    held = weakref.ref(stream)
    environ = environ_of(body) | {"wsgi.input": stream}
    gc.disable()
    try:
        assert ask(app.wsgi_app, environ)[0].startswith("4")
        del environ, stream
        assert held() is None
    finally:
        gc.enable()
