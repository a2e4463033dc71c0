"""Forms: what Werkzeug finds is found, names of files decide nothing, and what is wrong with a form is said."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from werkzeug.formparser import parse_form_data

from imagerec_worker.errors import BadFormError, NoImageError, ProblemError, TooLargeError
from imagerec_worker.multipart import find_file

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
    """Compare both parsers; return whether there was a file."""
    expected = by_werkzeug(body, content_type)
    try:
        found = find_file(body, content_type, "image")
    except ProblemError:
        found = None
    # It takes a carriage return alone for a line break, and a first boundary behind other bytes of its line for one.
    odd = re.search(rb"\r(?!\n)", body) is not None or re.search(rb"(?:\A|\n)--frontier[ \t]*\r?\n", body) is None
    if expected is not None and not odd:
        assert found == expected
    return found is not None


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
def test_what_clients_write_is_answered(content_type: str, body: bytes) -> None:
    assert find_file(body, content_type, "image") == b"DATA"
    assert agrees(body, content_type)


def part(head: bytes, content: bytes = b"DATA") -> bytes:
    return b"--frontier\r\n" + head + b"\r\n\r\n" + content + b"\r\n"


IMAGE = b'Content-Disposition: form-data; name="image"; filename="x"'
END = b"--frontier--\r\n"
UNUSUAL = {
    "preamble": b"Hello\r\n" + part(IMAGE) + END,
    "epilogue": part(IMAGE) + END + b"Goodbye",
    "line feeds alone": (part(IMAGE) + END).replace(b"\r\n", b"\n"),
    "blanks after the delimiter": (part(IMAGE) + END).replace(b"frontier\r\n", b"frontier \r\n", 1),
    "folded header": part(IMAGE.replace(b"; filename", b";\r\n filename")) + END,
    "folded before its name": part(IMAGE.replace(b"; name", b";\r\n name")) + END,
    "escaped quote in the file's name": part(IMAGE.replace(b'"x"', b'"x\\"y"')) + END,
    "encoded file name": part(IMAGE.replace(b'filename="x"', b"filename*=UTF-8''x")) + END,
    "name without quotes": part(IMAGE.replace(b'"image"', b"image")) + END,
    "no name of the file": part(IMAGE.replace(b'"x"', b'""')) + END,
    "file name in Latin-1": part(IMAGE.replace(b'"x"', b'"caf\xe9.jpg"')) + END,
    "file name of any bytes": part(IMAGE.replace(b'"x"', b'"\x00\xff;\x7f="')) + END,
    "header of another kind": part(IMAGE + b"\r\nContent-Transfer-Encoding: base64") + END,
    "small letters and no blank": part(IMAGE.replace(b"Content-Disposition: ", b"content-disposition:")) + END,
    "seventeen parts": part(IMAGE) * 17 + END,
    "empty field without a line break of its own": (
        b'--frontier\r\nContent-Disposition: form-data; name="text"\r\n\r\n' + part(IMAGE) + END
    ),
    "headers of 8 KiB": part(IMAGE + b"\r\nX: " + b"x" * (8188 - len(IMAGE) - 5)) + END,
    "long text field": part(b'Content-Disposition: form-data; name="text"', b"x" * 70_000) + part(IMAGE) + END,
}


@pytest.mark.parametrize("body", UNUSUAL.values(), ids=UNUSUAL)
def test_unusual_forms_are_answered(body: bytes) -> None:
    assert find_file(body, CONTENT_TYPE, "image") == b"DATA"
    assert agrees(body)


def test_a_file_whose_name_never_ends_is_one_all_the_same() -> None:
    """Werkzeug's parser leaves such a parameter out."""
    unended = part(IMAGE.replace(b'"image"', b"image").replace(b'"x"', b'"x'))
    assert find_file(unended + END, CONTENT_TYPE, "image") == b"DATA"


def test_what_only_looks_like_a_boundary_belongs_to_the_file() -> None:
    for content in (b"DA --frontier TA", b"DATA\r\n--frontiers", b"\r\n--frontier!\r\n" * 900):
        assert find_file(part(IMAGE, content) + END, CONTENT_TYPE, "image") == content


