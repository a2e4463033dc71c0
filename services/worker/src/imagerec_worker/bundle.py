"""Model bundles: read, verify and write the folder that holds a model and everything it needs.

A bundle is a folder with three files: ``bundle.json`` (what the model is and the sha256 of the other
two), ``model.tflite`` and ``classes.json`` (one class an output, in output order). This module is the
only reader and the only writer of that format; ``python -m imagerec_worker.bundle PATH`` verifies one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

SCHEMA = 1
MANIFEST = "bundle.json"
MODEL = "model.tflite"
CLASSES = "classes.json"

Activation = Literal["softmax", "logits"]
Quantisation = Literal["int8", "float32"]

# The name and the version become part of folder names on the hosts.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
_MAX_INPUT_SIZE = 4096
_REMEDY = "build the bundle again"


class BundleError(Exception):
    """A bundle is missing, incomplete, damaged or contradicts itself; the message names file and remedy."""


class ClassName(NamedTuple):
    """One output of the network: its WordNet id (``n02123045``) and its label (``tabby``)."""

    wnid: str
    label: str


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified bundle.

    Attributes:
        path: Folder of the bundle, absolute.
        name: Short name, for example ``imagenet``.
        version: Version of the model, for example ``1.0-int8``.
        title: One line for people.
        input_size: Side of the square RGB input, in pixels.
        scale: Real value per pixel step; the network wants ``pixel(0..255) * scale + offset``.
        offset: Real value of pixel 0.
        activation: ``softmax`` when the outputs are probabilities, ``logits`` when they are not yet.
        background: Whether the first output is a background class, which is dropped.
        quantisation: Number type of the weights.
        source: Where the model comes from.
        licence: Licence of the model file.
        notice: Sentence that users must see, or an empty string.
        classes: Classes in output order, the background left out.
        model_path: The LiteRT file.
        digest: sha256 of ``bundle.json``, which holds the digests of the other files: it names the whole.
    """

    path: Path
    name: str
    version: str
    title: str
    input_size: int
    scale: float
    offset: float
    activation: Activation
    background: bool
    quantisation: Quantisation
    source: str
    licence: str
    notice: str
    classes: tuple[ClassName, ...]
    model_path: Path
    digest: str


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
    if reasons := _document_errors(document):
        raise BundleError(f"{manifest} is not a valid bundle description: {'; '.join(reasons)}; {_REMEDY}")
    for name, wanted in document["files"].items():
        found = hashlib.sha256(_read(folder / name)).hexdigest()
        if found != wanted:
            raise BundleError(f"{folder / name} is damaged: its sha256 is {found}, {MANIFEST} says {wanted}; {_REMEDY}")
    return Bundle(
        path=folder,
        name=document["name"],
        version=document["version"],
        title=document["title"],
        input_size=document["input"]["size"],
        scale=float(document["input"]["scale"]),
        offset=float(document["input"]["offset"]),
        activation=document["output"]["activation"],
        background=document["output"]["background"],
        quantisation=document["quantisation"],
        source=document["source"],
        licence=document["licence"],
        notice=document["notice"],
        classes=_parse_classes(_read(folder / CLASSES), folder / CLASSES),
        model_path=folder / MODEL,
        digest=hashlib.sha256(raw).hexdigest(),
    )


