"""Measure a bundle as it is served: JPEG files through the worker's preprocessing and classifier."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imagerec_model.progress import progress
from imagerec_worker.bundle import Bundle, Quantisation
from imagerec_worker.classifier import Classifier
from imagerec_worker.preprocess import preprocess

_Z_95 = 1.959963984540054
_MAX_PIXELS = 50_000_000
# int8 is taken unless it loses more than this share of the answers.
_INT8_TOLERANCE = 0.015


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What came of it.

    Attributes:
        pictures: number of pictures.
        top1: how many had the right class first.
        top5: how many had it among the first five.
        inference_ms: median milliseconds of one inference with one thread, preprocessing left out.
        confidence: mean probability of the first answer.
        by_class: right answers (top-1) of each class, in the bundle's order.
        confusions: pairs (true, answered) of class indices, the most frequent first, with their number.
    """

    pictures: int
    top1: int
    top5: int
    inference_ms: float
    confidence: float
    by_class: tuple[int, ...]
    confusions: tuple[tuple[tuple[int, int], int], ...]

    def summary(self) -> dict[str, object]:
        """Return the figures with their 95 % intervals, for JSON."""
        return {
            "pictures": self.pictures,
            "top1": self.top1 / self.pictures,
            "top1_interval": wilson(self.top1, self.pictures),
            "top5": self.top5 / self.pictures,
            "top5_interval": wilson(self.top5, self.pictures),
            "confidence": round(self.confidence, 4),
            "inference_ms": round(self.inference_ms, 3),
        }


def evaluate(bundle: Bundle, files: Sequence[tuple[Path, int]]) -> Evaluation:
    """Classify labelled picture files.

    Args:
        bundle: verified bundle.
        files: paths and class indices in the bundle's order.
    """
    classifier = Classifier(bundle)
    top1 = top5 = 0
    by_class = [0] * len(bundle.classes)
    wrong: Counter[tuple[int, int]] = Counter()
    seconds: list[float] = []
    confidence = 0.0
    with progress(f"evaluate {bundle.quantisation}", len(files)) as report:
        for done, (path, label) in enumerate(files, 1):
            pixels, _ = preprocess(path.read_bytes(), bundle.input_size, _MAX_PIXELS)
            start = time.perf_counter()
            probabilities = classifier.probabilities(pixels)
            seconds.append(time.perf_counter() - start)
            best = np.argsort(-probabilities, kind="stable")[:5].tolist()
            top5 += label in best
            confidence += float(probabilities[best[0]])
            if best[0] == label:
                top1 += 1
                by_class[label] += 1
            else:
                wrong[label, best[0]] += 1
            report(done)
    return Evaluation(
        len(files),
        top1,
        top5,
        float(np.median(seconds)) * 1e3,
        confidence / len(files),
        tuple(by_class),
        tuple(wrong.most_common()),
    )


def choose(evaluations: dict[Quantisation, Evaluation]) -> Quantisation:
    """Return `int8` when it keeps the accuracy, since it is a quarter of the size and twice as fast."""
    lost = (evaluations["float32"].top1 - evaluations["int8"].top1) / evaluations["float32"].pictures
    return "int8" if lost <= _INT8_TOLERANCE else "float32"


def wilson(right: int, of: int) -> tuple[float, float]:
    """Return the 95 % score interval of a share (Wilson, 1927, "Probable inference").

    With share p, number n and z = 1.96: (p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n).
    """
    share = right / of
    middle = share + _Z_95**2 / (2 * of)
    half = _Z_95 * math.sqrt(share * (1 - share) / of + _Z_95**2 / (4 * of**2))
    scale = 1 + _Z_95**2 / of
    return (middle - half) / scale, (middle + half) / scale
