"""MobileNetV2 for small pictures, built from Keras layers.

Source: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018, table 2. Two things
differ from `keras.applications.MobileNetV2`, both for 64-pixel pictures: the strides are a setting (five halvings
leave 2 × 2 positions of a 64-pixel picture; four leave 4 × 4), and the moving averages of the batch normalisation
follow a run of thousands of steps instead of millions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras

# expansion factor, output channels at width 1, blocks, name of the stride setting's entry
_STAGES = ((1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1))


@dataclass(frozen=True, slots=True)
class Shape:
    """What decides the network's shape.

    Attributes:
        classes: number of outputs.
        width: factor on the channels of every layer ("alpha" in the paper), made a multiple of 8.
        strides: one stride for the stem and one for the first block of each of the seven stages.
        head: channels of the last 1 × 1 convolution, before pooling.
    """

    classes: int
    width: float = 1.0
    strides: tuple[int, ...] = (2, 1, 2, 2, 2, 1, 1, 1)
    head: int = 1280


def round_channels(channels: float, divisor: int = 8) -> int:
    """Round a channel count to a multiple of `divisor`, never more than a tenth downwards (the paper's rule)."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def build(shape: Shape, size: int | None = None) -> Any:
    """Build the network.

    Args:
        shape: widths and strides.
        size: side of the input in pixels; None leaves it open, which is how it trains at several sizes.

    Returns:
        A `keras.Model` from float32 [n, size, size, 3], values −1..1, to logits, float32 [n, classes].
    """
    inputs = keras.Input((size, size, 3), name="image")
    x = _conv_bn(inputs, round_channels(32 * shape.width), 3, shape.strides[0], "stem")
    x = keras.layers.ReLU(6.0, name="stem_relu")(x)
    for number, ((expansion, channels, blocks), stride) in enumerate(zip(_STAGES, shape.strides[1:], strict=True)):
        for block in range(blocks):
            x = _inverted_residual(
                x,
                round_channels(channels * shape.width),
                expansion,
                stride if block == 0 else 1,
                f"stage{number + 1}_block{block + 1}",
            )
    x = _conv_bn(x, shape.head, 1, 1, "head")
    x = keras.layers.ReLU(6.0, name="head_relu")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    x = keras.layers.Dense(shape.classes, dtype="float32", name="logits")(x)
    return keras.Model(inputs, x, name="mobilenet_v2")


def _batch_norm(x: Any, name: str, gamma: str = "ones") -> Any:
    return keras.layers.BatchNormalization(momentum=0.99, epsilon=1e-3, gamma_initializer=gamma, name=f"{name}_bn")(x)


def _conv_bn(x: Any, channels: int, kernel: int, stride: int, name: str, *, gamma: str = "ones") -> Any:
    x = keras.layers.Conv2D(
        channels, kernel, stride, padding="same", use_bias=False, kernel_initializer="he_normal", name=name
    )(x)
    return _batch_norm(x, name, gamma)


def _inverted_residual(x: Any, channels: int, expansion: int, stride: int, name: str) -> Any:
    entering = x.shape[-1]
    shortcut = x
    if expansion != 1:
        x = _conv_bn(x, entering * expansion, 1, 1, f"{name}_expand")
        x = keras.layers.ReLU(6.0, name=f"{name}_expand_relu")(x)
    x = keras.layers.DepthwiseConv2D(
        3, stride, padding="same", use_bias=False, depthwise_initializer="he_normal", name=f"{name}_depthwise"
    )(x)
    x = _batch_norm(x, f"{name}_depthwise")
    x = keras.layers.ReLU(6.0, name=f"{name}_depthwise_relu")(x)
    joins = stride == 1 and entering == channels
    # A residual branch that starts at zero makes each block an identity at first: short runs converge sooner.
    x = _conv_bn(x, channels, 1, 1, f"{name}_project", gamma="zeros" if joins else "ones")
    return keras.layers.Add(name=f"{name}_add")([shortcut, x]) if joins else x
