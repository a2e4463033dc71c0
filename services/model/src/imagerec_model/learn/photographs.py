"""The photographs to learn from: one folder a class, what is listed of them and what is left out."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from imagerec_model.errors import ModelError
from imagerec_worker.settings import Settings

FEWEST = 5
LIMITS = Settings(Path())  # what a worker of today accepts
_LAYOUT = "make one folder for each class and put its photographs into it"
# Files that systems and programs leave in folders of photographs.
_LITTER = frozenset({"thumbs.db", "desktop.ini"})
_EXAMPLES = 5


class Photograph(NamedTuple):
    """A file, the index of its class, and the sha256 of its content in hexadecimal."""

    path: Path
    label: int
    sha256: str


class LeftOut(NamedTuple):
    """A file that nothing is learnt from, and why."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class Collection:
    """What a folder of photographs holds.

    Attributes:
        root: the folder.
        names: the classes' folder names, sorted; a label is an index into them.
        photographs: sorted by class and path; each content once.
        left_out: files that are skipped.
        in_two_classes: photographs of the same content that stand in several classes; they are left out too.
    """

    root: Path
    names: tuple[str, ...]
    photographs: tuple[Photograph, ...]
    left_out: tuple[LeftOut, ...]
    in_two_classes: tuple[tuple[Path, ...], ...]

    def show(self, path: Path) -> str:
        """Return a path below the folder as people read it."""
        return os.fsencode(path.relative_to(self.root)).decode(errors="replace")

    def without(self, failures: Sequence[LeftOut]) -> Collection:
        """Return the collection without the photographs that could not be decoded.

        Raises:
            ModelError: a class has too few photographs left.
        """
        failed = {one.path for one in failures}
        kept = tuple(one for one in self.photographs if one.path not in failed)
        left_out = tuple(sorted((*self.left_out, *failures)))
        result = Collection(self.root, self.names, kept, left_out, self.in_two_classes)
        result.check_numbers()
        return result

    def check_numbers(self) -> None:
        """Refuse a class with too few photographs.

        Raises:
            ModelError: it names each such class, its number and what was left out of it.
        """
        few = [reason for label in range(len(self.names)) if (reason := self._shortage(label))]
        if few:
            raise ModelError(
                f"{self.root}: each class needs {FEWEST} photographs or more (20 are better). {'; '.join(few)}. "
                "Add photographs, or remove the folder"
            )

    def _shortage(self, label: int) -> str:
        number = sum(one.label == label for one in self.photographs)
        if number >= FEWEST:
            return ""
        folder = self.root / self.names[label]
        skipped = [f"{one.path.name}: {one.reason}" for one in self.left_out if one.path.is_relative_to(folder)]
        twice = sum(path.is_relative_to(folder) for group in self.in_two_classes for path in group)
        if twice:
            skipped.append(f"{twice} also in another class")
        return f"{self.names[label]} has {number}" + (f" (left out: {some(skipped)})" if skipped else "")


def collect(root: Path) -> Collection:
    """List a folder of photographs and take the sha256 of each.

    The classes are the folders right below `root`; photographs may lie in folders of their own below a class. Hidden
    files and folders are passed over.

    Raises:
        ModelError: there is no such folder, or it has not two classes of five photographs; the message names the
            remedy.
    """
    names, beside = _class_folders(root)
    left_out = [LeftOut(path, "stands beside the folders of the classes") for path in beside]
    found: dict[str, list[Photograph]] = defaultdict(list)
    for label, name in enumerate(names):
        for path in _files(root / name):
            sha256, fault = _sha256(path)
            if fault:
                left_out.append(LeftOut(path, fault))
            else:
                found[sha256].append(Photograph(path, label, sha256))
    photographs, in_two_classes = [], []
    for copies in found.values():
        if len({one.label for one in copies}) > 1:
            in_two_classes.append(tuple(one.path for one in copies))
            continue
        photographs.append(copies[0])
        left_out += [LeftOut(one.path, f"the same photograph as {copies[0].path.name}") for one in copies[1:]]
    result = Collection(root, names, tuple(sorted(photographs)), tuple(sorted(left_out)), tuple(sorted(in_two_classes)))
    result.check_numbers()
    return result


