"""The one file of a ``multipart/form-data`` body (RFC 7578), found by a few searches and copied once.

Werkzeug's parser copies a body several times, costs more than the whole of the rest of the HTTP side, and answers every
broken form by finding nothing. Here the first thing that is wrong with a form is said. Names of files are never read:
they decide nothing, whatever bytes they hold.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from werkzeug.http import parse_options_header

from imagerec_worker.errors import BadFormError, NoImageError, TooLargeError

MAX_PARTS = 1000
MAX_FIELD_BYTES = 500_000
_MAX_HEADER_BYTES = 8192
# Of all parts together: a part of 8 kB may take two milliseconds to read.
MAX_HEADERS_BYTES = 500_000
# Lines inside a file that begin like the boundary but are none.
_MAX_LOOKALIKES = 1000

_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
_LINE = re.compile(rb"\r?\n(?![ \t])")
_FOLD = re.compile(rb"\r?\n[ \t]+")
_USUAL_TYPE = re.compile(r"multipart/form-data; boundary=([A-Za-z0-9-]+)")
_USUAL = re.compile(rb'form-data; name="([^"\\]*)"(?:; (filename)="[^"\\]*")?')
_AFTER_BOUNDARY = re.compile(rb"(--)|[ \t]*(?:\r?\n|\Z)")


class _Part(NamedTuple):
    name: bytes
    is_file: bool


def boundary_of(content_type: str) -> bytes:
    """Return the boundary that a form's Content-Type gives.

    Raises:
        BadFormError: It gives none.
    """
    usual = _USUAL_TYPE.fullmatch(content_type)
    boundary = usual[1] if usual is not None else parse_options_header(content_type)[1].get("boundary", "")
    if not boundary:
        raise BadFormError(
            "the form's Content-Type has no boundary; leave that header to the program that writes the form"
        )
    return boundary.encode("latin-1", "replace")


def find_file(body: bytes, content_type: str, field: str) -> bytes:
    """Return the content of the first file of the form field ``field``.

    Raises:
        BadFormError: The form is broken; the message says where.
        NoImageError: The form is whole and has no such file.
        TooLargeError: The form has too many parts, too long headers, or a text field that is too long.
    """
    delimiter = b"--" + boundary_of(content_type)
    wanted = field.encode()
    found: bytes | None = None
    named = False
    line = _next_delimiter(body, delimiter, 0)
    if line is None:
        raise BadFormError(
            "the form's boundary never occurs in the body; send the body that belongs to the Content-Type"
        )
    number = headers_bytes = 0
    while not line.closing:
        number += 1
        if number > MAX_PARTS:
            raise TooLargeError(f"the form has more than {MAX_PARTS} parts; send the image alone")
        match = _BLANK_LINE.search(body, line.end - 1, line.end + _MAX_HEADER_BYTES)
        if match is None:
            raise BadFormError(f"part {number} of the form has no blank line behind its headers; send it again whole")
        headers_bytes += match.start() - line.end
        if headers_bytes > MAX_HEADERS_BYTES:
            raise TooLargeError(
                f"the form has more than {MAX_HEADERS_BYTES} bytes of headers of its parts; send the image alone"
            )
        part = _read_headers(body[line.end : match.start()], number)
        start = match.end()
        line = _next_delimiter(body, delimiter, start)
        if line is None:
            raise BadFormError(f"the form ends inside part {number}, without its closing boundary; send it again whole")
        if not part.is_file and line.before - start > MAX_FIELD_BYTES:
            raise TooLargeError(f"the form has more than {MAX_FIELD_BYTES} bytes in a text field; send the image alone")
        named |= part.name == wanted
        if found is None and part.is_file and part.name == wanted:
            # An empty content may have no line break of its own before the boundary.
            found = body[start : max(start, line.before)]
    if found is not None:
        return found
    if named:
        raise NoImageError(f"the form's field '{field}' is text; send it as a file (enctype=multipart/form-data)")
    raise NoImageError(f"the form has no file named '{field}'")


class _Delimiter(NamedTuple):
    """A delimiter line: where the content before it ends, where the line itself ends, and whether it is the last."""

    before: int
    end: int
    closing: bool


def _next_delimiter(body: bytes, delimiter: bytes, position: int) -> _Delimiter | None:
    for _ in range(_MAX_LOOKALIKES):
        place = body.find(delimiter, position)
        if place < 0:
            break
        position = place + len(delimiter)
        follower = _AFTER_BOUNDARY.match(body, position)
        if follower is not None and (place == 0 or body[place - 1 : place] == b"\n"):
            line_break = 2 if body[place - 2 : place] == b"\r\n" else 1
            return _Delimiter(place - line_break, follower.end(), follower[1] is not None)
    return None


def _read_headers(block: bytes, number: int) -> _Part:
    for line in _LINE.split(block):
        key, _, value = line.partition(b":")
        if key.strip().lower() != b"content-disposition":
            continue
        usual = _USUAL.fullmatch(value.strip())
        if usual is not None:
            return _Part(usual[1], usual[2] is not None)
        options = parse_options_header(_FOLD.sub(b" ", value).decode("latin-1").strip())[1]
        if "name" in options:
            is_file = "filename" in options or b"filename" in value.lower()
            return _Part(options["name"].encode("latin-1", "replace"), is_file)
    raise BadFormError(f"part {number} of the form has no name (Content-Disposition: form-data; name=…)")
