"""Write a LiteRT file from arrays: a graph of convolutions in float32, without TensorFlow.

The schema's object classes come with LiteRT itself. The same calls give the same bytes.
Source of the format: LiteRT, `schema.fbs`, version 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

Array = npt.NDArray[np.float32]

# The name under which the quantiser and LiteRT's signature runner find inputs and outputs.
SIGNATURE = "serving_default"

_TYPES = {np.dtype(np.float32): schema.TensorType.FLOAT32, np.dtype(np.int32): schema.TensorType.INT32}


class Graph:
    """A graph under construction; each method adds one operation and returns its output.

    A tensor is a number, as LiteRT's operations name their inputs. Images are `[1, height, width, channels]`.
    """

    def __init__(self) -> None:
        self._model = schema.ModelT()
        self._graph = schema.SubGraphT()
        self._graph.tensors, self._graph.operators, self._graph.inputs = [], [], []
        self._model.version, self._model.subgraphs, self._model.operatorCodes = 3, [self._graph], []
        self._model.buffers = [schema.BufferT()]  # the first one is empty by convention
        self._codes: dict[int, int] = {}

    def image(self, name: str, size: int) -> int:
        """Add the graph's input, float32 `[1, size, size, 3]`."""
        tensor = self._tensor(name, (1, size, size, 3))
        self._graph.inputs.append(tensor)
        return tensor

    def conv(self, name: str, x: int, kernel: Array, bias: Array, stride: int = 1, *, relu6: bool) -> int:
        """Convolve, padded so that stride 1 keeps the size.

        Args:
            name: of the output.
            x: input.
            kernel: `[outputs, height, width, inputs]`.
            bias: `[outputs]`.
            stride: in both directions, in pixels.
            relu6: whether the outputs are clipped to 0..6.
        """
        options = _convolution(schema.Conv2DOptionsT(), stride, relu6)
        return self._convolve(name, "CONV_2D", options, (x, kernel, bias))

    def depthwise(self, name: str, x: int, kernel: Array, bias: Array, stride: int = 1, *, relu6: bool) -> int:
        """Convolve each channel by itself.

        Args:
            name: of the output.
            x: input.
            kernel: `[1, height, width, channels]`.
            bias: `[channels]`.
            stride: see `conv`.
            relu6: see `conv`.
        """
        options = _convolution(schema.DepthwiseConv2DOptionsT(), stride, relu6)
        options.depthMultiplier = 1
        return self._convolve(name, "DEPTHWISE_CONV_2D", options, (x, kernel, bias))

    def add(self, name: str, x: int, y: int) -> int:
        """Add two tensors of one shape."""
        return self._operation(name, "ADD", schema.AddOptionsT(), (x, y), self._shape(x))

    def pool(self, name: str, x: int) -> int:
        """Average each channel over the image: `[1, height, width, channels]` to `[1, channels]`."""
        axes = self._constant(f"{name}/axes", np.array([1, 2], np.int32))
        return self._operation(name, "MEAN", schema.ReducerOptionsT(), (x, axes), (1, self.channels(x)))

    def dense(self, name: str, x: int, kernel: Array, bias: Array) -> int:
        """Multiply `[1, inputs]` by a kernel `[outputs, inputs]` and add a bias `[outputs]`."""
        inputs = (x, self._constant(f"{name}/kernel", kernel), self._constant(f"{name}/bias", bias))
        options = schema.FullyConnectedOptionsT()
        return self._operation(name, "FULLY_CONNECTED", options, inputs, (1, len(bias)))

    def softmax(self, name: str, x: int) -> int:
        """Turn logits into probabilities."""
        options = schema.SoftmaxOptionsT()
        options.beta = 1.0
        return self._operation(name, "SOFTMAX", options, (x,), self._shape(x))

    def finish(self, outputs: Mapping[str, int]) -> bytes:
        """Return the file.

        Args:
            outputs: the graph's outputs by their names in the signature.
        """
        self._graph.outputs = list(outputs.values())
        signature = schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = SIGNATURE, 0
        inputs = {self._graph.tensors[tensor].name: tensor for tensor in self._graph.inputs}
        signature.inputs = [_tensor_map(name, tensor) for name, tensor in inputs.items()]
        signature.outputs = [_tensor_map(name, tensor) for name, tensor in outputs.items()]
        self._model.signatureDefs = [signature]
        builder = flatbuffers.Builder(1024)
        builder.Finish(self._model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _convolve(self, name: str, kind: str, options: Any, parts: tuple[int, Array, Array]) -> int:
        x, kernel, bias = parts
        _, height, width, _ = self._shape(x)
        shape = (1, -(-height // options.strideH), -(-width // options.strideW), len(bias))
        inputs = (x, self._constant(f"{name}/kernel", kernel), self._constant(f"{name}/bias", bias))
        return self._operation(name, kind, options, inputs, shape)

    def _operation(self, name: str, kind: str, options: Any, inputs: tuple[int, ...], shape: tuple[int, ...]) -> int:
        code = getattr(schema.BuiltinOperator, kind)
        if code not in self._codes:
            self._codes[code] = len(self._model.operatorCodes)
            entry = schema.OperatorCodeT()
            entry.builtinCode = entry.deprecatedBuiltinCode = code
            entry.version = 1
            self._model.operatorCodes.append(entry)
        operation = schema.OperatorT()
        operation.opcodeIndex, operation.inputs = self._codes[code], list(inputs)
        operation.builtinOptions = options
        operation.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        output = self._tensor(name, shape)
        operation.outputs = [output]
        self._graph.operators.append(operation)
        return output

    def _tensor(self, name: str, shape: tuple[int, ...], kind: np.dtype[Any] | None = None, buffer: int = 0) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = name, list(shape), buffer
        tensor.type = _TYPES[kind or np.dtype(np.float32)]
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def _constant(self, name: str, values: npt.NDArray[Any]) -> int:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
        self._model.buffers.append(buffer)
        return self._tensor(name, values.shape, values.dtype, len(self._model.buffers) - 1)

    def channels(self, tensor: int) -> int:
        """Return the number of channels of a tensor."""
        return self._shape(tensor)[-1]

    def _shape(self, tensor: int) -> tuple[int, ...]:
        return tuple(self._graph.tensors[tensor].shape)


def _convolution(options: Any, stride: int, relu6: bool) -> Any:
    options.padding = schema.Padding.SAME
    options.strideH = options.strideW = stride
    options.dilationWFactor = options.dilationHFactor = 1
    kinds = schema.ActivationFunctionType
    options.fusedActivationFunction = kinds.RELU6 if relu6 else kinds.NONE
    return options


def _tensor_map(name: str, tensor: int) -> Any:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, tensor
    return entry
