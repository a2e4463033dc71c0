"""Forms that are too much, cut short, or not quite forms."""

from __future__ import annotations

from chaos.attacks.images import Upload, sound


def _part(head: bytes = b'form-data; name="image"; filename="x.png"', content: bytes = b"", more: bytes = b"") -> bytes:
    content = content or sound("PNG")
    return b"--limit\r\nContent-Disposition: " + head + b"\r\n" + more + b"\r\n" + content + b"\r\n"


def _text(name: bytes = b"field", content: bytes = b"x") -> bytes:
    return _part(b'form-data; name="' + name + b'"', content)


def _file(name: bytes) -> bytes:
    return _part(b'form-data; name="image"; filename="' + name + b'"')


def forms() -> list[Upload]:
    """Forms that are too much, cut short, or not quite forms."""
    end = b"--limit--\r\n"
    named = "multipart/form-data; boundary="
    bodies: dict[str, bytes] = {
        "1001-parts": _text() * 1000 + _part() + end,
        "10000-parts": _text() * 10_000 + _part() + end,
        "nested": _part(b'form-data; name="image"', _part() + end, b"Content-Type: multipart/mixed; boundary=limit\r\n")
        + end,
        "no-last-boundary": _part(),
        "cut-in-a-header": _part() + b"--limit\r\nContent-Dispo",
        "field-name-of-100-kilobytes": _text(b"n" * 100_000) + _part() + end,
        "field-of-600-kilobytes": _text(content=b"x" * 600_000) + _part() + end,
        "file-name-of-100-kilobytes": _file(b"n" * 100_000) + end,
        "file-name-climbs": _file(b"../../../etc/passwd") + end,
        "file-name-climbs-in-another-system": _file(b"..\\..\\windows\\win.ini") + end,
        "file-name-with-nul": _file(b"x.png\0.exe") + end,
        "file-name-with-line-break": _file(b"x\r\nSet-Cookie: a=b") + end,
        "file-name-in-an-unknown-coding": _part(b"form-data; name=\"image\"; filename*=utf-99''%ff%00") + end,
        "name-with-nul": _text(b"image\0") + end,
        "no-name": _part(b"form-data") + end,
        "20-images": _part() * 20 + end,
        "part-of-1000-headers": _part(more=b"X-A: a\r\n" * 1000) + end,
        "part-header-without-end": b"--limit\r\nContent-Disposition: " + b"a" * 1_000_000,
        "base64-announced": _part(more=b"Content-Transfer-Encoding: base64\r\n") + end,
        "carriage-returns": _part(content=b"\r" * 3_000_000) + end,
        "line-breaks": _text(content=b"\r\n" * 200_000) + _part() + end,
        "nearly-boundaries": _part(content=b"\r\n--limi" * 200_000) + end,
        "boundary-never-comes": b"x" * 1_000_000,
        "empty": b"",
        "only-the-end": end,
    }
    found = [(name, f"{named}limit", body) for name, body in bodies.items()]
    long = "b" * 10_000
    types = {
        "no-boundary": "multipart/form-data",
        "empty-boundary": named,
        "boundary-with-nul": f"{named}li\0mit",
        "boundary-not-ascii": f"{named}lïmit",
        "boundary-twice": f"{named}limit; boundary=other",
        "boundary-is-a-pattern": f'{named}"(a+)+$"',
        "boundary-not-closed": f'{named}"limit',
        "type-in-an-unknown-coding": "multipart/form-data; charset=utf-99; boundary=limit",
        "type-of-2000-parameters": "multipart/form-data; " + "a=b; " * 1200 + "boundary=limit",
        "form-of-another-kind": "application/x-www-form-urlencoded",
        "no-type-at-all": "",
    }
    found += [(name, kind, _part() + end) for name, kind in types.items()]
    body = (_part() + end).replace(b"limit", long.encode())
    return [
        *found,
        ("boundary-of-10-kilobytes", named + long, body),
        ("many-pairs", types["form-of-another-kind"], b"a=b&" * 200_000),
    ]
