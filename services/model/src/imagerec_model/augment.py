"""Batches for training: random crops, mirror images, colour and mixed pictures, from a seed.

Every batch draws from a generator of its own, made of the run's seed, the epoch and the batch's place in it. So a
batch is the same whichever thread makes it, and a resumed run sees what an uninterrupted one would have seen.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from imagerec_model.tiny_imagenet import Labels, Pixels
from imagerec_model.training_settings import TrainingSettings

# The network wants pixel * SCALE + OFFSET: −1..1, as every MobileNetV2 does.
SCALE = 1 / 127.5
OFFSET = -1.0
_ASPECT = (3 / 4, 4 / 3)

Floats = npt.NDArray[np.float32]
Batch = tuple[Floats, Floats]
_AHEAD = 4


class Batches(Protocol):
    """Batches by their number, each made when asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Batch: ...


class TrainingBatches:
    """One epoch of augmented batches; the last, incomplete batch is left out.

    Args:
        pixels: uint8 [n, h, w, 3].
        labels: int32 [n].
        classes: number of classes.
        settings: of the run.
        epoch: counted from 0; it decides the order, the crops and their size.
    """

    def __init__(self, pixels: Pixels, labels: Labels, classes: int, settings: TrainingSettings, epoch: int) -> None:
        self._pixels, self._labels, self._classes = pixels, labels, classes
        self._settings, self._epoch = settings, epoch
        self._order = np.random.default_rng([settings.seed, epoch]).permutation(len(labels))

    def __len__(self) -> int:
        return len(self._order) // self._settings.batch

    def __getitem__(self, index: int) -> Batch:
        """Return float32 [batch, size, size, 3] in −1..1 and float32 [batch, classes]."""
        settings = self._settings
        rng = np.random.default_rng([settings.seed, self._epoch, index])
        chosen = self._order[index * settings.batch : (index + 1) * settings.batch]
        size = settings.size_of_epoch(self._epoch)
        crops = np.stack([random_crop(self._pixels[i], size, settings.crop_area, rng) for i in chosen])
        images = change_colour(crops.astype(np.float32), settings.colour, rng) * np.float32(SCALE) + np.float32(OFFSET)
        targets = one_hot(self._labels[chosen], self._classes)
        return mix(images, targets, rng) if rng.random() < settings.mix else (images, targets)


class ValidationBatches:
    """The validation pictures as they are, resized to one side."""

    def __init__(self, pixels: Pixels, labels: Labels, classes: int, size: int, batch: int) -> None:
        self._pixels, self._labels, self._classes = pixels, labels, classes
        self._size, self._batch = size, batch

    def __len__(self) -> int:
        return math.ceil(len(self._labels) / self._batch)

    def __getitem__(self, index: int) -> Batch:
        """Return float32 [n, size, size, 3] in −1..1 and float32 [n, classes]; the last batch may be shorter."""
        span = slice(index * self._batch, (index + 1) * self._batch)
        return to_input(self._pixels[span], self._size), one_hot(self._labels[span], self._classes)


def ahead(batches: Batches) -> Iterator[Batch]:
    """Yield batches in their order while a thread prepares the next ones."""
    with ThreadPoolExecutor(1) as pool:
        waiting: deque[Future[Batch]] = deque()
        try:
            for index in range(len(batches)):
                waiting.append(pool.submit(batches.__getitem__, index))
                if len(waiting) > _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def to_input(pixels: Pixels, size: int) -> Floats:
    """Resize uint8 [n, h, w, 3] to `size` and bring it into −1..1 as float32 [n, size, size, 3]."""
    return resize(pixels, size).astype(np.float32) * np.float32(SCALE) + np.float32(OFFSET)


def resize(pixels: Pixels, size: int) -> Pixels:
    """Resize uint8 [n, h, w, 3] to [n, size, size, 3], bicubically as the worker does."""
    if pixels.shape[1:3] == (size, size):
        return pixels
    resized = (Image.fromarray(one).resize((size, size), Image.Resampling.BICUBIC) for one in pixels)
    return np.stack([np.asarray(one) for one in resized])


def one_hot(labels: Labels, classes: int) -> Floats:
    """Turn int [n] into float32 [n, classes] with a single 1 a row."""
    targets = np.zeros((len(labels), classes), np.float32)
    targets[np.arange(len(labels)), labels] = 1
    return targets


def random_crop(pixels: Pixels, size: int, least_area: float, rng: np.random.Generator) -> Pixels:
    """Cut a random part (area `least_area`..1, sides 3:4 to 4:3), resize it to `size`, mirror every second one."""
    height, width = pixels.shape[:2]
    area = rng.uniform(least_area, 1.0) * height * width
    aspect = math.exp(rng.uniform(math.log(_ASPECT[0]), math.log(_ASPECT[1])))
    crop_width = min(math.sqrt(area * aspect), width)
    crop_height = min(math.sqrt(area / aspect), height)
    left = rng.uniform(0, width - crop_width) if crop_width < width else 0.0
    top = rng.uniform(0, height - crop_height) if crop_height < height else 0.0
    box = (left, top, left + crop_width, top + crop_height)
    crop = np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR, box))
    return crop[:, ::-1] if rng.random() < 0.5 else crop


def change_colour(images: Floats, strength: float, rng: np.random.Generator) -> Floats:
    """Change brightness, contrast and saturation of each picture by factors of 1 ± `strength`.

    Args:
        images: float32 [n, h, w, 3], 0..255.
        strength: largest relative change; 0 changes nothing.
        rng: source of the factors.

    Returns:
        An array of the same shape and range.
    """
    if strength == 0:
        return images
    factors = rng.uniform(1 - strength, 1 + strength, (3, len(images), 1, 1, 1)).astype(np.float32)
    brightness, contrast, saturation = factors
    grey = images.mean(axis=3, keepdims=True)
    mean = grey.mean(axis=(1, 2), keepdims=True)
    images = grey + (images - grey) * saturation
    images = (mean + (images - mean) * contrast) * brightness
    return np.clip(images, 0, 255, out=images)


def mix(images: Floats, targets: Floats, rng: np.random.Generator) -> Batch:
    """Mix a batch with its own reverse: mixup (Zhang et al., 2018) or CutMix (Yun et al., 2019), as often each.

    The shares come from Beta(1, 1) for CutMix and from Beta(0.2, 0.2) for mixup, the values of the papers.
    """
    height, width = images.shape[1:3]
    if rng.random() < 0.5:
        share = np.float32(rng.beta(0.2, 0.2))
        mixed: Any = images * share + images[::-1] * (1 - share)
    else:
        cut = math.sqrt(1 - rng.beta(1.0, 1.0))
        top, left = rng.integers(height), rng.integers(width)
        rows = slice(max(0, int(top - height * cut / 2)), int(top + height * cut / 2))
        columns = slice(max(0, int(left - width * cut / 2)), int(left + width * cut / 2))
        mixed = images.copy()
        mixed[:, rows, columns] = images[::-1, rows, columns]
        replaced = mixed[0, rows, columns, 0].size / (height * width)
        share = np.float32(1 - replaced)
    return mixed, targets * share + targets[::-1] * (1 - share)
