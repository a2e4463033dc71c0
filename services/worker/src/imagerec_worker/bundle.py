"""Model bundles: read, verify and write the folder that holds a model and everything it needs.

A bundle is a folder with three files: ``bundle.json`` (what the model is and the sha256 of the other
two), ``model.tflite`` and ``classes.json`` (one class an output, in output order). This module is the
only reader and the only writer of that format; ``imagerec-model verify PATH`` verifies one.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from imagerec_worker.manifest import FILES, Manifest, fields, reasons_against

MANIFEST = "bundle.json"
MODEL, CLASSES = FILES

_REMEDY = "build the bundle again"


class BundleError(Exception):
    """A bundle is missing, incomplete, damaged or contradicts itself; the message names file and remedy."""


class ClassName(NamedTuple):
    """One output of the network: its WordNet id (``n02123045``) and its label (``tabby``)."""

    wnid: str
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle(Manifest):
    """A verified bundle: its manifest, and besides that where it lies.

    Attributes:
        path: Folder of the bundle, absolute.
        classes: Classes in output order, the background left out.
        digest: sha256 of ``bundle.json``, which holds the digests of the other files: it names the whole.
    """

    path: Path
    classes: tuple[ClassName, ...]
    digest: str

    @property
    def model_path(self) -> Path:
        """The LiteRT file."""
        return self.path / MODEL


def load_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Read and verify the bundle in the folder ``path``.

    Raises:
        BundleError: A file is missing, unreadable or does not match its sha256, or ``bundle.json``
            breaks the format. Every reason found in ``bundle.json`` is given at once.
    """
    folder = Path(path).absolute()
    manifest = folder / MANIFEST
    raw = _read(manifest)
    document = _parse_json(raw, manifest)
    if reasons := reasons_against(document):
        raise BundleError(f"{manifest} is not a valid bundle manifest: {'; '.join(reasons)}; {_REMEDY}")
    for name, wanted in document["files"].items():
        found = hashlib.sha256(_read(folder / name)).hexdigest()
        if found != wanted:
            raise BundleError(f"{folder / name} is damaged: its sha256 is {found}, {MANIFEST} says {wanted}; {_REMEDY}")
    return Bundle(
        **fields(document),
        path=folder,
        classes=_parse_classes(_read(folder / CLASSES), folder / CLASSES),
        digest=hashlib.sha256(raw).hexdigest(),
    )


def write_bundle(
    folder: str | os.PathLike[str],
    manifest: Manifest,
    *,
    model: bytes | Path,
    classes: Iterable[ClassName] | Sequence[tuple[str, str]],
) -> Bundle:
    """Write a bundle and return it as :func:`load_bundle` reads it.

    The files are written to a folder beside the target and renamed last, so that a half-written bundle
    is never seen. An older bundle at the same place is replaced; any other folder with files is refused.
    The same arguments give the same bytes, hence the same digest.

    Args:
        folder: Folder to create.
        manifest: What the model is.
        model: The LiteRT file, as bytes or as a path to copy.
        classes: ``(wnid, label)`` pairs in output order, without the background.

    Raises:
        BundleError: The arguments do not make a valid bundle, or the folder cannot be written.
    """
    target = Path(folder).absolute()
    if target.parent.is_dir():
        with _turn(target.parent):
            if target.is_dir() and any(target.iterdir()) and not (target / MANIFEST).is_file():
                raise BundleError(f"{target} holds files that are no bundle; name another folder or empty this one")
    files = {
        MODEL: model if isinstance(model, bytes) else _read(Path(model)),
        CLASSES: _dump_json([{"wnid": wnid, "label": label} for wnid, label in classes]),
    }
    document = manifest.document({file: hashlib.sha256(content).hexdigest() for file, content in files.items()})
    if reasons := reasons_against(document):
        raise BundleError(f"{target} would not be a valid bundle: {'; '.join(reasons)}")
    _parse_classes(files[CLASSES], target / CLASSES)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as scratch:
            aside = Path(scratch) / "new"
            aside.mkdir()
            for file, content in (*files.items(), (MANIFEST, _dump_json(document))):
                (aside / file).write_bytes(content)
            with _turn(target.parent):
                if target.is_dir():
                    target.rename(Path(scratch) / "old")
                aside.rename(target)
                return load_bundle(target)
    except OSError as error:
        raise BundleError(f"cannot write the bundle {target}: {error}") from error


@contextlib.contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """Wait for others who put a bundle into the same folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        reason = "does not exist" if not path.parent.is_dir() else f"has no {path.name}"
        raise BundleError(f"{path.parent} {reason}; {_REMEDY}") from None
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error


def _parse_json(raw: bytes, path: Path) -> Any:
    try:
        return json.loads(raw)
    except ValueError as error:
        raise BundleError(f"{path} is not valid JSON ({error}); {_REMEDY}") from error


def _dump_json(value: object) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def _parse_classes(raw: bytes, path: Path) -> tuple[ClassName, ...]:
    entries = _parse_json(raw, path)
    if not isinstance(entries, list) or not entries:
        raise BundleError(f"{path} must be a list of classes that is not empty; {_REMEDY}")
    for index, entry in enumerate(entries):
        texts = [entry.get(key) if isinstance(entry, dict) else None for key in ClassName._fields]
        if not all(isinstance(text, str) and text for text in texts):
            raise BundleError(f"{path}: entry {index} must have a wnid and a label; {_REMEDY}")
    return tuple(ClassName(entry["wnid"], entry["label"]) for entry in entries)
