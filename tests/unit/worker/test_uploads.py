"""Bodies: read whole and no further, refused by their length where they tell it."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from werkzeug.exceptions import ClientDisconnected

from imagerec_worker.errors import NoImageError, TooLargeError
from imagerec_worker.uploads import read_body, read_image

MEBIBYTE = 1024 * 1024


def environ_of(body: bytes, length: int | None, content_type: str = "image/jpeg", **more: Any) -> dict[str, Any]:
    told = {} if length is None else {"CONTENT_LENGTH": str(length)}
    return {"wsgi.input": io.BytesIO(body), "CONTENT_TYPE": content_type, **told, **more}


def test_a_body_is_read_to_its_length_and_no_further() -> None:
    environ = environ_of(b"0123456789next", 10)
    assert read_body(environ, 10, "too large") == b"0123456789"
    assert environ["wsgi.input"].read() == b"next"


def test_a_body_that_says_to_be_too_large_is_not_read() -> None:
    environ = environ_of(b"0123456789", 10)
    with pytest.raises(TooLargeError, match="too large"):
        read_body(environ, 9, "too large")
    assert environ["wsgi.input"].tell() == 0


def test_a_body_that_ends_early_is_none() -> None:
    with pytest.raises(ClientDisconnected):
        read_body(environ_of(b"012345678", 10), 10, "too large")


def test_a_body_in_chunks_is_read_as_far_as_it_may_go() -> None:
    chunked = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}
    assert read_body(environ_of(b"0123456789", None, **chunked), 10, "too large") == b"0123456789"
    environ = environ_of(b"0123456789abc", None, **chunked)
    with pytest.raises(TooLargeError, match="too large"):
        read_body(environ, 10, "too large")
    assert environ["wsgi.input"].tell() == 11


def test_without_length_and_chunks_there_is_no_body() -> None:
    assert read_body(environ_of(b"0123456789", None), 10, "too large") == b""
    with pytest.raises(NoImageError, match="empty"):
        read_image(environ_of(b"0123456789", None), 10)


@pytest.mark.parametrize(
    ("more", "refusal"),
    [(0, None), (1, TooLargeError), (-10, NoImageError)],
    ids=["as large as it may be", "a byte more", "nothing"],
)
def test_the_limit_of_an_image_is_exact(more: int, refusal: type[Exception] | None) -> None:
    environ = environ_of(bytes(10 + more), 10 + more)
    if refusal is None:
        assert read_image(environ, 10) == bytes(10)
        return
    with pytest.raises(refusal, match="at most 10 bytes" if more > 0 else "empty"):
        read_image(environ, 10)


@pytest.mark.parametrize("more", [0, 1])
def test_a_form_may_have_a_mebibyte_around_its_image(
    form: Callable[..., tuple[bytes, dict[str, str]]], more: int
) -> None:
    texts = [("text", None, b"x" * 400_000)] * 2
    short = len(form(("image", "x", b"0123456789"), *texts, ("text", None, b""))[0])
    rest = ("text", None, b"x" * (10 + MEBIBYTE - short + more))
    body, headers = form(("image", "x", b"0123456789"), *texts, rest)
    environ = environ_of(body, len(body), headers["Content-Type"])
    if more:
        with pytest.raises(TooLargeError, match="at most 10 bytes"):
            read_image(environ, 10)
    else:
        assert read_image(environ, 10) == b"0123456789"
