"""What the graph writer writes is what LiteRT computes: each operation against numpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from ai_edge_litert.interpreter import Interpreter

from imagerec_model.litert_graph import Graph

Array = npt.NDArray[np.float32]
RANDOM = np.random.default_rng(7)


def random(*shape: int) -> Array:
    return RANDOM.normal(size=shape).astype(np.float32)


def run(content: bytes, image: Array) -> Array:
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    (output,) = interpreter.get_output_details()
    return np.asarray(interpreter.get_tensor(output["index"]))


def written(build: Callable[[Graph, int], int], size: int) -> bytes:
    graph = Graph()
    return graph.finish({"out": build(graph, graph.image("image", size))})


def convolved(image: Array, kernel: Array, stride: int) -> npt.NDArray[np.float64]:
    """The slow way; padding as TensorFlow's SAME: the odd pixel goes to the right and below."""
    _, size, _, channels = image.shape
    outputs, side, _, _ = kernel.shape
    out = -(-size // stride)
    total = max((out - 1) * stride + side - size, 0)
    padded = np.zeros((size + total, size + total, channels))
    padded[total // 2 : total // 2 + size, total // 2 : total // 2 + size] = image[0]
    result = np.zeros((1, out, out, outputs))
    for row in range(out):
        for column in range(out):
            patch = padded[row * stride : row * stride + side, column * stride : column * stride + side]
            result[0, row, column] = np.einsum("hwc,ohwc->o", patch, kernel)
    return result


@pytest.mark.parametrize("size", [8, 9], ids=["even", "odd"])
@pytest.mark.parametrize("stride", [1, 2], ids=["stride-1", "stride-2"])
@pytest.mark.parametrize("side", [1, 3, 5], ids=["1px", "3px", "5px"])
def test_a_convolution(size: int, stride: int, side: int) -> None:
    image, kernel, bias = random(1, size, size, 3), random(4, side, side, 3), random(4)
    content = written(lambda graph, x: graph.conv("out", x, kernel, bias, stride, relu6=True), size)
    np.testing.assert_allclose(run(content, image), np.clip(convolved(image, kernel, stride) + bias, 0, 6), atol=1e-4)


@pytest.mark.parametrize("stride", [1, 2], ids=["stride-1", "stride-2"])
def test_a_depthwise_convolution(stride: int) -> None:
    image, kernel, bias = random(1, 8, 8, 3), random(1, 5, 5, 3), random(3)
    content = written(lambda graph, x: graph.depthwise("out", x, kernel, bias, stride, relu6=False), 8)
    whole = np.zeros((3, 5, 5, 3), np.float32)
    for channel in range(3):
        whole[channel, :, :, channel] = kernel[0, :, :, channel]
    np.testing.assert_allclose(run(content, image), convolved(image, whole, stride) + bias, atol=1e-4)


def test_a_sum_a_pool_a_layer_and_probabilities() -> None:
    image, kernel, bias = random(1, 6, 6, 3), random(4, 3), random(4)

    def build(graph: Graph, x: int) -> int:
        pooled = graph.pool("pool", graph.add("sum", x, x))
        return graph.softmax("out", graph.dense("logits", pooled, kernel, bias))

    logits = kernel @ (2 * image).mean(axis=(0, 1, 2)) + bias
    wanted = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(run(written(build, 6), image)[0], wanted, atol=1e-5)


def test_the_same_calls_give_the_same_bytes() -> None:
    kernel, bias = random(4, 3, 3, 3), random(4)
    first, again = (written(lambda graph, x: graph.conv("c", x, kernel, bias, relu6=True), 8) for _ in range(2))
    assert first == again
