"""What the network and the decoders do alone, in this process: answers, times, right answers."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.limit import DECODERS
from bench.photographs import LABELLED
from imagerec_worker.bundle import Bundle
from imagerec_worker.classifier import Classifier

_REPEATED = 5


def expected(bundle: Bundle, photographs: Sequence[Path]) -> dict[str, dict[Path, str]]:
    """Return the best class id of each photograph after each decoder: what a system that serves the bundle answers."""
    classifier = Classifier(bundle)
    return {
        name: {path: classifier.classify(decode(path.read_bytes(), bundle), 1)[0].wnid for path in photographs}
        for name, decode in DECODERS.items()
    }


def parts(bundle: Bundle, photographs: Sequence[Path]) -> dict[str, float]:
    """Return the median milliseconds of each decoder and of an inference."""
    classifier = Classifier(bundle)
    spent: dict[str, list[float]] = defaultdict(list)
    for image in [path.read_bytes() for path in photographs] * _REPEATED:
        for name, decode in DECODERS.items():
            start_s = time.perf_counter()
            pixels = decode(image, bundle)
            spent[name].append(time.perf_counter() - start_s)
        start_s = time.perf_counter()
        classifier.classify(pixels, 5)
        spent["inference"].append(time.perf_counter() - start_s)
    return {name: round(1e3 * statistics.median(each), 3) for name, each in spent.items()}


def accuracy(bundle: Bundle) -> dict[str, Any] | None:
    """Return the right answers of each decoder on the labelled photographs, and how often it agrees with the reference.

    None where there are no such photographs, or the classes are others.
    """
    if not LABELLED.is_dir() or len(bundle.classes) != 1000:
        return None
    photographs = sorted(LABELLED.glob("*.JPEG"))
    answers = {name: list(each.values()) for name, each in expected(bundle, photographs).items()}
    truth = [path.name.partition("_")[0] for path in photographs]
    return {
        "photographs": len(photographs),
        "right": {name: sum(map(str.__eq__, each, truth)) for name, each in answers.items()},
        "as_reference": {name: sum(map(str.__eq__, each, answers["reference"])) for name, each in answers.items()},
    }
