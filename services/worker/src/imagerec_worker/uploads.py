"""From a request to the bytes of the one image that it carries."""

from __future__ import annotations

import io
from typing import IO

from flask import Request, current_app
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

from imagerec_worker.errors import NoImageError
from imagerec_worker.multipart import UnusualFormError, find_file

FIELD = "image"


class UploadRequest(Request):
    """A request whose uploads stay in memory: Werkzeug would write the larger ones to disk."""

    def _get_file_stream(self, *_: object, **__: object) -> IO[bytes]:
        return io.BytesIO()


def read_image(request: Request) -> bytes:
    """Return the uploaded image: the file of the form field ``image``, or the body of an ``image/*`` request.

    Raises:
        NoImageError: There is none, or it is empty.
        RequestEntityTooLarge: The body or the form is beyond the application's limits (Werkzeug's error).
    """
    if request.mimetype == "multipart/form-data":
        data = _read_form(request)
    elif request.mimetype.startswith("image/"):
        data = _read_body(request)
    else:
        raise NoImageError(
            f"send the image as the file '{FIELD}' of a multipart/form-data form, or as the body with its "
            "image/* content type"
        )
    if not data:
        raise NoImageError("the image is empty; choose a file with content")
    return data


def _read_form(request: Request) -> bytes:
    body = _read_body(request)
    try:
        data = find_file(body, request.headers.get("Content-Type", ""), FIELD)
    except UnusualFormError:
        request.environ["wsgi.input"] = io.BytesIO(body)
        file = request.files.get(FIELD)  # Werkzeug parses the same bytes
        data = None if file is None else file.read()
    if data is None:
        raise NoImageError(f"the form has no file named '{FIELD}'")
    return data


def _read_body(request: Request) -> bytes:
    """Read the body in one piece, where Werkzeug's stream would read it in a hundred."""
    limit: int = current_app.config["MAX_CONTENT_LENGTH"]
    stream = request.environ["wsgi.input"]
    length = request.content_length
    if length is None:
        # A chunked body ends where the server says; without that promise there is no body to read.
        body: bytes = stream.read(limit + 1) if request.environ.get("wsgi.input_terminated") else b""
        length = len(body)
        if length > limit:
            raise RequestEntityTooLarge
        return body
    if length > limit:
        raise RequestEntityTooLarge
    body = stream.read(length)
    if len(body) < length:
        raise ClientDisconnected
    return body
