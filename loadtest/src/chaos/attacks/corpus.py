"""What the attacks by corpus send: each case is one connection's worth of bytes, and how many requests they are."""

from __future__ import annotations

from collections.abc import Callable

from chaos.attacks.bombs import BOMBS, POLYGLOTS
from chaos.attacks.exchange import Case
from chaos.attacks.forms import forms
from chaos.attacks.images import TYPES, Upload, gzip_bomb
from chaos.attacks.mutations import mutated
from chaos.attacks.smuggling import smuggling

MUTATED = 2000


def _upload(name: str, content_type: str, body: bytes, fields: bytes = b"") -> Case:
    head = f"POST /predict HTTP/1.1\r\nHost: balancer\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
    kind = f"Content-Type: {content_type}\r\n".encode("latin-1")
    return Case(name, 1, head.encode() + kind + fields + b"\r\n" + body)


def _bombs() -> list[Upload]:
    made = [(name, TYPES[kind], make_bomb()) for name, (kind, make_bomb) in BOMBS.items()]
    return [*made, ("body-gzipped", "image/jpeg", gzip_bomb())]


def _polyglots() -> list[Upload]:
    return [(name, kind, make_file()) for name, (kind, make_file) in POLYGLOTS.items()]


def _mutated(count: int, seed: int) -> list[Upload]:
    return [(name, TYPES[kind], data) for name, kind, _, data in mutated(count, seed)]


def _gzipped(upload: Upload) -> bytes:
    return b"Content-Encoding: gzip\r\n" if upload[0] == "body-gzipped" else b""


def make(name: str, count: int | None = None, seed: int = 6) -> list[Case]:
    """Make the cases of an attack: all, or ``count``; ``seed`` decides the mutations."""
    if name == "smuggling":
        return list(smuggling())[:count]
    uploads: dict[str, Callable[[], list[Upload]]] = {
        "multipart": forms,
        "bombs": _bombs,
        "polyglots": _polyglots,
        "mutated": lambda: _mutated(MUTATED if count is None else count, seed),
    }
    return [_upload(*upload, _gzipped(upload)) for upload in uploads[name]()[:count]]
