"""Which square of a stored image the network sees, and which way up."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]

# EXIF orientation → how the stored rows and columns become upright: transpose, then flip rows, columns.
_UPRIGHT = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


class Target(NamedTuple):
    """The network's input: its side in pixels, and the share of the centre square's side that it shows."""

    size: int
    crop: float

    def side(self, width: int, height: int) -> int:
        """Return the side of the square that is cut out of an image, in pixels."""
        return max(1, round(min(width, height) * self.crop))

    def least(self, gap: int = 1) -> int:
        """Return the least side of a shrunk image of which ``gap`` times the input can be cut, in pixels."""
        return math.ceil(gap * self.size / self.crop)


def centre_square(width: int, height: int, orientation: int, side: int) -> tuple[int, int]:
    """Return left and top of a centre square of the given side, as stored.

    The odd pixel of a margin is to the right of and below the square in the upright image.
    """
    transpose, flip_rows, flip_columns = _UPRIGHT[orientation]
    flip_x, flip_y = (flip_rows, flip_columns) if transpose else (flip_columns, flip_rows)
    return (width - side + flip_x) // 2, (height - side + flip_y) // 2


def swaps_sides(orientation: int) -> bool:
    """Return whether the upright image is as wide as the stored one is high."""
    return _UPRIGHT[orientation][0]


def upright(pixels: Pixels, orientation: int) -> Pixels:
    """Return the upright image, ``[height, width, channels]``, contiguous."""
    transpose, flip_rows, flip_columns = _UPRIGHT[orientation]
    if transpose:
        pixels = pixels.transpose(1, 0, 2)
    pixels = pixels[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]
    return np.ascontiguousarray(pixels)