def label_of(name: str) -> str:
    """Return what people read for a class: the name of its folder, with spaces for underscores and commas.

    The page takes what follows a comma for synonyms.
    """
    return " ".join(name.replace("_", " ").replace(",", " ").split())


def some(texts: Sequence[str]) -> str:
    """Join the first few texts and say how many more there are."""
    rest = len(texts) - _EXAMPLES
    return ", ".join(texts[:_EXAMPLES]) + (f" and {rest} more" if rest > 0 else "")


def _class_folders(root: Path) -> tuple[tuple[str, ...], list[Path]]:
    if not root.is_dir():
        fault = "is a file, not a folder" if root.exists() else "does not exist"
        raise ModelError(
            f"the folder of photographs {root} {fault}; {_LAYOUT}, then name the folder above: DATA=FOLDER"
        )
    try:
        entries = sorted(entry for entry in root.iterdir() if not _is_litter(entry.name))
    except OSError as error:
        raise ModelError(f"{root} cannot be read: {error.strerror}; give yourself the right to read it") from error
    folders = [entry for entry in entries if entry.is_dir()]
    if not folders:
        raise ModelError(f"{root} has no folders of classes; {_LAYOUT}")
    if len(folders) == 1:
        raise ModelError(f"{root} has one class only, {folders[0].name}; two or more are needed: {_LAYOUT}")
    names = [folder.name for folder in folders]
    broken = [ascii(name) for name in names if not (name.isprintable() and label_of(name))]
    if broken:
        raise ModelError(f"{root}: the name of a class must be readable text; rename {some(broken)}")
    ids = [identity(label_of(name)) for name in names]
    if len(set(ids)) < len(ids):
        twins = sorted({one for one in ids if ids.count(one) > 1})
        raise ModelError(f"{root} has two folders whose names look alike, {some(twins)}; rename one of them")
    if all(_holds_folders_only(folder) for folder in folders):
        raise ModelError(
            f"{root} holds folders of folders, so its classes are not clear; name the folder right above the "
            f"folders of the classes, for example DATA={folders[0]}"
        )
    return tuple(names), [entry for entry in entries if not entry.is_dir()]


def _holds_folders_only(folder: Path) -> bool:
    entries = [entry for entry in folder.iterdir() if not _is_litter(entry.name)] if os.access(folder, os.R_OK) else []
    return len(entries) > 1 and all(entry.is_dir() for entry in entries)


def _files(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder, onerror=_refuse):
        folders[:] = sorted(name for name in folders if not _is_litter(name))
        linked = [name for name in folders if Path(place, name).is_symlink()]  # they may lead round in a circle
        yield from (Path(place, name) for name in linked + sorted(files) if not _is_litter(name))


def _refuse(error: OSError) -> None:
    raise ModelError(f"{error.filename} cannot be read: {error.strerror}; give yourself the right to read it")


def _is_litter(name: str) -> bool:
    return name.startswith(".") or name.lower() in _LITTER


def _sha256(path: Path) -> tuple[str, str]:
    """Return the digest of a file, or an empty text and why it cannot be used."""
    try:
        return hashlib.sha256(read(path)).hexdigest(), ""
    except ModelError as error:
        return "", str(error)


def read(path: Path) -> bytes:
    """Return the content of a photograph.

    Raises:
        ModelError: it cannot be read, or is larger than a worker accepts.
    """
    try:
        if not path.is_file():  # a pipe would never end
            raise ModelError("is a link to a folder; copy that folder" if path.is_dir() else "is no file")
        size = path.stat().st_size
        if size > LIMITS.max_bytes:
            raise ModelError(f"has {size / 2**20:.0f} MiB, workers accept {LIMITS.max_bytes / 2**20:.0f}")
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot be read ({error.strerror})") from error


def identity(name: str) -> str:
    """Return the stable id of a class: its folder's name in Unicode's composed form."""
    return unicodedata.normalize("NFC", name)
