"""The `imagenet` bundle: MobileNetV2 1.0 224, trained on ImageNet, quantised to int8 by its publisher."""

from __future__ import annotations

import csv
from importlib import resources
from pathlib import Path

from imagerec_model.download import PinnedFile, fetch
from imagerec_worker.bundle import Bundle, ClassName, write_bundle
from imagerec_worker.manifest import Manifest

NAME = "imagenet"
_COMMIT = "104342d2d3480b3e66203073dac24f4e2dbb4c41"
_FILE = "tf2_mobilenet_v2_1.0_224_ptq.tflite"

# An int8 post-training quantisation of TensorFlow 2's MobileNetV2. Its input is uint8 with scale 1/127.5 and zero
# point 127, so an RGB image goes in as it is; its 1001 outputs went through a softmax, the first is "background".
PINNED = PinnedFile(
    name=_FILE,
    url=f"https://raw.githubusercontent.com/google-coral/test_data/{_COMMIT}/{_FILE}",
    sha256="5d3137241276e79c86d14a74fe43581398ae0e815191d3dba45495b810840e8c",
    size_bytes=4070174,
)


def imagenet_classes() -> tuple[ClassName, ...]:
    """Return the 1000 classes of ILSVRC 2012 with their WordNet ids, in the order of the networks' outputs."""
    table = resources.files("imagerec_model") / "data" / "imagenet_classes.csv"
    rows = csv.DictReader(table.read_text(encoding="utf-8").splitlines())
    return tuple(ClassName(row["wnid"], row["label"]) for row in rows)


def make(folder: Path, *, model: bytes | None = None, mirror: str | None = None, offline: bool = False) -> Bundle:
    """Write the bundle; `model` is the pinned file, if it is at hand. For the others see `download.fetch`.

    Raises:
        DownloadError: the file could not be had.
        BundleError: the folder cannot be written.
    """
    manifest = Manifest(
        name=NAME,
        version="1.0-int8",
        title="MobileNetV2 1.0 224, ImageNet, int8",
        input_size=224,
        scale=1 / 127.5,
        offset=-1.0,
        activation="softmax",
        background=True,
        quantisation="int8",
        source=PINNED.url,
        licence="Apache-2.0",
    )
    content = fetch(PINNED, mirror, offline=offline) if model is None else model
    return write_bundle(folder, manifest, model=content, classes=imagenet_classes())