BROKEN = {
    "no closing boundary": (part(IMAGE), "ends inside part 1, without its closing boundary"),
    "cut in its second part": (part(IMAGE) + part(IMAGE)[:-3], "ends inside part 2"),
    "headers without end": (b"--frontier\r\n" + IMAGE + b"\r\n" + b"X" * 9000, "part 1 of the form has no blank line"),
    "no headers": (part(b"") + END, "part 1 of the form has no name"),
    "no headers and no line for them": (b"--frontier\r\n\r\nDATA\r\n" + END, "part 1 of the form has no name"),
    "headers of 8 KiB and a byte": (
        part(IMAGE + b"\r\nX: " + b"x" * (8189 - len(IMAGE) - 5)) + END,
        "part 1 of the form has no blank line",
    ),
    "no disposition": (part(b"Content-Type: image/jpeg") + END, "part 1 of the form has no name"),
    "another boundary": (PLAIN.replace(b"frontier", b"border"), "boundary never occurs in the body"),
    "nothing": (b"", "boundary never occurs in the body"),
    "endless lookalikes": (part(IMAGE, b"\n--frontier!" * 1001) + END, "ends inside part 1"),
}


@pytest.mark.parametrize(("body", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_broken_form_is_told_what_is_wrong(body: bytes, reason: str) -> None:
    with pytest.raises(BadFormError, match=reason):
        find_file(body, CONTENT_TYPE, "image")


@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary="])
def test_a_form_without_boundary_is_told_so(content_type: str) -> None:
    with pytest.raises(BadFormError, match="no boundary"):
        find_file(PLAIN, content_type, "image")


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data; charset=utf-8; boundary=frontier",
        "Multipart/Form-Data; Boundary=frontier",
        'multipart/form-data;boundary="frontier"',
    ],
    ids=["second", "capitals", "quoted"],
)
def test_unusual_content_types_are_read(content_type: str) -> None:
    assert agrees(PLAIN, content_type)


def test_a_whole_form_without_the_file_is_told_so() -> None:
    for name in (b'"image"', b"image"):
        text = part(b"Content-Disposition: form-data; name=" + name)
        with pytest.raises(NoImageError, match="'image' is text; send it as a file"):
            find_file(text + END, CONTENT_TYPE, "image")
    for body in (END, part(IMAGE.replace(b"image", b"picture")) + END):
        with pytest.raises(NoImageError, match="no file named 'image'"):
            find_file(body, CONTENT_TYPE, "image")


def test_too_many_parts_and_long_texts_are_too_large() -> None:
    assert find_file(part(IMAGE) * 1000 + END, CONTENT_TYPE, "image") == b"DATA"
    with pytest.raises(TooLargeError, match="more than 1000 parts"):
        find_file(part(IMAGE) * 1001 + END, CONTENT_TYPE, "image")
    header = IMAGE + b"\r\nX: " + b"x" * (8000 - len(IMAGE) - 5)
    assert find_file(part(header) * 62 + part(header[:4000]) + END, CONTENT_TYPE, "image") == b"DATA"
    with pytest.raises(TooLargeError, match="500000 bytes of headers of its parts"):
        find_file(part(header) * 62 + part(header[:4001]) + END, CONTENT_TYPE, "image")
    text = b'Content-Disposition: form-data; name="text"'
    assert find_file(part(text, b"x" * 500_000) + part(IMAGE) + END, CONTENT_TYPE, "image") == b"DATA"
    with pytest.raises(TooLargeError, match="500000 bytes in a text field"):
        find_file(part(text, b"x" * 500_001) + part(IMAGE) + END, CONTENT_TYPE, "image")


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
def test_what_werkzeug_finds_in_any_form_is_found(body: bytes) -> None:
    agrees(body)


@given(st.data())
def test_what_werkzeug_finds_in_a_form_with_bytes_changed_behind_its_headers_is_found(data: st.DataObject) -> None:
    body = bytearray(PLAIN)
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(PLAIN.index(b"\r\n\r\n") + 4, len(body) - 1))
        body[position : position + data.draw(st.integers(0, 4))] = data.draw(SNIPPETS | st.binary(max_size=3))
    agrees(bytes(body))


@given(CONTENTS.filter(lambda content: b"--frontier" not in content))
def test_a_plain_form_is_answered_whatever_its_content(content: bytes) -> None:
    assert find_file(part(IMAGE, content) + END, CONTENT_TYPE, "image") == content
    assert agrees(part(IMAGE, content) + END)
