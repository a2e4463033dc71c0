"""What the attacks by corpus send: `python corpus.py NAME > FILE` writes one JSON object a line for attacks.py.

Each case is one connection's worth of bytes and the number of requests that they are at most. A smuggling case hides
a request for /smuggled-… where no correct server finds one.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
from collections.abc import Callable, Iterable, Iterator

if __package__:
    from chaos import hostile_images
    from chaos.attacks import Case
else:  # on a client machine the three files lie side by side
    import hostile_images  # type: ignore[import-not-found, no-redef]
    from attacks import Case  # type: ignore[import-not-found, no-redef]

MUTATED = 2000
_HOST = b"Host: balancer\r\n"
_TYPE = b"Content-Type: image/jpeg\r\n"
_POST = b"POST /predict HTTP/1.1\r\n" + _HOST + _TYPE

Upload = tuple[str, str, bytes]  # name, content type, body


def write_cases(cases: Iterable[Case]) -> str:
    """Write one JSON object a line."""
    return "".join(
        json.dumps({"case": case.name, "requests": case.requests, "raw": base64.b64encode(case.raw).decode()}) + "\n"
        for case in cases
    )


def _upload(name: str, content_type: str, body: bytes, fields: bytes = b"") -> Case:
    head = f"POST /predict HTTP/1.1\r\nHost: balancer\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
    kind = f"Content-Type: {content_type}\r\n".encode("latin-1")
    return Case(name, 1, head.encode() + kind + fields + b"\r\n" + body)


def _hidden(name: str) -> bytes:
    return f"GET /smuggled-{name} HTTP/1.1\r\n".encode() + _HOST + b"\r\n"


# Two framings at once: {n} is the length of everything behind the header, which ends a chunked body early.
_LENGTH_AND_CHUNKED = {
    "cl-te": b"Content-Length: {n}\r\nTransfer-Encoding: chunked\r\n",
    "te-cl": b"Transfer-Encoding: chunked\r\nContent-Length: {n}\r\n",
    "te-xchunked": b"Content-Length: {n}\r\nTransfer-Encoding: xchunked\r\n",
    "te-capitals": b"Content-Length: {n}\r\nTransfer-Encoding: CHUNKED\r\n",
    "te-identity": b"Content-Length: {n}\r\nTransfer-Encoding: identity\r\n",
    "te-chunked-identity": b"Content-Length: {n}\r\nTransfer-Encoding: chunked, identity\r\n",
    "te-identity-chunked": b"Content-Length: {n}\r\nTransfer-Encoding: identity, chunked\r\n",
    "te-gzip-chunked": b"Content-Length: {n}\r\nTransfer-Encoding: gzip, chunked\r\n",
    "te-chunked-twice": b"Content-Length: {n}\r\nTransfer-Encoding: chunked, chunked\r\n",
    "te-two-fields": b"Content-Length: {n}\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    "te-two-fields-turned": b"Content-Length: {n}\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
    "te-quoted": b'Content-Length: {n}\r\nTransfer-Encoding: "chunked"\r\n',
    "te-parameter": b"Content-Length: {n}\r\nTransfer-Encoding: chunked;q=1\r\n",
    "te-tab": b"Content-Length: {n}\r\nTransfer-Encoding:\tchunked\r\n",
    "te-vertical-tab": b"Content-Length: {n}\r\nTransfer-Encoding: \x0bchunked\r\n",
    "te-blank-before-colon": b"Content-Length: {n}\r\nTransfer-Encoding : chunked\r\n",
    "te-folded": b"Content-Length: {n}\r\nTransfer-Encoding:\r\n chunked\r\n",
    "te-folded-into-another": b"Content-Length: {n}\r\nX-A: b\r\n Transfer-Encoding: chunked\r\n",
    "te-behind-line-feed": b"Content-Length: {n}\r\nX-A: b\nTransfer-Encoding: chunked\r\n",
    "te-behind-carriage-return": b"Content-Length: {n}\r\nX-A: b\rTransfer-Encoding: chunked\r\n",
    "te-behind-nul": b"Content-Length: {n}\r\nX-A: b\0\r\nTransfer-Encoding: chunked\r\n",
    "te-nul-in-name": b"Content-Length: {n}\r\nTransfer\0-Encoding: chunked\r\n",
    "te-underscore": b"Content-Length: {n}\r\nTransfer_Encoding: chunked\r\n",
    "te-empty": b"Content-Length: {n}\r\nTransfer-Encoding:\r\n",
    "te-in-connection": b"Content-Length: {n}\r\nConnection: Content-Length\r\nTransfer-Encoding: chunked\r\n",
    "te-upgrade": b"Content-Length: {n}\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n",
    "cl-same-twice": b"Content-Length: {n}\r\nContent-Length: {n}\r\n",
    "cl-then-0": b"Content-Length: {n}\r\nContent-Length: 0\r\n",
    "cl-0-then": b"Content-Length: 0\r\nContent-Length: {n}\r\n",
    "cl-list": b"Content-Length: {n}, {n}\r\n",
    "cl-plus": b"Content-Length: +{n}\r\n",
    "cl-zeros": b"Content-Length: 000{n}\r\n",
    "cl-blank-inside": b"Content-Length: 0 {n}\r\n",
    "cl-hexadecimal": b"Content-Length: 0x{n}\r\n",
    "cl-negative": b"Content-Length: -1\r\n",
    "cl-beyond-64-bits": b"Content-Length: 1844674407370955161{n}\r\n",
    "cl-blank-before-colon": b"Content-Length : {n}\r\n",
    "cl-expects": b"Content-Length: {n}\r\nExpect: 100-continue\r\n",
    "cl-expects-wonders": b"Content-Length: {n}\r\nExpect: 200-wonders\r\n",
}
# Chunk sizes: {h} is the true length of the hidden request in hexadecimal.
_CHUNK_SIZES = {
    "extension": b"{h};a=b\r\n",
    "extension-of-8-kilobytes": b"{h};" + b"a" * 8192 + b"\r\n",
    "extension-with-line-feed": b"{h};\n",
    "quoted-line-break": b'{h};a="\r\n"\r\n',
    "negative": b"-1\r\n",
    "plus": b"+{h}\r\n",
    "prefix": b"0x{h}\r\n",
    "blank-before": b" {h}\r\n",
    "blank-behind": b"{h} \r\n",
    "zeros": b"0000000000000000000{h}\r\n",
    "beyond-64-bits": b"10000000000000{h}\r\n",
    "maximum": b"ffffffffffffffff\r\n",
    "underscore": b"{h}_0\r\n",
    "no-digit": b"g\r\n",
    "empty": b"\r\n",
    "line-feed-alone": b"{h}\n",
    "carriage-return-alone": b"{h}\r",
    "too-small": b"5\r\n",
    "too-large": b"fff\r\n",
}
# Whole requests of one line and a header, or less.
_ODD = {
    "no-host": b"GET /version HTTP/1.1\r\n\r\n",
    "two-hosts": b"GET /version HTTP/1.1\r\n" + _HOST + b"Host: other\r\n\r\n",
    "host-with-blank": b"GET /version HTTP/1.1\r\nHost: a b\r\n\r\n",
    "host-with-path": b"GET /version HTTP/1.1\r\nHost: a/../b\r\n\r\n",
    "absolute-address": b"GET http://other.example/version HTTP/1.1\r\n" + _HOST + b"\r\n",
    "connect": b"CONNECT other.example:80 HTTP/1.1\r\n" + _HOST + b"\r\n",
    "trace": b"TRACE /version HTTP/1.1\r\n" + _HOST + b"\r\n",
    "asterisk": b"OPTIONS * HTTP/1.1\r\n" + _HOST + b"\r\n",
    "http-2-preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "http-0.9": b"GET /version\r\n",
    "http-9.9": b"GET /version HTTP/9.9\r\n" + _HOST + b"\r\n",
    "version-twice": b"GET /version HTTP/1.1 HTTP/1.1\r\n" + _HOST + b"\r\n",
    "small-letters": b"get /version http/1.1\r\n" + _HOST + b"\r\n",
    "two-blanks": b"GET  /version  HTTP/1.1\r\n" + _HOST + b"\r\n",
    "tabs": b"GET\t/version\tHTTP/1.1\r\n" + _HOST + b"\r\n",
    "blank-lines-first": b"\r\n\r\nGET /version HTTP/1.1\r\n" + _HOST + b"\r\n",
    "line-feeds-alone": b"GET /version HTTP/1.1\nHost: balancer\n\n",
    "nul-in-path": b"GET /version\0 HTTP/1.1\r\n" + _HOST + b"\r\n",
    "nul-in-header": b"GET /version HTTP/1.1\r\n" + _HOST + b"X-A: a\0b\r\n\r\n",
    "no-colon": b"GET /version HTTP/1.1\r\n" + _HOST + b"nonsense\r\n\r\n",
    "no-name": b"GET /version HTTP/1.1\r\n" + _HOST + b": a\r\n\r\n",
    "not-ascii": b"GET /version HTTP/1.1\r\n" + _HOST + "X-Größe: ñ\r\n\r\n".encode("latin-1"),
    "path-of-workers-only": b"GET /predict/../metrics HTTP/1.1\r\n" + _HOST + b"\r\n",
    "path-encoded": b"GET /version/%2e%2e/metrics HTTP/1.1\r\n" + _HOST + b"\r\n",
    "path-with-line-break": b"GET /version?a=%0d%0aSet-Cookie:%20a=b HTTP/1.1\r\n" + _HOST + b"\r\n",
    "path-of-100-kilobytes": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n" + _HOST + b"\r\n",
    "headers-of-10-kilobytes": b"GET /version HTTP/1.1\r\n" + _HOST + (b"X-A: " + b"a" * 93 + b"\r\n") * 100 + b"\r\n",
    "header-of-9-kilobytes": b"GET /version HTTP/1.1\r\n" + _HOST + b"X-A: " + b"a" * 9216 + b"\r\n\r\n",
    "header-of-100-kilobytes": b"GET /version HTTP/1.1\r\n" + _HOST + b"X-A: " + b"a" * 100_000 + b"\r\n\r\n",
    "header-name-of-10-kilobytes": b"GET /version HTTP/1.1\r\n" + _HOST + b"X" * 10_000 + b": a\r\n\r\n",
    "2000-headers": b"GET /version HTTP/1.1\r\n" + _HOST + b"X-A: a\r\n" * 2000 + b"\r\n",
    "header-without-end": b"GET /version HTTP/1.1\r\n" + _HOST + b"X-A: a",
    "a-tls-hello": bytes.fromhex("16030100c4010000c00303") + bytes(190),
}


def smuggling() -> Iterator[Case]:
    """Requests whose end two servers could see in two places, and requests that are none."""
    for name, fields in _LENGTH_AND_CHUNKED.items():
        content = b"0\r\n\r\n" + _hidden(name)
        yield Case(name, 1, _POST + fields.replace(b"{n}", b"%d" % len(content)) + b"\r\n" + content)
    for kind, size in _CHUNK_SIZES.items():
        name = f"chunk-size-{kind}"
        hidden = _hidden(name)
        chunk = size.replace(b"{h}", b"%x" % len(hidden)) + hidden + b"\r\n0\r\n\r\n"
        yield Case(name, 1, _POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunk)
    hidden = _hidden("te-short-length")
    size = b"%x\r\n" % len(hidden)
    fields = b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n" % len(size)
    yield Case("te-short-length", 1, _POST + fields + size + hidden + b"\r\n0\r\n\r\n")
    trailer = b"0\r\nContent-Length: 60\r\nTransfer-Encoding: chunked\r\n\r\n"
    yield Case("trailer", 1, _POST + b"Transfer-Encoding: chunked\r\n\r\n" + trailer)
    for version in (b"1.0", b"1.1"):
        name = f"get-with-body-{version.decode()}"
        hidden = _hidden(name)
        head = b"GET /version HTTP/" + version + b"\r\n" + _HOST + b"Connection: keep-alive\r\n"
        yield Case(name, 1, head + b"Content-Length: %d\r\n\r\n" % len(hidden) + hidden)
        chunk = b"%x\r\n" % len(hidden) + hidden + b"\r\n0\r\n\r\n"
        yield Case(f"{name}-chunked", 1, head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk)
    yield Case("behind-http-0.9", 1, b"GET /version\r\n" + _hidden("behind-http-0.9"))
    yield Case(
        "behind-close", 1, b"GET /version HTTP/1.1\r\n" + _HOST + b"Connection: close\r\n\r\n" + _hidden("close")
    )
    for name, raw in _ODD.items():
        yield Case(name, 1, raw)
    yield Case("pipelining-of-50", 50, (b"GET /healthz HTTP/1.1\r\n" + _HOST + b"\r\n") * 50)
    post = _POST + b"Content-Length: 4\r\n\r\nnone"
    yield Case("pipelining-of-50-bodies", 50, post * 50)


def _part(head: bytes = b'form-data; name="image"; filename="x.png"', content: bytes = b"", more: bytes = b"") -> bytes:
    content = content or hostile_images.sound("PNG")
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


def bombs() -> list[Upload]:
    """Small files that claim, or become, large ones."""
    made = [(name, hostile_images.TYPES[kind], make_bomb()) for name, (kind, make_bomb) in hostile_images.BOMBS.items()]
    return [*made, ("body-gzipped", "image/jpeg", hostile_images.gzip_bomb())]


def polyglots() -> list[Upload]:
    """Files of two formats at once, and of formats that a careless library would run."""
    return [(name, kind, make_file()) for name, (kind, make_file) in hostile_images.POLYGLOTS.items()]


def mutated(count: int, seed: int) -> list[Upload]:
    """Sound images with seeded damage."""
    return [(name, hostile_images.TYPES[kind], data) for name, kind, _, data in hostile_images.mutated(count, seed)]


def _gzipped(upload: Upload) -> bytes:
    return b"Content-Encoding: gzip\r\n" if upload[0] == "body-gzipped" else b""


def make(name: str, count: int | None = None, seed: int = 6) -> list[Case]:
    """Make the cases of an attack: all, or ``count``; ``seed`` decides the mutations."""
    if name == "smuggling":
        return list(smuggling())[:count]
    uploads: dict[str, Callable[[], list[Upload]]] = {
        "multipart": forms,
        "bombs": bombs,
        "polyglots": polyglots,
        "mutated": lambda: mutated(MUTATED if count is None else count, seed),
    }
    return [_upload(*upload, _gzipped(upload)) for upload in uploads[name]()[:count]]


def main() -> None:
    """Write the cases of one attack."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=("smuggling", "multipart", "bombs", "mutated", "polyglots"))
    parser.add_argument("--count", type=int)
    parser.add_argument("--seed", type=int, default=6)
    chosen = parser.parse_args()
    sys.stdout.write(write_cases(make(chosen.name, chosen.count, chosen.seed)))


if __name__ == "__main__":
    main()
