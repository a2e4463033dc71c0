"""Measure a bundle as it is served: photographs through the worker's preprocessing and classifier."""

from __future__ import annotations

import math
import time
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np

from imagerec_model.errors import ModelError
from imagerec_model.learn.photographs import LIMITS
from imagerec_model.progress import progress
from imagerec_worker.bundle import Bundle
from imagerec_worker.classifier import Classifier
from imagerec_worker.errors import ProblemError
from imagerec_worker.geometry import Pixels
from imagerec_worker.preprocess import preprocess


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What came of it.

    Attributes:
        photographs: number of photographs.
        top1: how many had the right class first.
        top5: how many had it among the first five.
        inference_ms: median milliseconds of one inference with one thread, preprocessing left out.
        cpu_ms: mean milliseconds of processor time a photograph, decoding and inference together.
    """

    photographs: int
    top1: int
    top5: int
    inference_ms: float
    cpu_ms: float

    def summary(self) -> dict[str, object]:
        """Return the figures with their 95 % intervals, for JSON."""
        return {
            "photographs": self.photographs,
            "top1": self.top1 / self.photographs,
            "top1_interval": wilson(self.top1, self.photographs),
            "top5": self.top5 / self.photographs,
            "top5_interval": wilson(self.top5, self.photographs),
            "inference_ms": round(self.inference_ms, 3),
            "cpu_ms": round(self.cpu_ms, 3),
        }


def decode(path: Path, size: int, crop: float) -> Pixels:
    """Return a photograph as a worker's network sees it, uint8 `[size, size, 3]`.

    Raises:
        ModelError: the file is no photograph that a worker accepts.
    """
    try:
        return preprocess(path.read_bytes(), size, LIMITS.max_pixels, crop)[0]
    except ProblemError as error:
        raise ModelError(f"{path} cannot be used: {error}; take it out of the folder") from error


def labelled(bundle: Bundle, folder: Path) -> list[tuple[Path, int]]:
    """Return the photographs of a folder with their classes, by the class's wnid that begins each file's name.

    Raises:
        ModelError: a name begins with no class of the bundle, or the folder is empty.
    """
    classes = {entry.wnid: index for index, entry in enumerate(bundle.classes)}
    files = sorted(path for path in folder.glob("*") if path.is_file())
    labels = {path: _class_of(path.name, classes) for path in files}
    strange = [path.name for path, label in labels.items() if label is None]
    if strange or not files:
        wrong = f"{strange[0]} begins with no class of {bundle.name}" if files else "no file is there"
        raise ModelError(f"{folder} is no folder of labelled photographs: {wrong}; name them <wnid>_<anything>")
    return [(path, label) for path, label in labels.items() if label is not None]


def _class_of(name: str, classes: Mapping[str, int]) -> int | None:
    """Return the class of the longest wnid that begins a file's name; that of a learnt class may have underscores."""
    parts = unicodedata.normalize("NFC", name).split("_")
    begins = ("_".join(parts[:end]) for end in range(len(parts) - 1, 0, -1))
    return next((classes[begin] for begin in begins if begin in classes), None)


def evaluate(bundle: Bundle, files: Sequence[tuple[Path, int]]) -> Evaluation:
    """Classify labelled photographs, given as paths and class indices in the bundle's order."""
    classifier = Classifier(bundle)
    top1 = top5 = 0
    seconds: list[float] = []
    begun_s = time.process_time()
    with progress(f"evaluate {bundle.name}", len(files)) as report:
        for done, (path, label) in enumerate(files, 1):
            pixels = decode(path, bundle.input_size, bundle.crop)
            start_s = time.perf_counter()
            probabilities = classifier.probabilities(pixels)
            seconds.append(time.perf_counter() - start_s)
            best = np.argsort(-probabilities, kind="stable")[:5].tolist()
            top1 += best[0] == label
            top5 += label in best
            report(done)
    cpu_s = time.process_time() - begun_s
    return Evaluation(len(files), top1, top5, float(np.median(seconds)) * 1e3, cpu_s / len(files) * 1e3)


def wilson(right: int, of: int) -> tuple[float, float]:
    """Return Wilson's 95 % score interval of a share."""
    z, share = NormalDist().inv_cdf(0.975), right / of
    twice = 2 * (of + z**2)
    middle = (2 * of * share + z**2) / twice
    half = z / twice * math.sqrt(4 * of * share * (1 - share) + z**2)
    return middle - half if right else 0.0, middle + half if right < of else 1.0
