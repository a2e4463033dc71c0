"""Requests whose end two servers could see in two places, and requests that are none.

A case hides a request for /smuggled-… where no correct server finds one.
"""

from __future__ import annotations

from collections.abc import Iterator

from chaos.attacks.exchange import Case

_HOST = b"Host: balancer\r\n"
_TYPE = b"Content-Type: image/jpeg\r\n"
_POST = b"POST /predict HTTP/1.1\r\n" + _HOST + _TYPE


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
