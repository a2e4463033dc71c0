"""The cheap form scan answers as Werkzeug's parser does, or not at all."""

from __future__ import annotations

import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import parse_form_data

from imagerec_worker.multipart import UnusualFormError, find_file

BOUNDARY = "frontier"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"
PLAIN = (
    b"--frontier\r\n"
    b'Content-Disposition: form-data; name="image"; filename="cat.jpg"\r\n'
    b"Content-Type: image/jpeg\r\n\r\n"
    b"\xff\xd8 picture \r\n\r\n"
    b"\r\n--frontier--\r\n"
)


def by_werkzeug(body: bytes, content_type: str) -> bytes | None:
    """Return what the application would get from Werkzeug with its own limits."""
    environment = {
        "REQUEST_METHOD": "POST",
        "CONTENT_TYPE": content_type,
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
    }
    _, _, files = parse_form_data(
        environment, stream_factory=lambda *_, **__: io.BytesIO(), max_form_memory_size=500_000, max_form_parts=1000
    )
    file = files.get("image")
    return None if file is None else file.read()


def agrees(body: bytes, content_type: str = CONTENT_TYPE) -> bool:
    """Compare both parsers; return whether the scan answered at all."""
    try:
        found = find_file(body, content_type, "image")
    except UnusualFormError:
        return False
    assert found == by_werkzeug(body, content_type)
    return True


def test_a_plain_form_is_answered() -> None:
    assert find_file(PLAIN, CONTENT_TYPE, "image") == b"\xff\xd8 picture \r\n\r\n"
    assert agrees(PLAIN)


CLIENTS = {
    "curl": (
        "multipart/form-data; boundary=------------------------d74496d66958873e",
        b'--------------------------d74496d66958873e\r\nContent-Disposition: form-data; name="image"; '
        b'filename="a b.jpg"\r\nContent-Type: image/jpeg\r\n\r\nDATA\r\n'
        b"--------------------------d74496d66958873e--\r\n",
    ),
    "Chromium": (
        "multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW",
        b'------WebKitFormBoundary7MA4YWxkTrZu0gW\r\nContent-Disposition: form-data; name="top"\r\n\r\n3\r\n'
        b'------WebKitFormBoundary7MA4YWxkTrZu0gW\r\nContent-Disposition: form-data; name="image"; '
        b'filename="\xc3\xa9t\xc3\xa9.jpg"\r\nContent-Type: image/jpeg\r\n\r\nDATA\r\n'
        b"------WebKitFormBoundary7MA4YWxkTrZu0gW--\r\n",
    ),
    "aiohttp": (
        "multipart/form-data; boundary=0f5c1b8e2f5f4a0d8a6f0f0f0f0f0f0f",
        b"--0f5c1b8e2f5f4a0d8a6f0f0f0f0f0f0f\r\nContent-Type: image/jpeg\r\nContent-Disposition: form-data; "
        b'name="image"; filename="x.jpg"\r\n\r\nDATA\r\n--0f5c1b8e2f5f4a0d8a6f0f0f0f0f0f0f--\r\n',
    ),
    "requests": (
        "multipart/form-data; boundary=ec4c1e7c6c2a4c0cbe7d8d0ad7d6c3d4",
        b'--ec4c1e7c6c2a4c0cbe7d8d0ad7d6c3d4\r\nContent-Disposition: form-data; name="image"; filename="x.jpg"\r\n\r\n'
        b"DATA\r\n--ec4c1e7c6c2a4c0cbe7d8d0ad7d6c3d4--\r\n",
    ),
    "quoted boundary": (
        'multipart/form-data; boundary="frontier"',
        PLAIN.replace(b"\xff\xd8 picture \r\n\r\n", b"DATA"),
    ),
}


@pytest.mark.parametrize(("content_type", "body"), CLIENTS.values(), ids=CLIENTS)
def test_what_clients_write_is_answered_by_the_scan(content_type: str, body: bytes) -> None:
    assert find_file(body, content_type, "image") == b"DATA"
    assert agrees(body, content_type)


def part(head: bytes, content: bytes = b"DATA") -> bytes:
    return b"--frontier\r\n" + head + b"\r\n\r\n" + content + b"\r\n"


