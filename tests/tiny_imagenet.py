"""A made-up data folder in the layout of Tiny ImageNet, with pictures that a network can learn to tell apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

_TINTS = np.array([(0.9, 0.2, 0.2), (0.2, 0.9, 0.2), (0.2, 0.2, 0.9), (0.9, 0.9, 0.2)], np.float32)


def wnid(index: int) -> str:
    """Return the id of a made-up class."""
    return f"n{index:08d}"


def picture(index: int, seed: int) -> npt.NDArray[np.uint8]:
    """Draw a picture of a class, uint8 [64, 64, 3]: stripes of the class' tint and width, and noise of the seed."""
    rng = np.random.default_rng([index, seed])
    wave = np.sin(np.arange(64) * (0.2 + 0.15 * (index // len(_TINTS))) + rng.uniform(0, 6.28))
    stripes = 128 + 90 * wave[:, None, None] * np.ones((64, 64, 1))
    noisy = stripes * _TINTS[index % len(_TINTS)] + rng.normal(0, 12, (64, 64, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def write_data(folder: Path, *, classes: int = 4, train: int = 3, validation: int = 2) -> Path:
    """Write `train` training and `validation` validation pictures of each class; return the folder."""
    wnids = [wnid(index) for index in range(classes)]
    (folder / "val/images").mkdir(parents=True)
    (folder / "wnids.txt").write_text("".join(f"{one}\n" for one in wnids))
    (folder / "words.txt").write_text("".join(f"{one}\tkind {i}, sort {i}\n" for i, one in enumerate(wnids)))
    for index, one in enumerate(wnids):
        images = folder / "train" / one / "images"
        images.mkdir(parents=True)
        for number in range(train):
            Image.fromarray(picture(index, number)).save(images / f"{one}_{number}.JPEG", quality=95)
    rows = []
    for number in range(validation):
        for index, one in enumerate(wnids):
            name = f"val_{len(rows)}.JPEG"
            Image.fromarray(picture(index, 10_000 + number)).save(folder / "val/images" / name, quality=95)
            rows.append(f"{name}\t{one}\t0\t0\t63\t63\n")
    (folder / "val/val_annotations.txt").write_text("".join(rows))
    return folder
