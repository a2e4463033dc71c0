"""Tensors of the Open Inference Protocol V2: in JSON, and in the binary extension's bytes behind the JSON."""

from __future__ import annotations

import base64
import binascii
import math
import struct
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from imagerec_worker.errors import BadParameterError
from imagerec_worker.geometry import Pixels

_LENGTH = struct.Struct("<I")


def files_of_binary(section: memoryview, count: int, name: str) -> list[memoryview]:
    """Cut a BYTES tensor into its ``count`` elements, each with its length before it, without copying any.

    Raises:
        BadParameterError: The section does not hold ``count`` elements.
    """
    files: list[memoryview] = []
    position = 0
    while position < len(section):
        start = position + _LENGTH.size
        if start > len(section) or start + _LENGTH.unpack_from(section, position)[0] > len(section):
            raise BadParameterError(
                f"the binary data of '{name}' ends inside element {len(files) + 1}; each is 4 bytes with its length"
                " (little-endian), then its bytes"
            )
        position = start + _LENGTH.unpack_from(section, position)[0]
        files.append(section[start:position])
        if len(files) > count:
            break
    if len(files) != count:
        found = "more" if len(files) > count else str(len(files))
        raise BadParameterError(f"'{name}' has shape [{count}], its binary data holds {found} elements; let them agree")
    return files


def texts_of_json(data: Any, count: int, name: str) -> list[str]:
    """Return the elements of a BYTES tensor in JSON.

    Raises:
        BadParameterError: They are not ``count`` strings.
    """
    if type(data) is not list or not all(type(element) is str for element in data):
        raise BadParameterError(f"the data of '{name}' must be a list of strings, each a file in base64")
    if len(data) != count:
        raise BadParameterError(f"'{name}' has shape [{count}], its data has {len(data)} elements; let them agree")
    return data


def file_of_text(text: str) -> bytes:
    """Return the file that a string holds in base64.

    Raises:
        BadParameterError: It is no base64.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadParameterError("it is no base64; encode the file, or send it in binary") from None


def pixels_of_binary(section: memoryview, shape: Sequence[int], name: str) -> Pixels:
    """Return a UINT8 tensor that looks into its section.

    Raises:
        BadParameterError: The section is longer or shorter than the shape says.
    """
    wanted = math.prod(shape)
    if len(section) != wanted:
        raise BadParameterError(
            f"'{name}' has shape {list(shape)}, which is {wanted} bytes; its binary data has {len(section)}"
        )
    return np.frombuffer(section, np.uint8).reshape(shape)


def pixels_of_json(data: Any, shape: Sequence[int], name: str) -> Pixels:
    """Return a UINT8 tensor whose data are numbers, flat or nested as the shape says.

    Raises:
        BadParameterError: They are not, or are no whole numbers from 0 to 255.
    """
    flat: list[Any] = data if type(data) is list else []
    for side in shape[1:]:
        if not flat or type(flat[0]) is not list:
            break
        if set(map(type, flat)) != {list} or set(map(len, flat)) != {side}:
            raise BadParameterError(f"the data of '{name}' are nested otherwise than its shape {list(shape)} says")
        flat = list(chain.from_iterable(flat))
    wanted = math.prod(shape)
    if len(flat) != wanted:
        raise BadParameterError(
            f"'{name}' has shape {list(shape)}, which is {wanted} numbers; its data has {len(flat)}"
        )
    try:
        if set(map(type, flat)) == {int}:
            return np.frombuffer(bytes(flat), np.uint8).reshape(shape)
    except ValueError:
        pass
    raise BadParameterError(f"'{name}' is UINT8; its data must be whole numbers from 0 to 255")


def json_of(values: Sequence[Sequence[str]] | npt.NDArray[np.float32]) -> list[Any]:
    """Return the elements of a matrix in rows, flat, as JSON has them."""
    if isinstance(values, np.ndarray):
        flat: list[Any] = values.ravel().tolist()
        return flat
    return list(chain.from_iterable(values))


def binary_of(values: Sequence[Sequence[str]] | npt.NDArray[np.float32]) -> bytes:
    """Return the bytes of a matrix in rows: FP32 in little-endian, texts each with its length before it."""
    if isinstance(values, np.ndarray):
        return values.astype("<f4").tobytes()
    encoded = (text.encode() for text in chain.from_iterable(values))
    return b"".join(_LENGTH.pack(len(element)) + element for element in encoded)