IMAGE = b'Content-Disposition: form-data; name="image"; filename="x"'
END = b"--frontier--\r\n"
UNUSUAL = {
    "no closing delimiter": part(IMAGE),
    "preamble": b"Hello\r\n" + part(IMAGE) + END,
    "epilogue": part(IMAGE) + END + b"Goodbye",
    "line feeds alone": (part(IMAGE) + END).replace(b"\r\n", b"\n"),
    "blanks after the delimiter": (part(IMAGE) + END).replace(b"frontier\r\n", b"frontier \r\n", 1),
    "delimiter inside the content": part(IMAGE, b"DA --frontier TA") + END,
    "delimiter after a bare line feed": part(IMAGE, b"DA\n--frontier\r\n TA") + END,
    "folded header": part(IMAGE.replace(b"; filename", b";\r\n filename")) + END,
    "escaped quote in the file's name": part(IMAGE.replace(b'"x"', b'"x\\"y"')) + END,
    "encoded file name": part(IMAGE.replace(b'filename="x"', b"filename*=UTF-8''x")) + END,
    "name without quotes": part(IMAGE.replace(b'"image"', b"image")) + END,
    "header of another kind": part(IMAGE + b"\r\nContent-Transfer-Encoding: base64") + END,
    "disposition given twice": part(IMAGE + b"\r\n" + IMAGE) + END,
    "no disposition": part(b"Content-Type: image/jpeg") + END,
    "file name that is not UTF-8": part(IMAGE.replace(b'"x"', b'"\xff"')) + END,
    "headers without end": b"--frontier\r\n" + IMAGE + b"\r\n" + b"X" * 4000,
    "seventeen parts": part(IMAGE) * 17 + END,
    "long text field": part(b'Content-Disposition: form-data; name="text"', b"x" * 70_000) + part(IMAGE) + END,
    "nothing": b"",
}


@pytest.mark.parametrize("body", UNUSUAL.values(), ids=UNUSUAL)
def test_unusual_forms_are_left_to_werkzeug(body: bytes) -> None:
    assert not agrees(body)


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; charset=utf-8; boundary=frontier",
        "Multipart/Form-Data; boundary=frontier",
        'multipart/form-data; boundary="front ier"',
        "multipart/mixed; boundary=frontier",
    ],
    ids=["none", "empty", "second", "capitals", "with a blank", "another type"],
)
def test_unusual_content_types_are_left_to_werkzeug(content_type: str) -> None:
    with pytest.raises(UnusualFormError):
        find_file(PLAIN, content_type, "image")


def test_too_many_parts_are_left_to_werkzeug_which_refuses_them() -> None:
    body = part(IMAGE) * 1001 + END
    assert not agrees(body)
    with pytest.raises(RequestEntityTooLarge):
        by_werkzeug(body, CONTENT_TYPE)


SNIPPETS = st.sampled_from(
    [b"\r\n", b"\r", b"\n", b"--", b"--frontier", b"--frontier--", b"frontier", b" ", b"\x00", b"\xff\xd8", b"text"]
)
CONTENTS = st.lists(SNIPPETS | st.binary(max_size=8), max_size=12).map(b"".join)
NAMES = st.sampled_from([b"image", b"top", b"Image", b"images"])
FILENAMES = st.none() | st.sampled_from([b"", b"cat.jpg", b"a;b.jpg", b"caf\xc3\xa9.jpg", b"%22", b"\xff"])


@st.composite
def forms(draw: st.DrawFn) -> bytes:
    """Forms from plain to odd: whole grammars with hostile contents."""
    body = b""
    for _ in range(draw(st.integers(0, 4))):
        name, filename = draw(NAMES), draw(FILENAMES)
        head = b'Content-Disposition: form-data; name="' + name + b'"'
        if filename is not None:
            head += b'; filename="' + filename + b'"'
        kind = draw(st.sampled_from([b"", b"\r\nContent-Type: image/jpeg", b"\r\ncontent-type: text/plain"]))
        body += part(head + kind, draw(CONTENTS))
    return body + draw(st.sampled_from([END, b"--frontier--", END + b"x", b""]))


@given(forms())
@example(part(IMAGE, b"") + END)
@example(part(IMAGE, b"\r\n") + END)
@example(part(IMAGE, b"a") + part(IMAGE, b"b") + END)
@example(part(b'Content-Disposition: form-data; name="image"', b"text") + part(IMAGE) + END)
def test_any_form_gets_the_same_answer_or_none(body: bytes) -> None:
    agrees(body)


@given(st.data())
def test_a_plain_form_with_bytes_changed_gets_the_same_answer_or_none(data: st.DataObject) -> None:
    body = bytearray(PLAIN)
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(body) - 1))
        body[position : position + data.draw(st.integers(0, 4))] = data.draw(SNIPPETS | st.binary(max_size=3))
    agrees(bytes(body))


@given(CONTENTS.filter(lambda content: b"--frontier" not in content))
def test_a_plain_form_is_answered_whatever_its_content(content: bytes) -> None:
    assert find_file(part(IMAGE, content) + END, CONTENT_TYPE, "image") == content
    assert agrees(part(IMAGE, content) + END)
