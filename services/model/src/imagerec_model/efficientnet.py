"""EfficientNet-Lite: from the published weights to LiteRT graphs of any input size.

EfficientNet-Lite is MobileNetV2's family: inverted residuals, depthwise convolutions, ReLU6, no squeeze-and-excite.
Sources: Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019, table 1;
Liu, "Higher accuracy on vision models with EfficientNet-Lite", 2020, for what Lite leaves out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from imagerec_model.errors import ModelError
from imagerec_model.litert_graph import Array, Graph
from imagerec_model.torch_file import Tensor

# The network wants (pixel − 127) / 128.
SCALE, OFFSET = 1 / 128, -127 / 128
FEATURES = 1280
_EPSILON = 1e-3
_DEAD = 2e-5

_Weights = dict[str, Tensor]


class _Stage(NamedTuple):
    blocks: int
    kernel: int
    stride: int


# Depth grows in the stages between the first and the last; widths are those of the weights themselves.
_STAGES = (
    _Stage(1, 3, 1),
    _Stage(2, 3, 2),
    _Stage(2, 5, 2),
    _Stage(3, 3, 2),
    _Stage(3, 5, 1),
    _Stage(4, 5, 2),
    _Stage(1, 3, 1),
)


class Head(NamedTuple):
    """A softmax layer: kernel `[classes, 1280]`, bias `[classes]`, both float32."""

    kernel: Array
    bias: Array


def published_head(weights: _Weights) -> Head:
    """Return the head that was trained with the network: the 1000 classes of ImageNet."""
    return Head(_array(weights, "_fc.weight"), _array(weights, "_fc.bias"))


def features(weights: _Weights, depth: float, size: int) -> bytes:
    """Return the network up to its pooled numbers: float32 `[1, size, size, 3]` to `features`, float32 `[1, 1280]`.

    Args:
        weights: the published tensors by name.
        depth: factor on the number of blocks a stage.
        size: side of the input in pixels.
    """
    graph = Graph()
    return graph.finish({"features": _body(graph, weights, depth, size)})


def network(weights: _Weights, depth: float, size: int, head: Head) -> bytes:
    """Return the whole network: float32 `[1, size, size, 3]` to `probabilities`, float32 `[1, classes]`."""
    graph = Graph()
    logits = graph.dense("logits", _body(graph, weights, depth, size), head.kernel, head.bias)
    return graph.finish({"probabilities": graph.softmax("probabilities", logits)})


def _body(graph: Graph, weights: _Weights, depth: float, size: int) -> int:
    x = graph.image("image", size)
    x = graph.conv("stem", x, *_folded(weights, "_conv_stem", "_bn0"), stride=2, relu6=True)
    for block in _blocks(depth):
        x = _block(graph, weights, block, x)
    x = graph.conv("head", x, *_folded(weights, "_conv_head", "_bn1"), relu6=True)
    return graph.pool("features", x)


class _Block(NamedTuple):
    number: int
    kernel: int
    stride: int


def _blocks(depth: float) -> Iterator[_Block]:
    number = 0
    for index, stage in enumerate(_STAGES):
        ends = index in {0, len(_STAGES) - 1}
        for first in range(stage.blocks if ends else math.ceil(stage.blocks * depth)):
            yield _Block(number, stage.kernel, 1 if first else stage.stride)
            number += 1


def _block(graph: Graph, weights: _Weights, block: _Block, x: int) -> int:
    """Add an inverted residual: expand by a 1 × 1 convolution, filter each channel, project, join the shortcut."""
    name, prefix, shortcut = f"blocks{block.number}", f"_blocks.{block.number}.", x
    if f"{prefix}_expand_conv.weight" in weights:
        x = graph.conv(f"{name}/expand", x, *_folded(weights, f"{prefix}_expand_conv", f"{prefix}_bn0"), relu6=True)
    kernel, bias = _folded(weights, f"{prefix}_depthwise_conv", f"{prefix}_bn1")
    if kernel.shape[1:] != (block.kernel, block.kernel, 1):
        raise ModelError(f"the weights are of another network: block {block.number} has a kernel {kernel.shape[1:]}")
    depthwise = np.ascontiguousarray(kernel.transpose(3, 1, 2, 0))
    x = graph.depthwise(f"{name}/depthwise", x, depthwise, bias, block.stride, relu6=True)
    project = _folded(weights, f"{prefix}_project_conv", f"{prefix}_bn2")
    joins = block.stride == 1 and graph.channels(shortcut) == len(project[1])
    x = graph.conv(f"{name}/project", x, *project, relu6=False)
    return graph.add(f"{name}/add", shortcut, x) if joins else x


def _folded(weights: _Weights, conv: str, norm: str) -> tuple[Array, Array]:
    """Fold a batch normalisation into the convolution before it.

    y = γ (x − μ) / √(σ² + ε) + β, so the kernel is scaled by γ / √(σ² + ε) and the bias is β − μ γ / √(σ² + ε).

    Some channels died in training: they give their bias, whatever comes in. A kernel of nothing has no int8 scale in
    which that bias could be written, so it gets one weight that is too small to matter.

    Returns:
        Kernel `[outputs, height, width, inputs]` and bias `[outputs]`; a depthwise kernel has one input.
    """
    kernel = _array(weights, f"{conv}.weight").astype(np.float64)
    gamma, beta, mean, variance = (
        _array(weights, f"{norm}.{part}").astype(np.float64)
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    factor = gamma / np.sqrt(variance + _EPSILON)
    scaled = (kernel * factor[:, None, None, None]).transpose(0, 2, 3, 1)
    bias = beta - mean * factor
    dead = np.abs(scaled).max(axis=(1, 2, 3)) < np.abs(bias) * _DEAD
    scaled[dead, 0, 0, 0] = np.abs(bias[dead]) * _DEAD
    return np.ascontiguousarray(scaled, np.float32), bias.astype(np.float32)


def _array(weights: _Weights, name: str) -> npt.NDArray[np.float32]:
    try:
        return weights[name]
    except KeyError:
        raise ModelError(f"the weights are of another network: they have no {name}") from None
