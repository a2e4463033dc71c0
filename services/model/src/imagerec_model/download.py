"""Get one pinned file: from a mirror if there is one, else from its public address; checked by size and sha256."""

from __future__ import annotations

import hashlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from imagerec_model.errors import DownloadError
from imagerec_model.progress import progress

_TIMEOUT_S = 20.0
_CHUNK_BYTES = 65536


@dataclass(frozen=True, slots=True)
class PinnedFile:
    """A file of which every byte is known beforehand.

    Attributes:
        name: file name, the same at every mirror.
        url: its public address.
        sha256: hexadecimal digest.
        size_bytes: length.
    """

    name: str
    url: str
    sha256: str
    size_bytes: int


def fetch(file: PinnedFile, mirror: str | None = None, *, offline: bool = False) -> bytes:
    """Return the content of a pinned file.

    Args:
        file: what to get.
        mirror: a folder, searched itself and one folder down, or the URL of one; tried first.
        offline: leave out the public address.

    Raises:
        DownloadError: no place had the file as it is pinned; the message gives each place's reason and the remedy.
    """
    reasons = []
    for place, read in _places(file, mirror, offline):
        try:
            content = read()
        except (OSError, http.client.HTTPException, ValueError) as error:
            reasons.append(f"{place}: {_reason(error)}")
            continue
        digest = hashlib.sha256(content).hexdigest()
        if digest == file.sha256:
            return content
        reasons.append(f"{place}: sha256 is {digest}, not {file.sha256}")
    tried = "; ".join(reasons) or "offline, and no mirror is set"
    raise DownloadError(
        f"{file.name} could not be had ({tried}). Put the file from {file.url} into a folder and set "
        "model_mirror (make: MODEL_MIRROR=FOLDER) to that folder, or choose MODEL=lite0, which comes from the package "
        "index"
    )


def _places(file: PinnedFile, mirror: str | None, offline: bool) -> Iterator[tuple[str, Callable[[], bytes]]]:
    if mirror and "://" in mirror:
        url = f"{mirror.rstrip('/')}/{file.name}"
        yield url, lambda: _read_url(url, file)
    elif mirror:
        yield f"mirror {mirror}", lambda: _read_folder(Path(mirror), file.name)
    if not offline:
        yield file.url, lambda: _read_url(file.url, file)


def _read_folder(folder: Path, name: str) -> bytes:
    if not folder.is_dir():
        raise FileNotFoundError("there is no such folder")
    for path in (folder / name, *sorted(folder.glob(f"*/{name}"))):
        if path.is_file():
            return path.read_bytes()
    raise FileNotFoundError("the file is neither in it nor one folder down")


def _read_url(url: str, file: PinnedFile) -> bytes:
    if not url.startswith(("http://", "https://")):
        raise ValueError("only http and https are read")
    content = bytearray()
    with (
        urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer,  # noqa: S310  # the scheme was checked
        progress(f"download {file.name}", file.size_bytes, in_bytes=True) as report,
    ):
        while chunk := answer.read(_CHUNK_BYTES):
            content += chunk
            if len(content) > file.size_bytes:
                raise ValueError(f"longer than the {file.size_bytes} bytes of the pinned file")
            report(len(content))
    return bytes(content)


def _reason(error: BaseException) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code}"
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)
    return str(error) or type(error).__name__
