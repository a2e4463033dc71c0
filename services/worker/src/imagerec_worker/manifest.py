"""The bundle manifest, ``bundle.json``: what a model is, as a dataclass and as a checked JSON document."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

SCHEMA = 2
FILES = ("model.tflite", "classes.json")

Activation = Literal["softmax", "logits"]
Quantisation = Literal["int8", "float32"]

# The name and the version become part of folder names on the hosts.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
_MAX_INPUT_SIZE = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a model is and needs.

    Attributes:
        name: Short name, for example ``imagenet``.
        version: Version of the model, for example ``1.0-int8``.
        title: One line for people.
        input_size: Side of the square RGB input, in pixels.
        crop: Share of the centre square's side that the network sees, above 0 and at most 1.
        scale: Real value per pixel step; the network wants ``pixel(0..255) * scale + offset``.
        offset: Real value of pixel 0.
        activation: ``softmax`` when the outputs are probabilities, ``logits`` when they are not yet.
        background: Whether the first output is a background class, which is dropped.
        unsure_below: Probability below which the best answer is called "not sure", 0 to 1.
        quantisation: Number type of the weights.
        source: Where the model comes from.
        licence: Licence of the model file.
        notice: Sentence that users must see, or an empty string.
    """

    name: str
    version: str
    title: str
    input_size: int
    crop: float = 1.0
    scale: float
    offset: float
    activation: Activation
    background: bool = False
    unsure_below: float = 0.3
    quantisation: Quantisation
    source: str
    licence: str
    notice: str = ""

    def document(self, files: Mapping[str, str]) -> dict[str, Any]:
        """Return the JSON document.

        Args:
            files: sha256 of each of :data:`FILES`, in hexadecimal.
        """
        return {
            "schema": SCHEMA,
            "name": self.name,
            "version": self.version,
            "title": self.title,
            "input": {"size": self.input_size, "crop": self.crop, "scale": self.scale, "offset": self.offset},
            "output": {
                "activation": self.activation,
                "background": self.background,
                "unsure_below": self.unsure_below,
            },
            "quantisation": self.quantisation,
            "source": self.source,
            "licence": self.licence,
            "notice": self.notice,
            "files": dict(files),
        }


def fields(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of :class:`Manifest` that a valid document holds."""
    entry, output = document["input"], document["output"]
    return {
        **{key: document[key] for key in ("name", "version", "title", "quantisation", "source", "licence", "notice")},
        **{key: float(entry[key]) for key in ("crop", "scale", "offset")},
        "input_size": entry["size"],
        "activation": output["activation"],
        "background": output["background"],
        "unsure_below": float(output["unsure_below"]),
    }


def reasons_against(document: Any) -> list[str]:
    """Return every way in which a parsed ``bundle.json`` breaks the format."""
    if not isinstance(document, dict):
        return ["it is not a JSON object"]
    if document.get("schema") != SCHEMA:
        return [f"schema is {document.get('schema')!r}, this version reads schema {SCHEMA}"]
    reasons: list[str] = []

    def check(path: str, valid: bool, wanted: str) -> None:
        if not valid:
            reasons.append(f"{path} must be {wanted}")

    for key in ("name", "version"):
        value = document.get(key)
        check(key, isinstance(value, str) and _NAME.fullmatch(value) is not None, f"like {_NAME.pattern}")
    for key in ("title", "source", "licence", "notice"):
        check(key, isinstance(document.get(key), str), "a string")
    entry = _object(document.get("input"))
    size = entry.get("size")
    check("input.size", type(size) is int and 0 < size <= _MAX_INPUT_SIZE, f"1 to {_MAX_INPUT_SIZE} pixels")
    check("input.crop", _is_finite(entry.get("crop")) and 0 < entry["crop"] <= 1, "a number above 0, at most 1")
    check("input.scale", _is_finite(entry.get("scale")) and entry["scale"] > 0, "a number above 0")
    check("input.offset", _is_finite(entry.get("offset")), "a number")
    output = _object(document.get("output"))
    check("output.activation", output.get("activation") in get_args(Activation), _choices(Activation))
    check("output.background", isinstance(output.get("background"), bool), "true or false")
    valid = _is_finite(output.get("unsure_below")) and 0 <= output["unsure_below"] <= 1
    check("output.unsure_below", valid, "a number from 0 to 1")
    check("quantisation", document.get("quantisation") in get_args(Quantisation), _choices(Quantisation))
    files = _object(document.get("files"))
    check("files", set(files) == set(FILES), f"the sha256 of {' and of '.join(FILES)}")
    for file, digest in files.items():
        valid = isinstance(digest, str) and re.fullmatch("[0-9a-f]{64}", digest) is not None
        check(f"files[{file!r}]", valid, "64 hexadecimal digits")
    return reasons


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _choices(kind: Any) -> str:
    return " or ".join(get_args(kind))
