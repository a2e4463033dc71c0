"""An inference request of the Open Inference Protocol V2: from the body to tensors, with every mistake named."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

from imagerec_worker import budget
from imagerec_worker.bundle import Bundle
from imagerec_worker.errors import BadParameterError, TooLargeError
from imagerec_worker.geometry import Pixels
from imagerec_worker.recognition import TOP, TOP_DEFAULT, TOP_MAX, TOP_WANTED
from imagerec_worker.uploads import ENVELOPE_BYTES, read_body, too_large
from imagerec_worker.v2_tensors import (
    file_of_text,
    files_of_binary,
    pixels_of_binary,
    pixels_of_json,
    texts_of_json,
)

HEADER_LENGTH = "Inference-Header-Content-Length"
BATCH_MAX = 16
IMAGE, PIXELS = "image", "pixels"
OUTPUTS = {"label": "BYTES", "wnid": "BYTES", "probability": "FP32", "probabilities": "FP32"}
# Triton's own parameters of a request and their types. They order requests in its queue; here a queue has one order.
IGNORED: dict[str, str | list[str]] = {
    "priority": "integer",
    "timeout": "integer",
    "sequence_id": ["integer", "string"],
    "sequence_start": "boolean",
    "sequence_end": "boolean",
}

_BINARY_SIZE, _BINARY, _BINARY_ALL = "binary_data_size", "binary_data", "binary_data_output"
_SHARED_MEMORY = "shared_memory_region"
_SHOWN = 64


class InferenceRequest(NamedTuple):
    """What an inference request asks for.

    Attributes:
        id: The client's name for it; None when it has none.
        top: How many of the most probable classes are wanted.
        outputs: Name of each wanted output, and whether it is wanted in binary.
        files: The elements of the input ``image``: bytes, or base64; empty for ``pixels``.
        pixels: The input ``pixels``, ``uint8 [n, size, size, 3]``, or None.
        held_bytes: Memory that all of it takes until the last picture is decoded.
    """

    id: str | None
    top: int
    outputs: list[tuple[str, bool]]
    files: Sequence[memoryview | str]
    pixels: Pixels | None
    held_bytes: int


def image_of(file: memoryview | str, max_bytes: int) -> bytes:
    """Return the image of one element of the input ``image``.

    Raises:
        BadParameterError: It is empty or no base64.
        TooLargeError: It has more than ``max_bytes`` bytes.
    """
    data = file_of_text(file) if isinstance(file, str) else bytes(file)
    if not data:
        raise BadParameterError("it is empty; send a file with content")
    if len(data) > max_bytes:
        raise TooLargeError(too_large(max_bytes))
    return data


def read_inference(environ: Mapping[str, Any], bundle: Bundle, max_bytes: int) -> InferenceRequest:
    """Read an inference request.

    Args:
        environ: The request's WSGI environment.
        bundle: The bundle that answers.
        max_bytes: Largest image, in bytes; all of a request together may have :data:`ENVELOPE_BYTES` more.

    Raises:
        BadParameterError: It is no inference request, or asks for what this model does not have.
        TooLargeError: It is beyond a limit.
        ClientDisconnected: The body ends too early (Werkzeug's error).
    """
    encoding = environ.get("HTTP_CONTENT_ENCODING", "identity")
    if encoding.lower() != "identity":
        raise BadParameterError(f"the body is encoded as '{encoding[:_SHOWN]}'; send it as it is")
    limit = max_bytes + ENVELOPE_BYTES
    body = read_body(environ, limit, f"a request may have at most {limit} bytes; send fewer or smaller images")
    text, binary = _split(body, environ.get("HTTP_" + HEADER_LENGTH.upper().replace("-", "_")))
    document = _document(text)
    parameters = _parameters(document, "the request")
    inputs = _objects(document, "inputs")
    if len(inputs) != 1:
        raise BadParameterError(f"the request has {len(inputs)} inputs; send one, '{IMAGE}' or '{PIXELS}'")
    files, pixels = _tensor(inputs[0], binary, bundle.input_size)
    identity = document.get("id")
    if identity is not None and type(identity) is not str:
        raise BadParameterError("the request's id must be a string")
    texts = [text for text in (identity, *files) if isinstance(text, str)]  # one letter may make four bytes of each
    held_bytes = sum(map(sys.getsizeof, texts)) + (len(body) if binary else 0)
    return InferenceRequest(identity, _top(parameters), _outputs(document, parameters), files, pixels, held_bytes)


def _split(body: bytes, header: str | None) -> tuple[bytes, memoryview]:
    """Return the JSON and the binary data behind it."""
    if header is None:
        return body, memoryview(b"")
    length = int(header) if header.isascii() and header.isdigit() and len(header) < 16 else -1
    if not 0 < length <= len(body):
        raise BadParameterError(
            f"{HEADER_LENGTH} is '{header[:_SHOWN]}'; it must be the length of the JSON at the front of the body, "
            f"which has {len(body)} bytes"
        )
    return body[:length], memoryview(body)[length:]


def _document(text: bytes) -> dict[str, Any]:
    budget.check_json(text)
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = str(error).partition(":")[0] if isinstance(error, json.JSONDecodeError) else "it cannot be read"
        raise BadParameterError(
            f"the body is not JSON ({reason}); where binary data follow it, {HEADER_LENGTH} must say how long it is"
        ) from None
    if type(document) is not dict:
        raise BadParameterError("the body must be a JSON object with inputs")
    return document


def _objects(document: dict[str, Any], key: str) -> list[dict[str, Any]]:
    entries = document.get(key)
    if type(entries) is not list or not all(type(entry) is dict for entry in entries):
        raise BadParameterError(f"{key} must be a list of JSON objects")
    return entries


def _parameters(document: dict[str, Any], whose: str) -> dict[str, Any]:
    parameters = document.get("parameters")
    if parameters is None:
        return {}
    if type(parameters) is not dict:
        raise BadParameterError(f"the parameters of {whose} must be a JSON object")
    parameters = {name: value for name, value in parameters.items() if value is not None}
    if _SHARED_MEMORY in parameters:
        raise BadParameterError(f"{whose} has {_SHARED_MEMORY}; memory is not shared here, send and take tensors")
    return parameters


def _top(parameters: dict[str, Any]) -> int:
    for name in parameters:
        if name not in {TOP, _BINARY_ALL, *IGNORED}:
            likely = get_close_matches(name[:_SHOWN], [TOP, _BINARY_ALL], cutoff=0.5)
            advice = f"did you mean {likely[0]}?" if likely else f"there are {TOP} and {_BINARY_ALL}"
            raise BadParameterError(f"the request has no parameter '{name[:_SHOWN]}'; {advice}")
    top = parameters.get(TOP, TOP_DEFAULT)
    if type(top) is not int or not 1 <= top <= TOP_MAX:
        raise BadParameterError(TOP_WANTED)
    return top


def _truth(parameters: dict[str, Any], key: str, default: bool) -> bool:
    value = parameters.get(key, default)
    if type(value) is not bool:
        raise BadParameterError(f"{key} must be true or false")
    return value


def _outputs(document: dict[str, Any], parameters: dict[str, Any]) -> list[tuple[str, bool]]:
    binary = _truth(parameters, _BINARY_ALL, False)
    if document.get("outputs") in (None, []):
        return [(name, binary) for name in OUTPUTS]
    wanted: dict[str, bool] = {}
    for entry in _objects(document, "outputs"):
        name = _name(entry, OUTPUTS, "output")
        own = _parameters(entry, f"output '{name}'")
        if "classification" in own:
            raise BadParameterError(f"output '{name}': there is no classification; ask for label, with parameter {TOP}")
        if name in wanted:
            raise BadParameterError(f"output '{name}' is asked for twice")
        wanted[name] = _truth(own, _BINARY, binary)
    return list(wanted.items())


def _name(entry: dict[str, Any], known: Collection[str], kind: str) -> str:
    name = entry.get("name")
    if type(name) is not str or name not in known:
        shown = f"'{name[:_SHOWN]}'" if type(name) is str else "without a name"
        raise BadParameterError(f"there is no {kind} {shown}; there are {', '.join(known)}")
    return name


def _tensor(entry: dict[str, Any], binary: memoryview, size: int) -> tuple[Sequence[memoryview | str], Pixels | None]:
    name = _name(entry, (IMAGE, PIXELS), "input")
    datatype, sides = ("BYTES", ()) if name == IMAGE else ("UINT8", (size, size, 3))
    if entry.get("datatype") != datatype:
        raise BadParameterError(f"'{name}' has datatype {_shown(entry.get('datatype'))}; it must be {datatype}")
    shape = _shape(entry, name, sides)
    length = _parameters(entry, f"input '{name}'").get(_BINARY_SIZE)
    if length is None:
        if len(binary):
            raise BadParameterError(
                f"{len(binary)} bytes follow the JSON; the parameter {_BINARY_SIZE} must claim them"
            )
        data = entry.get("data")
        if data is None:
            raise BadParameterError(f"'{name}' has neither data nor the parameter {_BINARY_SIZE}")
        return (texts_of_json(data, shape[0], name), None) if name == IMAGE else ((), pixels_of_json(data, shape, name))
    if type(length) is not int or length != len(binary):
        raise BadParameterError(
            f"'{name}' has {_BINARY_SIZE} {_shown(length)}, but {len(binary)} bytes follow the JSON; "
            "send the binary data whole and nothing else"
        )
    if entry.get("data") is not None:
        raise BadParameterError(f"'{name}' has data and {_BINARY_SIZE}; send it once")
    if name == IMAGE:
        return files_of_binary(binary, shape[0], name), None
    return (), pixels_of_binary(binary, shape, name)


def _shown(value: object) -> str:
    """Return what a message shows of a value: the beginning of a text, a number, of a container only what it is."""
    if isinstance(value, str):
        return json.dumps(value[:_SHOWN])
    if isinstance(value, int):
        return json.dumps(value) if value.bit_length() <= 64 else "a very large number"
    kinds = {float: "a number", list: "a list", dict: "an object"}
    return next((name for kind, name in kinds.items() if isinstance(value, kind)), "null")


def _shape(entry: dict[str, Any], name: str, sides: tuple[int, ...]) -> list[int]:
    shape = entry.get("shape")
    wanted = f"[{', '.join(['n', *map(str, sides)])}], n from 1 to {BATCH_MAX}"
    if type(shape) is not list or not shape or not all(type(side) is int for side in shape):
        raise BadParameterError(f"'{name}' has no shape of whole numbers; it must be {wanted}")
    if tuple(shape[1:]) != sides or not 1 <= shape[0] <= BATCH_MAX:
        raise BadParameterError(f"'{name}' has shape [{', '.join(map(_shown, shape[:8]))}]; it must be {wanted}")
    return shape
