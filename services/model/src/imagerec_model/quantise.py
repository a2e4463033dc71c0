"""From a float32 LiteRT file to int8, by ranges of its tensors that were measured once.

The quantiser needs the range of every tensor between two operations. `calibrate` measures them on photographs;
`data/ranges` holds what it measured, so that making a bundle needs no photographs and gives the same bytes each time.
"""

from __future__ import annotations

import contextlib
import csv
import io
import warnings
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt

from imagerec_model.errors import ModelError
from imagerec_model.litert_graph import SIGNATURE

Ranges = Mapping[str, tuple[float, float]]

# Probabilities below 1/256 must keep their rank, so the last step and what leaves the network stay float32.
FLOAT_OPERATIONS = ("SOFTMAX", "OUTPUT")


def to_int8(network: bytes, ranges: Ranges, float_operations: Iterable[str] = FLOAT_OPERATIONS) -> bytes:
    """Convert a float32 network to int8 weights and activations.

    Args:
        network: LiteRT file; its input becomes int8.
        ranges: lowest and highest value of each tensor by its name.
        float_operations: operations that stay float32, by LiteRT's names; `OUTPUT` is what leaves the network.

    Raises:
        ModelError: a tensor has no range.
    """
    quantiser = _quantiser(network, float_operations)
    statistics = {name: {"min": _value(low), "max": _value(high)} for name, (low, high) in ranges.items()}
    try:
        with _silence():
            result = quantiser.quantize(statistics, enable_progress_report=False)
    except (KeyError, ValueError) as error:
        raise ModelError(
            f"the table of ranges does not fit the network ({error}); measure it again with `imagerec-model calibrate`"
        ) from error
    return bytes(result.quantized_model)


def calibrate(network: bytes, inputs: Iterable[npt.NDArray[np.float32]]) -> dict[str, tuple[float, float]]:
    """Measure the range of every tensor.

    Args:
        network: float32 LiteRT file with one input called `image`.
        inputs: what it is given, each float32 `[1, size, size, 3]`.

    Returns:
        Lowest and highest value by the tensor's name; a moving average over the inputs, which a stray one does not
        stretch.
    """
    quantiser = _quantiser(network, FLOAT_OPERATIONS)
    with _silence():
        found = quantiser.calibrate({SIGNATURE: [{"image": one} for one in inputs]})
    return {name: (float(one["min"].min()), float(one["max"].max())) for name, one in found.items()}


def read_ranges(network: str, size: int) -> dict[str, tuple[float, float]]:
    """Return the committed ranges of a network, such as `lite0`, at an input size in pixels.

    Raises:
        ModelError: this size was never measured.
    """
    rows = csv.DictReader(_table(network).read_text(encoding="utf-8").splitlines())
    ranges = {row["tensor"]: (float(row["low"]), float(row["high"])) for row in rows if int(row["size"]) == size}
    if not ranges:
        raise ModelError(f"{network} has no ranges for {size} px; its sizes are {', '.join(map(str, sizes(network)))}")
    return ranges


def sizes(network: str) -> list[int]:
    """Return the input sizes whose ranges were measured, in pixels."""
    rows = csv.DictReader(_table(network).read_text(encoding="utf-8").splitlines())
    return sorted({int(row["size"]) for row in rows})


def write_ranges(network: str, ranges: Mapping[int, Ranges]) -> str:
    """Replace the committed table of a network by ranges for each input size in pixels; return its path."""
    path = str(_table(network))
    with open(path, "w", newline="", encoding="utf-8") as file:  # noqa: PTH123  # a resource, not always a path
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("size", "tensor", "low", "high"))
        for size, tensors in ranges.items():
            table.writerows((size, name, f"{low:.6g}", f"{high:.6g}") for name, (low, high) in tensors.items())
    return path


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep the library's progress bars and its warnings of memory off the terminal: these networks are small."""
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.filterwarnings("ignore", "Warning: Enabling `experimental_preserve_all_tensors`")
        yield


def _table(network: str) -> Any:
    return resources.files("imagerec_model") / "data" / "ranges" / f"{network}.csv"


def _value(number: float) -> npt.NDArray[np.float32]:
    return np.full((1, 1), number, np.float32)


def _quantiser(network: bytes, float_operations: Iterable[str]) -> Any:
    # The library takes a third of a second to import, and only int8 needs it.
    from ai_edge_quantizer import quantizer, recipe  # noqa: PLC0415
    from ai_edge_quantizer.algorithm_manager import AlgorithmName  # noqa: PLC0415

    made = quantizer.Quantizer(bytearray(network))
    made.load_quantization_recipe(recipe.static_wi8_ai8())
    for operation in float_operations:
        made.update_quantization_recipe(".*", operation, algorithm_key=AlgorithmName.NO_QUANTIZE)
    return made
