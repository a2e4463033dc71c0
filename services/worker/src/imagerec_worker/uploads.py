"""From a request to the bytes of the one image that it carries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from werkzeug.exceptions import ClientDisconnected
from werkzeug.sansio.utils import get_content_length

from imagerec_worker.errors import NoImageError, TooLargeError
from imagerec_worker.multipart import find_file

FIELD = "image"
# What a form may have besides its image: boundaries, headers, names, text fields.
ENVELOPE_BYTES = 1024 * 1024


def read_image(environ: Mapping[str, Any], max_bytes: int) -> bytes:
    """Return the uploaded image: the file of the form field ``image``, or the body of an ``image/*`` request.

    Args:
        environ: The request's WSGI environment.
        max_bytes: Largest image, in bytes; a form may be larger by :data:`ENVELOPE_BYTES`.

    Raises:
        NoImageError: There is none, or it is empty.
        BadFormError: The form is broken.
        TooLargeError: The image or the form is beyond its limits.
        ClientDisconnected: The body ends too early (Werkzeug's error).
    """
    content_type = environ.get("CONTENT_TYPE", "")
    kind = content_type.partition(";")[0].strip(" \t").lower()
    if kind == "multipart/form-data":
        data = find_file(_body(environ, max_bytes), content_type, FIELD)
    elif kind.startswith("image/"):
        data = _body(environ, max_bytes)
    else:
        raise NoImageError(
            f"send the image as the file '{FIELD}' of a multipart/form-data form, or as the body with its "
            "image/* content type"
        )
    if not data:
        raise NoImageError("the image is empty; choose a file with content")
    if len(data) > max_bytes:
        raise TooLargeError(too_large(max_bytes))
    return data


def read_body(environ: Mapping[str, Any], limit_bytes: int, refusal: str) -> bytes:
    """Return the request's body, read in one piece, where Werkzeug's stream would read it in a hundred.

    Args:
        environ: The request's WSGI environment.
        limit_bytes: Largest body.
        refusal: What to say of a larger one.

    Raises:
        TooLargeError: The body is larger.
        ClientDisconnected: The body ends too early (Werkzeug's error).
    """
    stream = environ["wsgi.input"]
    length = get_content_length(environ.get("CONTENT_LENGTH"), environ.get("HTTP_TRANSFER_ENCODING"))
    if length is None:
        # A chunked body ends where the server says; without that promise there is no body to read.
        body: bytes = stream.read(limit_bytes + 1) if environ.get("wsgi.input_terminated") else b""
        if len(body) > limit_bytes:
            raise TooLargeError(refusal)
        return body
    if length > limit_bytes:
        raise TooLargeError(refusal)
    body = stream.read(length)
    if len(body) < length:
        raise ClientDisconnected(f"the body ended after {len(body)} of {length} bytes; send it again whole")
    return body


def too_large(max_bytes: int) -> str:
    """Return what to say of an image of more than ``max_bytes`` bytes."""
    return f"an image may have at most {max_bytes} bytes; send a smaller one"


def _body(environ: Mapping[str, Any], max_bytes: int) -> bytes:
    return read_body(environ, max_bytes + ENVELOPE_BYTES, too_large(max_bytes))