def write_bundle(
    folder: str | os.PathLike[str],
    *,
    model: bytes | Path,
    classes: Iterable[ClassName] | Sequence[tuple[str, str]],
    name: str,
    version: str,
    title: str,
    input_size: int,
    scale: float,
    offset: float,
    activation: Activation,
    background: bool,
    quantisation: Quantisation,
    source: str,
    licence: str,
    notice: str = "",
) -> Bundle:
    """Write a bundle and return it as :func:`load_bundle` reads it.

    The files are written to a folder beside the target and renamed last, so that a half-written bundle
    is never seen. An older bundle at the same place is replaced; any other folder with files is refused.
    The same arguments give the same bytes, hence the same digest.

    Args:
        folder: Folder to create.
        model: The LiteRT file, as bytes or as a path to copy.
        classes: ``(wnid, label)`` pairs in output order, without the background.
        name: See :class:`Bundle`, as for the arguments that follow.
        version: See :class:`Bundle`.
        title: See :class:`Bundle`.
        input_size: See :class:`Bundle`.
        scale: See :class:`Bundle`.
        offset: See :class:`Bundle`.
        activation: See :class:`Bundle`.
        background: See :class:`Bundle`.
        quantisation: See :class:`Bundle`.
        source: See :class:`Bundle`.
        licence: See :class:`Bundle`.
        notice: See :class:`Bundle`.

    Raises:
        BundleError: The arguments do not make a valid bundle, or the folder cannot be written.
    """
    target = Path(folder).absolute()
    if target.is_dir() and any(target.iterdir()) and not (target / MANIFEST).is_file():
        raise BundleError(f"{target} holds files that are no bundle; name another folder or empty this one")
    files = {
        MODEL: model if isinstance(model, bytes) else _read(Path(model)),
        CLASSES: _dump_json([{"wnid": wnid, "label": label} for wnid, label in classes]),
    }
    document = {
        "schema": SCHEMA,
        "name": name,
        "version": version,
        "title": title,
        "input": {"size": input_size, "scale": scale, "offset": offset},
        "output": {"activation": activation, "background": background},
        "quantisation": quantisation,
        "source": source,
        "licence": licence,
        "notice": notice,
        "files": {file: hashlib.sha256(content).hexdigest() for file, content in files.items()},
    }
    if reasons := _document_errors(document):
        raise BundleError(f"{target} would not be a valid bundle: {'; '.join(reasons)}")
    _parse_classes(files[CLASSES], target / CLASSES)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as scratch:
            aside = Path(scratch) / "new"
            aside.mkdir()
            for file, content in (*files.items(), (MANIFEST, _dump_json(document))):
                (aside / file).write_bytes(content)
            if target.is_dir():
                target.rename(Path(scratch) / "old")
            aside.rename(target)
    except OSError as error:
        raise BundleError(f"cannot write the bundle {target}: {error}") from error
    return load_bundle(target)


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


def _document_errors(document: Any) -> list[str]:
    """Return every way in which a parsed ``bundle.json`` breaks the format."""
    if not isinstance(document, dict):
        return ["it is not a JSON object"]
    if document.get("schema") != SCHEMA:
        return [f"schema is {document.get('schema')!r}, this version reads schema {SCHEMA}"]
    reasons: list[str] = []

    def check(path: str, valid: bool, wanted: str) -> None:
        if not valid:
            reasons.append(f"{path} must be {wanted}")

    for key in ("name", "version"):
        value = document.get(key)
        check(key, isinstance(value, str) and _NAME.fullmatch(value) is not None, f"like {_NAME.pattern}")
    for key in ("title", "source", "licence", "notice"):
        check(key, isinstance(document.get(key), str), "a string")
    entry = _object(document.get("input"))
    size = entry.get("size")
    check("input.size", type(size) is int and 0 < size <= _MAX_INPUT_SIZE, f"1 to {_MAX_INPUT_SIZE} pixels")
    check("input.scale", _is_finite(entry.get("scale")) and entry["scale"] > 0, "a number above 0")
    check("input.offset", _is_finite(entry.get("offset")), "a number")
    output = _object(document.get("output"))
    check("output.activation", output.get("activation") in get_args(Activation), _choices(Activation))
    check("output.background", isinstance(output.get("background"), bool), "true or false")
    check("quantisation", document.get("quantisation") in get_args(Quantisation), _choices(Quantisation))
    files = _object(document.get("files"))
    check("files", set(files) == {MODEL, CLASSES}, f"the sha256 of {MODEL} and of {CLASSES}")
    for file, digest in files.items():
        valid = isinstance(digest, str) and re.fullmatch("[0-9a-f]{64}", digest) is not None
        check(f"files[{file!r}]", valid, "64 hexadecimal digits")
    return reasons


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _choices(kind: Any) -> str:
    return " or ".join(get_args(kind))


def _parse_classes(raw: bytes, path: Path) -> tuple[ClassName, ...]:
    entries = _parse_json(raw, path)
    if not isinstance(entries, list) or not entries:
        raise BundleError(f"{path} must be a list of classes that is not empty; {_REMEDY}")
    for index, entry in enumerate(entries):
        texts = [_object(entry).get(key) for key in ClassName._fields]
        if not all(isinstance(text, str) and text for text in texts):
            raise BundleError(f"{path}: entry {index} must have a wnid and a label; {_REMEDY}")
    return tuple(ClassName(entry["wnid"], entry["label"]) for entry in entries)


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify the bundle named on the command line; print its identity, or the reason against it."""
    parser = argparse.ArgumentParser(prog="python -m imagerec_worker.bundle", description="Verify a model bundle.")
    parser.add_argument("path", type=Path, help="folder of the bundle")
    options = parser.parse_args(arguments)
    try:
        bundle = load_bundle(options.path)
    except BundleError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(f"{bundle.name} {bundle.version} {bundle.digest}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
