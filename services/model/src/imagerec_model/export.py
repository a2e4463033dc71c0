"""From a Keras network to a float32 LiteRT file. Needs TensorFlow."""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
from typing import Any

from imagerec_model.errors import ModelError


def use_tensorflow() -> None:
    """Choose Keras' TensorFlow backend, which the converter to LiteRT needs; call it before Keras is imported.

    Raises:
        ModelError: TensorFlow is not installed, or Keras already runs on another backend.
    """
    if importlib.util.find_spec("tensorflow") is None:
        raise ModelError(
            "TensorFlow is not installed: run `make setup-keras`, or `pip install 'imagerec-model[keras]'`; "
            "the models imagenet and lite0 need none"
        )
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "tensorflow"
    import keras  # noqa: PLC0415  # only now is the backend chosen

    if keras.backend.backend() != "tensorflow":
        raise ModelError("the export needs Keras' TensorFlow backend; unset KERAS_BACKEND and run it again")


def to_float32(network: Any) -> bytes:
    """Convert a Keras network with a fixed input size; weights, input and output stay float32."""
    import keras  # noqa: PLC0415  # of the extra
    import tensorflow as tf  # noqa: PLC0415  # of the extra

    with tempfile.TemporaryDirectory() as folder:
        signature = [keras.InputSpec("float32", (1, *network.input_shape[1:]))]
        network.export(folder, format="tf_saved_model", verbose=False, input_signature=signature)
        return bytes(tf.lite.TFLiteConverter.from_saved_model(folder).convert())
