"""Measure the ranges of a `lite…` network's tensors on photographs, for the table that making int8 reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from imagerec_model import efficientnet, quantise
from imagerec_model.errors import ModelError
from imagerec_model.evaluation import decode
from imagerec_model.lite import CROP, Network, read_weights
from imagerec_model.progress import progress


def calibrate(network: Network, sizes: Sequence[int], photographs: Path, packages: Path) -> str:
    """Replace the table of a network's ranges, measured on a folder of photographs; return its path.

    Raises:
        ModelError: the folder holds no photograph.
    """
    files = sorted(path for path in photographs.glob("*") if path.is_file())
    if not files:
        raise ModelError(f"{photographs} holds no photographs; name a folder of about 100")
    weights = read_weights(network, packages)
    head = efficientnet.published_head(weights)
    ranges = {}
    with progress(f"calibrate {network.name}", len(sizes)) as report:
        for done, size in enumerate(sizes, 1):
            content = efficientnet.network(weights, network.depth, size, head)
            found = quantise.calibrate(content, _inputs(files, size))
            found["image"] = (efficientnet.OFFSET, 255 * efficientnet.SCALE + efficientnet.OFFSET)  # pixels 0 to 255
            ranges[size] = found
            report(done, f"{size} px")
    return quantise.write_ranges(network.name, ranges)


def _inputs(files: Sequence[Path], size: int) -> Iterator[npt.NDArray[np.float32]]:
    for path in files:
        pixels = decode(path, size, CROP)
        yield pixels[np.newaxis].astype(np.float32) * np.float32(efficientnet.SCALE) + np.float32(efficientnet.OFFSET)
