"""A cheap scan for one file in a ``multipart/form-data`` body.

Werkzeug's parser copies a body several times and costs more than the whole of the rest of the HTTP side.
Clients write forms in one plain way, though: :func:`find_file` reads that way with a few searches and
no copy but the file's own, and gives up on anything else, so that Werkzeug decides every unusual case.
Where it answers, it answers as Werkzeug does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# Beyond these the form is unusual and Werkzeug's limits apply.
_MAX_PARTS = 16
_MAX_HEADER_BYTES = 2048
_MAX_FIELD_BYTES = 64 * 1024

_CONTENT_TYPE = re.compile(r'multipart/form-data; ?boundary=(?:([A-Za-z0-9._-]{1,70})|"([A-Za-z0-9._-]{1,70})")')
_DISPOSITION = re.compile(rb'form-data; name="([A-Za-z0-9_-]{1,64})"(?:; filename="([^\x00-\x1f\x7f"\\%]*)")?')
_PLAIN_VALUE = re.compile(rb"[\x20-\x7e]*")
_OTHER_HEADERS = frozenset({b"content-type", b"content-length"})


class UnusualFormError(Exception):
    """The body is not written in the plain way; the full parser must read it."""


@dataclass(frozen=True, slots=True)
class _Part:
    name: bytes
    is_file: bool


def find_file(body: bytes, content_type: str, field: str) -> bytes | None:
    """Return the content of the first file of the form field ``field``; None when the form has none.

    Args:
        body: The request's body.
        content_type: Value of the request's Content-Type.
        field: Name of the form field.

    Raises:
        UnusualFormError: The form is not written in the plain way.
    """
    match = _CONTENT_TYPE.fullmatch(content_type)
    if match is None:
        raise UnusualFormError
    delimiter = b"--" + (match[1] or match[2]).encode()
    if not body.startswith(delimiter + b"\r\n"):
        raise UnusualFormError
    found: bytes | None = None
    wanted = field.encode()
    position = len(delimiter) + 2
    for _ in range(_MAX_PARTS):
        start = body.find(b"\r\n\r\n", position, position + _MAX_HEADER_BYTES)
        if start < 0:
            raise UnusualFormError
        part = _parse_headers(body[position:start])
        start += 4
        end = body.find(delimiter, start) - 2
        # An empty content ends where it starts; its line break may not be the one that ends the headers.
        if end < start or body[end : end + 2] != b"\r\n":
            raise UnusualFormError
        if not part.is_file and end - start > _MAX_FIELD_BYTES:
            raise UnusualFormError
        if found is None and part.is_file and part.name == wanted:
            found = body[start:end]
        position = end + 2 + len(delimiter)
        follower = body[position : position + 2]
        position += 2
        if follower == b"--" and body[position:] in {b"", b"\r\n"}:
            return found
        if follower != b"\r\n":
            raise UnusualFormError
    raise UnusualFormError


def _parse_headers(block: bytes) -> _Part:
    part: _Part | None = None
    seen = set()
    for line in block.split(b"\r\n"):
        key, separator, value = line.partition(b": ")
        key = key.lower()
        if not separator or key in seen:
            raise UnusualFormError
        seen.add(key)
        if key == b"content-disposition":
            match = _DISPOSITION.fullmatch(value)
            if match is None:
                raise UnusualFormError
            part = _Part(match[1], is_file=match[2] is not None)
        elif key not in _OTHER_HEADERS or _PLAIN_VALUE.fullmatch(value) is None:
            raise UnusualFormError
    try:
        block.decode()
    except UnicodeDecodeError:
        raise UnusualFormError from None
    if part is None:
        raise UnusualFormError
    return part
