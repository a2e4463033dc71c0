"""JPEG by libjpeg-turbo, which shrinks while it decodes; nearly every photograph needs no other decoder."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image

from imagerec_worker.geometry import Pixels, Target, centre_square, upright
from imagerec_worker.sources import Box, Source

# How it says that pixels are missing.
_MISSING = "premature end"


def decode_colours(data: bytes, orientation: int, target: Target) -> Pixels | None:
    """Return the upright square of a JPEG in colour or grey, resized by OpenCV; None where Pillow must decode it.

    Raises:
        ValueError: Pixels are missing.
    """
    try:
        stored_height, stored_width, _, _ = simplejpeg.decode_jpeg_header(data)
        # The fast transforms err by a few steps a pixel, which averages out unless few pixels are spread over many.
        fast = target.side(stored_width, stored_height) >= target.size
        least = target.least() if fast else 0  # 0: never scale
        # min_factor=2 leaves out the scales between 1/2 and 1, which no vector code of the library does.
        decoded = simplejpeg.decode_jpeg(
            data, "RGB", fastdct=fast, fastupsample=fast, min_height=least, min_width=least, min_factor=2
        )
    except ValueError as error:
        _raise_if_missing(error)
        return None
    height, width = decoded.shape[:2]
    side, size = target.side(width, height), target.size
    left, top = centre_square(width, height, orientation, side)
    # Two taps see every pixel up to a factor of two; 1/8 is the library's smallest scale.
    method = cv2.INTER_LINEAR if side < 2 * size else cv2.INTER_AREA
    square = cv2.resize(decoded[top : top + side, left : left + side], (size, size), interpolation=method)
    return square if orientation == 1 else upright(square, orientation)


def decode_inks(data: bytes, least: int) -> Source | None:
    """Return the picture of a JPEG of four inks, shrunk to no less than ``least`` pixels; None where Pillow must do it.

    Pillow would not miss any pixels.

    Raises:
        ValueError: Pixels are missing.
    """
    try:
        inks: npt.NDArray[np.uint8] = simplejpeg.decode_jpeg(
            data, "CMYK", min_height=least, min_width=least, min_factor=2
        )
    except ValueError as error:
        _raise_if_missing(error)
        return None

    def read(box: Box) -> Image.Image:
        # The numbers say what each ink leaves white, as Adobe writes them.
        return Image.fromarray(~inks[box[1] : box[3], box[0] : box[2]], "CMYK").convert("RGB")

    size = inks.shape[1], inks.shape[0]
    return Source(size, 0, 0, size, read)


def _raise_if_missing(error: ValueError) -> None:
    """Raise it where pixels are missing. Of any other warning Pillow knows whether it may be forgiven."""
    if _MISSING in str(error).lower():
        raise error
