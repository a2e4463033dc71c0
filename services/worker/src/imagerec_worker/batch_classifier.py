"""The classifier for several pictures at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter

from imagerec_worker.bundle import Bundle, BundleError
from imagerec_worker.classifier import Classifier, Probabilities
from imagerec_worker.geometry import Pixels

# How far a picture's probabilities may differ between a run alone and one with others: float32 adds in another order.
_SAME = 1e-4


class BatchClassifier(Classifier):
    """Runs the model of a bundle on several pictures at once, by an interpreter of its own.

    That one is given another size when the number of pictures changes, which takes 0.1 ms. Loading checks that the
    network computes each picture of a batch as if it were alone.

    Args:
        bundle: A verified bundle.
        most: Most pictures of a run, 2 to 16.

    Raises:
        BundleError: The network cannot be loaded, is not what the bundle says, or takes one picture only.
    """

    def __init__(self, bundle: Bundle, most: int) -> None:
        super().__init__(bundle)
        self._size = 1
        try:
            self._several = Interpreter(model_content=for_any_number(bundle.model_path.read_bytes()), num_threads=1)
            shape = (most, bundle.input_size, bundle.input_size, 3)
            noise = list(np.random.default_rng(1).integers(256, size=shape, dtype=np.uint8))
            together = self.probabilities_of(noise)  # the most come first, so that memory for them is there
        except (ValueError, RuntimeError) as error:
            raise BundleError(f"{bundle.model_path} cannot be run on {most} pictures at once: {error}") from error
        alone = [self.probabilities(picture) for picture in noise]
        if np.shape(together) != np.shape(alone) or not np.allclose(together, alone, rtol=0, atol=_SAME):
            raise BundleError(f"{bundle.model_path} mixes the {most} pictures of a batch; serve them one at a time")

    def probabilities_of(self, pictures: Sequence[Pixels]) -> list[Probabilities]:
        """Return the probability of every class for each picture; see :meth:`probabilities`.

        Args:
            pictures: Up to ``most``, each ``uint8 [input_size, input_size, 3]`` in RGB.
        """
        if len(pictures) == 1:
            return [self.probabilities(pictures[0])]
        tensor: npt.NDArray[Any] = np.stack(pictures)
        if self._table is not None:
            tensor = cv2.LUT(tensor.reshape(-1, tensor.shape[2], 3), self._table).reshape(tensor.shape)
        with self._lock:
            if self._size != len(tensor):
                self._several.resize_tensor_input(self._input_index, tensor.shape)
                self._several.allocate_tensors()
                self._size = len(tensor)
            self._several.set_tensor(self._input_index, tensor)
            self._several.invoke()
            rows = self._several.get_tensor(self._output_index)
        return [self._values(raw) for raw in rows]


def for_any_number(network: bytes) -> bytes:
    """Return a LiteRT file whose reshapes keep the number of pictures, where they were written for one."""
    from ai_edge_litert import schema_py_generated as schema  # noqa: PLC0415  slow to import

    changed = bytearray(network)
    model = schema.Model.GetRootAs(changed)
    graph = model.Subgraphs(0)
    for operator in map(graph.Operators, range(graph.OperatorsLength())):
        kind = model.OperatorCodes(operator.OpcodeIndex()).BuiltinCode()
        if kind == schema.BuiltinOperator.RESHAPE and operator.InputsLength() == 2:
            shape = model.Buffers(graph.Tensors(operator.Inputs(1)).Buffer())
            if shape.DataLength() and shape.DataAsNumpy().view(np.int32)[0] == 1:
                shape.DataAsNumpy().view(np.int32)[0] = -1
    return bytes(changed)
