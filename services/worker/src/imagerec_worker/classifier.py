"""The classifier: one LiteRT interpreter with one thread, made and checked from a bundle."""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter

from imagerec_worker.bundle import Bundle, BundleError
from imagerec_worker.geometry import Pixels

Probabilities = npt.NDArray[np.float32]

# Scales are written with nine digits or so: a tie when rounding is met within this distance.
_TIE = 1e-3


class Prediction(NamedTuple):
    """One class and its probability, 0 to 1."""

    label: str
    wnid: str
    probability: float


class Classifier:
    """Runs the model of a verified bundle.

    Loading checks that the network has the input and the outputs which the bundle describes, and runs it
    once, so that the first request does not pay for it. Calls from several threads take turns.

    Raises:
        BundleError: The network cannot be loaded or is not what the bundle says.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self._lock = threading.Lock()
        try:
            self._interpreter = Interpreter(model_path=str(bundle.model_path), num_threads=1)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise BundleError(f"{bundle.model_path} cannot be loaded by LiteRT: {error}") from error
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        wanted_outputs = len(bundle.classes) + bundle.background
        _check_shape(bundle, "input", inputs, (1, bundle.input_size, bundle.input_size, 3))
        _check_shape(bundle, "output", outputs, (1, wanted_outputs))
        self._input_index: int = inputs[0]["index"]
        self._output_index: int = outputs[0]["index"]
        self._table = _input_table(bundle, inputs[0])
        self._output_scale, self._output_zero_point = outputs[0]["quantization"]
        self.probabilities(np.zeros((bundle.input_size, bundle.input_size, 3), np.uint8))

    def probabilities(self, pixels: Pixels) -> Probabilities:
        """Return the probability of every class of the bundle, in its order.

        Args:
            pixels: ``uint8 [input_size, input_size, 3]`` in RGB.
        """
        tensor = pixels if self._table is None else cv2.LUT(pixels, self._table)
        with self._lock:
            self._interpreter.set_tensor(self._input_index, tensor[np.newaxis])
            self._interpreter.invoke()
            raw = self._interpreter.get_tensor(self._output_index)[0]
        return self._values(raw)

    def _values(self, raw: npt.NDArray[Any]) -> Probabilities:
        """Return the probabilities that the network means by one row of its output."""
        values: Probabilities = raw.astype(np.float32)
        if self._output_scale:
            values = (values - self._output_zero_point) * np.float32(self._output_scale)
        if self.bundle.background:
            values = values[1:]
        if self.bundle.activation == "logits":
            values = np.exp(values - values.max())
            values /= values.sum()
        return values

    def classify(self, pixels: Pixels, top: int) -> list[Prediction]:
        """Return the ``top`` most probable classes of a picture; see :meth:`best`."""
        return self.best(self.probabilities(pixels), top)

    def best(self, probabilities: Probabilities, top: int) -> list[Prediction]:
        """Return the ``top`` most probable classes, best first; the earlier class wins a tie."""
        best = np.argsort(-probabilities, kind="stable")[:top]
        classes = self.bundle.classes
        return [
            Prediction(classes[index].label, classes[index].wnid, float(probabilities[index]))
            for index in best.tolist()
        ]


def _check_shape(bundle: Bundle, kind: str, tensors: list[dict[str, Any]], wanted: tuple[int, ...]) -> None:
    shapes = [tuple(int(side) for side in tensor["shape"]) for tensor in tensors]
    if shapes != [wanted]:
        raise BundleError(
            f"{bundle.path} contradicts itself: bundle.json and classes.json describe the {kind} {wanted}, "
            f"the network has {shapes}; build the bundle again"
        )


def _input_table(bundle: Bundle, tensor: dict[str, Any]) -> npt.NDArray[Any] | None:
    """Return the tensor value of each of the 256 pixel values; None when they are the same.

    The network wants ``real = pixel * scale + offset``; a quantised tensor stores
    ``round(real / tensor_scale) + zero_point``.
    """
    real = np.arange(256) * bundle.scale + bundle.offset
    kind = np.dtype(tensor["dtype"])
    tensor_scale, zero_point = tensor["quantization"]
    if not tensor_scale:
        return real.astype(kind)
    limits = np.iinfo(kind)
    steps = np.floor(real / tensor_scale + zero_point + 0.5 + _TIE)
    table = np.clip(steps, limits.min, limits.max).astype(kind)
    return None if kind == np.uint8 and np.array_equal(table, np.arange(256)) else table
