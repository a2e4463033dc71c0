"""From a Keras network to a LiteRT file: float32, or int8 calibrated on pictures. Needs TensorFlow."""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from imagerec_model.errors import ModelError
from imagerec_model.tiny_imagenet import Pixels

CALIBRATION_PICTURES = 1000


def use_tensorflow() -> None:
    """Choose Keras' TensorFlow backend, which the converter to LiteRT needs; call it before Keras is imported.

    Raises:
        ModelError: TensorFlow is not installed, or Keras already runs on another backend.
    """
    if importlib.util.find_spec("tensorflow") is None:
        raise ModelError(
            "TensorFlow is not installed: run `make setup-keras`, or `pip install 'imagerec-model[keras]'`; "
            "the models imagenet and embedded need none"
        )
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "tensorflow"
    import keras  # noqa: PLC0415  # only now is the backend chosen

    if keras.backend.backend() != "tensorflow":
        raise ModelError("export needs Keras' TensorFlow backend: run `imagerec-model export` without KERAS_BACKEND")


def to_float32(network: Any) -> bytes:
    """Convert a Keras network with a fixed input size; weights, input and output stay float32."""
    return _convert(network, lambda _: None)


def to_int8(network: Any, pictures: Pixels, scale: float, offset: float) -> bytes:
    """Convert a Keras network to 8-bit integers throughout.

    Args:
        network: with one input [1, size, size, 3].
        pictures: uint8 [n, size, size, 3], typical inputs, from which the ranges of all tensors are measured.
        scale: the network wants `pixel * scale + offset`.
        offset: likewise.

    Returns:
        A LiteRT file whose input is uint8. Its outputs come back as float32, so that a probability below 1/256 still
        has a rank.
    """
    import tensorflow as tf  # noqa: PLC0415  # of the extra

    def samples() -> Iterator[list[npt.NDArray[np.float32]]]:
        for picture in pictures:
            yield [picture[np.newaxis].astype(np.float32) * np.float32(scale) + np.float32(offset)]

    def quantise(converter: Any) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = samples
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.uint8
        converter.inference_output_type = tf.float32

    return _convert(network, quantise)


def _convert(network: Any, configure: Callable[[Any], None]) -> bytes:
    import keras  # noqa: PLC0415  # of the extra
    import tensorflow as tf  # noqa: PLC0415  # of the extra

    with tempfile.TemporaryDirectory() as folder:
        signature = [keras.InputSpec("float32", (1, *network.input_shape[1:]))]
        network.export(folder, format="tf_saved_model", verbose=False, input_signature=signature)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        configure(converter)
        return bytes(converter.convert())
