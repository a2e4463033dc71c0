"""Read Tiny ImageNet: 200 classes, 500 training and 50 validation pictures each, 64 × 64 pixels.

The standard layout, as Stanford's CS231n published it: `wnids.txt` (one WordNet id a line), `words.txt` (id, tab,
names), `train/<wnid>/images/*.JPEG` and `val/images/` with `val/val_annotations.txt` (file name, tab, id, box).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from imagerec_model.errors import ModelError

SIDE = 64
_REMEDY = "unpack tiny-imagenet-200.zip again and name the folder that holds wnids.txt"
_EXAMPLES = 3

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Layout:
    """A data folder that was found complete.

    Attributes:
        root: the folder.
        wnids: the classes in the order of `wnids.txt`, which is the order of the outputs.
        labels: one name a class, the first of its synonyms.
        train: files and class indices of the training pictures.
        validation: files and class indices of the validation pictures.
    """

    root: Path
    wnids: tuple[str, ...]
    labels: tuple[str, ...]
    train: tuple[tuple[Path, int], ...]
    validation: tuple[tuple[Path, int], ...]


def check_layout(folder: Path) -> Layout:
    """List a data folder and refuse it unless it is complete.

    Args:
        folder: the folder that holds `wnids.txt`.

    Raises:
        ModelError: the folder is missing, has another layout or lacks files; every reason is given at once.
    """
    if not folder.is_dir():
        raise ModelError(f"the data folder {folder} does not exist; {_REMEDY}")
    needed = ("wnids.txt", "words.txt", "val/val_annotations.txt")
    missing = [name for name in needed if not (folder / name).is_file()]
    missing += [f"{name}/" for name in ("train", "val/images") if not (folder / name).is_dir()]
    if missing:
        raise ModelError(f"{folder} has not the layout of Tiny ImageNet: it lacks {', '.join(missing)}; {_REMEDY}")
    wnids = tuple((folder / "wnids.txt").read_text(encoding="utf-8").split())
    reasons = [] if len(set(wnids)) == len(wnids) > 1 else ["wnids.txt must name two or more different classes"]
    names = _read_words(folder / "words.txt")
    unnamed = [wnid for wnid in wnids if wnid not in names]
    if unnamed:
        reasons.append(f"words.txt has no name for {_some(unnamed)}")
    train, train_reasons = _list_train(folder / "train", wnids)
    validation, validation_reasons = _list_validation(folder / "val", wnids)
    reasons += train_reasons + validation_reasons
    if reasons:
        raise ModelError(f"{folder} is incomplete: {'; '.join(reasons)}; {_REMEDY}")
    return Layout(folder, wnids, tuple(names[wnid] for wnid in wnids), train, validation)


def load_pixels(files: Sequence[tuple[Path, int]], cache: Path | None = None) -> tuple[Pixels, Labels]:
    """Decode pictures into one array, or take the array that an earlier call left in the cache.

    Args:
        files: paths and class indices.
        cache: folder for the decoded array; its name carries a digest of the files' names and sizes.

    Returns:
        uint8 [n, 64, 64, 3] and int32 [n].

    Raises:
        ModelError: a file is no picture of 64 × 64 pixels.
    """
    labels = np.array([index for _, index in files], np.int32)
    stored = None if cache is None else cache / f"pixels-{_fingerprint(files)}.npy"
    if stored is not None and stored.is_file():
        pixels: Pixels = np.load(stored)
        return pixels, labels
    pixels = np.empty((len(files), SIDE, SIDE, 3), np.uint8)

    def decode(position: int) -> None:
        pixels[position] = _decode(files[position][0])

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(decode, range(len(files)), chunksize=256):
            pass
    if stored is not None:
        stored.parent.mkdir(parents=True, exist_ok=True)
        aside = stored.with_suffix(".part.npy")
        np.save(aside, pixels)
        aside.replace(stored)
    return pixels, labels


def _decode(path: Path) -> Pixels:
    try:
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB"))
    except OSError as error:
        raise ModelError(f"{path} cannot be decoded ({error}); {_REMEDY}") from error
    if pixels.shape != (SIDE, SIDE, 3):
        raise ModelError(f"{path} has {pixels.shape[1]} × {pixels.shape[0]} pixels, not {SIDE} × {SIDE}; {_REMEDY}")
    return pixels


def _read_words(path: Path) -> dict[str, str]:
    rows = (line.split("\t", 1) for line in path.read_text(encoding="utf-8").splitlines() if "\t" in line)
    return {wnid: names.split(",")[0].strip() for wnid, names in rows}


def _list_train(folder: Path, wnids: Sequence[str]) -> tuple[tuple[tuple[Path, int], ...], list[str]]:
    found = {wnid: sorted((folder / wnid / "images").glob("*.JPEG")) for wnid in wnids}
    full = max((len(files) for files in found.values()), default=0)
    short = [f"{wnid} ({len(files)} of {full})" for wnid, files in found.items() if len(files) < max(full, 1)]
    reasons = [f"train/<wnid>/images lacks pictures of {_some(short)}"] if short else []
    return tuple((file, index) for index, wnid in enumerate(wnids) for file in found[wnid]), reasons


def _list_validation(folder: Path, wnids: Sequence[str]) -> tuple[tuple[tuple[Path, int], ...], list[str]]:
    position = {wnid: index for index, wnid in enumerate(wnids)}
    present = {file.name for file in (folder / "images").iterdir()}
    lines = (folder / "val_annotations.txt").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t")[:2] for line in lines if line.strip()]
    broken = [row[0] for row in rows if len(row) < 2 or row[1] not in position]
    absent = [row[0] for row in rows if row[0] not in present]
    reasons = [] if rows else ["val/val_annotations.txt is empty"]
    if broken:
        reasons.append(f"val/val_annotations.txt names no class of wnids.txt for {_some(broken)}")
    if absent:
        reasons.append(f"val/images lacks {_some(absent)}")
    if reasons:
        return (), reasons
    return tuple((folder / "images" / name, position[wnid]) for name, wnid in rows), []


def _some(names: Sequence[str]) -> str:
    rest = len(names) - _EXAMPLES
    return ", ".join(names[:_EXAMPLES]) + (f" and {rest} more" if rest > 0 else "")


def _fingerprint(files: Sequence[tuple[Path, int]]) -> str:
    digest = hashlib.sha256()
    for path, _ in files:
        digest.update(f"{path.name} {path.stat().st_size}\n".encode())
    return digest.hexdigest()[:16]
