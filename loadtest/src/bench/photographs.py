"""Typical photographs of about 100 kB, and labelled ones where they stand beside the repository."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from deployed.checkout import SHARED

LABELLED = SHARED / "images/imagenet-sample"
_LEAST_BYTES, _MOST_BYTES = 90_000, 160_000
_COUNT = 20


def typical(folder: Path) -> str:
    """Write twenty photographs of 90 to 160 kB into a folder and say what they are.

    They are ImageNet's own where some are at hand, otherwise crops of the photographs that scikit-image and
    scikit-learn ship, each at the quality that gives about 120 kB.
    """
    if LABELLED.is_dir():
        fitting = [path for path in sorted(LABELLED.iterdir()) if _LEAST_BYTES <= path.stat().st_size <= _MOST_BYTES]
        for path in fitting[:_COUNT]:
            (folder / path.name).write_bytes(path.read_bytes())
        return f"{min(len(fitting), _COUNT)} ImageNet photographs of 90 to 160 kB"
    import skimage.data  # noqa: PLC0415  two seconds, for nothing where ImageNet's are at hand
    from sklearn.datasets import load_sample_image

    sources = [np.asarray(getattr(skimage.data, name)()) for name in ("chelsea", "coffee", "rocket", "astronaut")]
    sources += [load_sample_image(name) for name in ("china.jpg", "flower.jpg")]
    for number in range(_COUNT):
        picture = Image.fromarray(sources[number % len(sources)][..., :3]).resize((500 + 8 * number, 375 + 6 * number))
        encoded = min(
            (_encode(picture, quality) for quality in range(70, 100)), key=lambda data: abs(len(data) - 120_000)
        )
        (folder / f"{number:02d}.jpg").write_bytes(encoded)
    return f"{_COUNT} crops of scikit-image's and scikit-learn's photographs, about 120 kB each"


def _encode(picture: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
