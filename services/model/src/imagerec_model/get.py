"""`get`: from the name of a model, or the path of a bundle, to a verified bundle in a folder of bundles."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path

from imagerec_model import imagenet, keras_mobilenet
from imagerec_model.errors import ModelError
from imagerec_worker.bundle import Bundle, BundleError, load_bundle, write_bundle

EMBEDDED = "embedded"
NAMES = (imagenet.NAME, keras_mobilenet.NAME, EMBEDDED)


def get(model: str, out: Path, *, mirror: str | None = None, offline: bool = False) -> tuple[Bundle, bool]:
    """Resolve a model to a verified bundle.

    Args:
        model: `imagenet`, `keras`, `embedded`, or the path of a bundle.
        out: folder of bundles; the bundle is `out`/<name of the bundle>.
        mirror: see `download.fetch`.
        offline: see `download.fetch`.

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
        target = out / keras_mobilenet.NAME
        if keras_mobilenet.is_current(target):
            return load_bundle(target), False
        return publish(target, keras_mobilenet.make)
    source = load_bundle(embedded_folder() if model == EMBEDDED else _bundle_folder(model))
    return publish(out / source.name, lambda aside: copy_bundle(source, aside))


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
    return write_bundle(
        folder,
        model=bundle.model_path,
        classes=bundle.classes,
        name=bundle.name,
        version=bundle.version,
        title=bundle.title,
        input_size=bundle.input_size,
        scale=bundle.scale,
        offset=bundle.offset,
        activation=bundle.activation,
        background=bundle.background,
        quantisation=bundle.quantisation,
        source=bundle.source,
        licence=bundle.licence,
        notice=bundle.notice,
    )


def embedded_folder() -> Path:
    """Return the folder of the embedded bundle: inside an installed package, beside `src` in a checkout."""
    package = Path(__file__).parent
    places = (package / EMBEDDED, package.parent.parent / EMBEDDED)
    return next((place for place in places if place.is_dir()), places[-1])


def _bundle_folder(model: str) -> Path:
    folder = Path(model)
    if "/" in model or folder.is_dir():
        return folder
    raise ModelError(f"there is no model {model}: name one of {', '.join(NAMES)}, or the path of a bundle")


def _file_at_hand(target: Path) -> bytes | None:
    """Return the pinned file if the bundle in place has it, so that a changed class table downloads nothing."""
    with contextlib.suppress(OSError):
        content = (target / "model.tflite").read_bytes()
        if hashlib.sha256(content).hexdigest() == imagenet.PINNED.sha256:
            return content
    return None
