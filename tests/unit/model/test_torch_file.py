"""Weights are read without PyTorch, and nothing that a weights file names is ever run."""

from __future__ import annotations

import io
import pickle
import struct
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imagerec_model.errors import ModelError
from imagerec_model.torch_file import Tensor, read_tensors

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


class Named:
    """Pickles as a call of a function by its name, as PyTorch's own objects do."""

    def __init__(self, module: str, name: str, *arguments: Any) -> None:
        self.module, self.name, self.arguments = module, name, arguments


class Storage:
    """Pickles as a persistent id."""

    def __init__(self, kind: str, key: str, count: int) -> None:
        self.kind, self.key, self.count = kind, key, count


class Writer(pickle._Pickler):  # the Python one, whose steps can be written by hand
    def persistent_id(self, value: Any) -> Any:
        if isinstance(value, Storage):
            return ("storage", Named("torch", value.kind), value.key, "cpu", value.count, None)
        return None

    def save(self, value: Any, save_persistent_id: bool = True) -> None:
        if isinstance(value, Named):
            self.write(f"c{value.module}\n{value.name}\n".encode())
            if value.arguments:
                super().save(value.arguments)
                self.write(b"R")
            return
        super().save(value, save_persistent_id)


def dump(value: Any) -> bytes:
    stream = io.BytesIO()
    Writer(stream, protocol=2).dump(value)
    return stream.getvalue()


def tensor(key: str, count: int, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0) -> Named:
    storage = Storage("FloatStorage", key, count)
    return Named("torch._utils", "_rebuild_tensor_v2", storage, offset, shape, strides, False, OrderedDict())


def torch_file(state: dict[str, Any], storages: dict[str, bytes], magic: int = MAGIC) -> bytes:
    head = [dump(one) for one in (magic, PROTOCOL, {"little_endian": True}, OrderedDict(state), list(storages))]
    return b"".join(head + [struct.pack("<q", len(values) // 4) + values for values in storages.values()])


SIX = np.arange(6, dtype="<f4")


def test_tensors_come_in_their_shapes() -> None:
    state = {
        "row": tensor("1", 6, (2, 3), (3, 1)),
        "turned": tensor("1", 6, (3, 2), (1, 3)),
        "part": tensor("1", 6, (2,), (1,), 4),
    }
    found = read_tensors(torch_file(state, {"1": SIX.tobytes()}))
    assert list(found) == ["row", "turned", "part"]
    np.testing.assert_array_equal(found["row"], SIX.reshape(2, 3))
    np.testing.assert_array_equal(found["turned"], SIX.reshape(2, 3).T)
    np.testing.assert_array_equal(found["part"], [4, 5])


class Hostile:
    """A pickle that writes a file when it is loaded by an unrestricted reader."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return exec, (f"open({str(self.path)!r}, 'w').close()",)


@pytest.mark.parametrize("place", [0, 1, 2, 3, 4], ids=["magic", "protocol", "system", "state", "keys"])
def test_a_pickle_that_names_anything_else_is_refused_and_not_run(tmp_path: Path, place: int) -> None:
    proof = tmp_path / "was-run"
    parts = [dump(one) for one in (MAGIC, PROTOCOL, {}, OrderedDict(), [])]
    parts[place] = pickle.dumps(Hostile(proof), protocol=2)
    pickle.loads(parts[place])  # the hostile file is really one
    assert proof.exists()
    proof.unlink()
    with pytest.raises(ModelError, match=r"name \w+\.exec, which is no part of a tensor; nothing of it was run"):
        read_tensors(b"".join(parts))
    assert not proof.exists()


@pytest.mark.parametrize(
    "name", ["os.system", "builtins.getattr", "torch._utils._rebuild_parameter", "collections.Counter", "numpy.load"]
)
def test_only_four_names_are_known(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    with pytest.raises(ModelError, match=f"name {name}, which is no part of a tensor"):
        read_tensors(torch_file({"x": Named(module, attribute)}, {}))


DAMAGED = {
    "empty": (b"", "are damaged"),
    "text": (b"not found", "are damaged"),
    "zip": (b"PK\x03\x04" + bytes(60), "are damaged"),
    "another magic number": (torch_file({}, {}, magic=7), "no PyTorch file of the kind"),
    "values missing": (torch_file({"x": tensor("1", 6, (6,), (1,))}, {"1": SIX.tobytes()})[:-4], "are damaged"),
    "count of another storage": (torch_file({"x": tensor("1", 6, (6,), (1,))}, {"1": b""}), "0 values, not 6"),
    "beyond the storage": (torch_file({"x": tensor("1", 6, (7,), (1,))}, {"1": SIX.tobytes()}), "outside its storage"),
    "stride beyond": (torch_file({"x": tensor("1", 6, (2, 3), (4, 1))}, {"1": SIX.tobytes()}), "outside its storage"),
    "before the storage": (torch_file({"x": tensor("1", 6, (2,), (-1,), 3)}, {"1": SIX.tobytes()}), "outside its"),
    "storage missing": (torch_file({"x": tensor("1", 6, (6,), (1,))}, {}), "are damaged"),
    "no tensor": (torch_file({"x": 7}, {}), "are damaged"),
}


@pytest.mark.parametrize(("content", "reason"), DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        read_tensors(content)


def test_the_published_weights_are_read_whole(weights: dict[str, Tensor]) -> None:
    assert len(weights) == 296
    assert weights["_fc.weight"].shape == (1000, 1280)
    assert all(np.isfinite(one).all() for one in weights.values())
