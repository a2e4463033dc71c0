"""Keras' own network becomes a bundle: with random weights, since the official ones need a download."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imagerec_model import keras_mobilenet
from imagerec_worker.classifier import Classifier


def test_keras_own_network_is_exported_with_the_classes_of_imagenet(tmp_path: Path) -> None:
    bundle = keras_mobilenet.make(tmp_path / "keras", weights="none")
    assert (bundle.name, bundle.version, bundle.input_size) == ("keras", "1.0-float32-random", 224)
    assert bundle.notice == "random weights: every answer is arbitrary"
    assert len(bundle.classes) == 1000
    probabilities = Classifier(bundle).probabilities(np.full((224, 224, 3), 99, np.uint8))
    assert probabilities.sum() == pytest.approx(1, abs=1e-3)
