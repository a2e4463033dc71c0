"""The Open Inference Protocol V2 over HTTP: routes, answers and errors; one code path with /predict."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue

from imagerec_worker import budget, offload
from imagerec_worker.bundle import Bundle
from imagerec_worker.errors import BusyError, NotFoundError, ProblemError, TooLargeError
from imagerec_worker.geometry import Pixels
from imagerec_worker.recognition import Recognition, Timing
from imagerec_worker.service import Service, check_ready, current_service
from imagerec_worker.v2_request import HEADER_LENGTH, IMAGE, OUTPUTS, PIXELS, InferenceRequest, image_of, read_inference
from imagerec_worker.v2_tensors import binary_of, json_of

PREFIX = "/v2"
# The balancer waits 30 s for an answer, and gunicorn for a sign of life; each picture may take a second and more, and
# the first one may have waited for its turn.
SPEND_S = 8
# As a dear picture: from then on a child goes on, and where there may be no more children others wait for so long.
_DEAR_S, _HELD_S = budget.DEAR_WORK_NS / 1e9, 0.5
_EXTENSIONS = ["binary_tensor_data", "model_configuration"]

_PLATFORM = "litert"

blueprint = Blueprint("v2", __name__, url_prefix=PREFIX)


@blueprint.get("", strict_slashes=False)
def server() -> ResponseReturnValue:
    """Say what serves."""
    return {"name": "imagerec-worker", "version": current_service().version, "extensions": _EXTENSIONS}


@blueprint.get("/health/live")
def live() -> ResponseReturnValue:
    """Say that the process answers."""
    return {"live": True}


@blueprint.get("/health/ready")
def ready() -> ResponseReturnValue:
    """Say whether new work is welcome."""
    check_ready()
    return {"ready": True}


@blueprint.get("/models/<name>")
@blueprint.get("/models/<name>/versions/<version>")
def model(name: str, version: str | None = None) -> ResponseReturnValue:
    """Say what goes into the model and what comes out."""
    bundle = _bundle(name, version)
    return {
        "name": bundle.name,
        "versions": [bundle.version],
        "platform": _PLATFORM,
        "inputs": [_tensor(*one) for one in _inputs(bundle)],
        "outputs": [_tensor(*one) for one in _outputs(bundle)],
    }


@blueprint.get("/models/<name>/config")
@blueprint.get("/models/<name>/versions/<version>/config")
def model_config(name: str, version: str | None = None) -> ResponseReturnValue:
    """Say the same in the words of Triton's model configuration, which perf_analyzer asks for."""
    bundle = _bundle(name, version)
    return {
        "name": bundle.name,
        "platform": _PLATFORM,
        "backend": _PLATFORM,
        "max_batch_size": 0,  # the first side of each shape is how many pictures there are
        "input": [_configured(*one) | {"optional": True} for one in _inputs(bundle)],
        "output": [_configured(*one) for one in _outputs(bundle)],
    }


@blueprint.get("/models/<name>/ready")
@blueprint.get("/models/<name>/versions/<version>/ready")
def model_ready(name: str, version: str | None = None) -> ResponseReturnValue:
    """Say whether the model takes new work."""
    bundle = _bundle(name, version)
    check_ready()
    return {"name": bundle.name, "ready": True}


@blueprint.post("/models/<name>/infer")
@blueprint.post("/models/<name>/versions/<version>/infer")
def infer(name: str, version: str | None = None) -> ResponseReturnValue:
    """Classify one to 16 pictures, one after the other."""
    service = current_service()
    recognition = Recognition(service, request.environ)
    bundle = _bundle(name, version)
    asked = read_inference(request.environ, bundle, service.settings.max_bytes)
    request.environ["wsgi.input"] = io.BytesIO()  # else the body of JSON would be held beside what was read of it
    recognition.end_reading()
    columns = _recognise(service, recognition, asked)
    return _response(bundle, asked, columns, recognition.finish())


def error_response(status: int, detail: str, headers: dict[str, str]) -> Response:
    """Return an error as the protocol has it; what is wrong with a photograph is a bad request there."""
    status = 400 if status in {415, 422} else status
    return Response(json.dumps({"error": detail}) + "\n", status, headers, content_type="application/json")


def _bundle(name: str, version: str | None) -> Bundle:
    bundle = current_service().classifier.bundle
    if name != bundle.name:
        raise NotFoundError(f"there is no model '{name[:64]}'; this worker serves '{bundle.name}'")
    if version not in {None, bundle.version}:
        raise NotFoundError(f"there is no version '{version[:64]}' of '{name}'; this worker serves '{bundle.version}'")
    return bundle


def _inputs(bundle: Bundle) -> list[tuple[str, str, list[int]]]:
    """Return name, type and shape of each input; a request has one of them."""
    return [(IMAGE, "BYTES", [-1]), (PIXELS, "UINT8", [-1, bundle.input_size, bundle.input_size, 3])]


def _outputs(bundle: Bundle) -> list[tuple[str, str, list[int]]]:
    sides = {"probabilities": len(bundle.classes)}
    return [(output, datatype, [-1, sides.get(output, -1)]) for output, datatype in OUTPUTS.items()]


def _tensor(name: str, datatype: str, shape: list[int]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape}


def _configured(name: str, datatype: str, shape: list[int]) -> dict[str, Any]:
    return {"name": name, "data_type": f"TYPE_{'STRING' if datatype == 'BYTES' else datatype}", "dims": shape}


def _recognise(service: Service, recognition: Recognition, asked: InferenceRequest) -> dict[str, Any]:
    """Return each output's rows, a row for a picture."""
    rows = [recognition.infer(pixels, asked.top) for pixels in _pictures(service, recognition, asked)]
    return {
        "label": [[prediction.label for prediction in best] for _, best in rows],
        "wnid": [[prediction.wnid for prediction in best] for _, best in rows],
        "probability": np.array([[prediction.probability for prediction in best] for _, best in rows], np.float32),
        "probabilities": np.array([probabilities for probabilities, _ in rows], np.float32),
    }


def _pictures(service: Service, recognition: Recognition, asked: InferenceRequest) -> Iterator[Pixels]:
    """Yield the network's input of each picture when its turn has come, so that one is decoded at a time."""
    if asked.pixels is not None:
        yield from asked.pixels
    for number, file in enumerate(asked.files, 1):
        if recognition.spent_s > SPEND_S:
            if offload.is_child() and time.process_time() < SPEND_S:
                raise BusyError("others left these pictures little of the processor")
            raise TooLargeError(f"{number - 1} pictures took more than {SPEND_S} s; send fewer at once")
        if recognition.spent_s > _DEAR_S:
            offload.take_turn()
        if recognition.spent_s > _HELD_S and offload.holds_others_up():
            raise BusyError(
                f"others wait, and {number - 1} pictures took more than {_HELD_S} s", "send fewer at once, or try again"
            )
        # The file itself is one of the copies that its budget counts.
        beside = budget.beside_bytes.set(max(0, asked.held_bytes - len(file)))
        try:
            pixels, _ = recognition.decode(image_of(file, service.settings.max_bytes))
        except ProblemError as error:
            error.detail = f"element {number} of '{IMAGE}': {error.detail}"
            raise
        finally:
            budget.beside_bytes.reset(beside)
        yield pixels


def _response(bundle: Bundle, asked: InferenceRequest, columns: dict[str, Any], timing: Timing) -> Response:
    outputs = []
    sections = []
    for name, binary in asked.outputs:
        values = columns[name]
        output: dict[str, Any] = {"name": name, "datatype": OUTPUTS[name], "shape": [len(values), len(values[0])]}
        if binary:
            sections.append(binary_of(values))
            output["parameters"] = {"binary_data_size": len(sections[-1])}
        else:
            output["data"] = json_of(values)
        outputs.append(output)
    document = {"model_name": bundle.name, "model_version": bundle.version}
    if asked.id is not None:
        document["id"] = asked.id
    text = json.dumps({**document, "outputs": outputs}).encode() + b"\n"
    response = Response(b"".join([text, *sections]), content_type="application/json")
    if sections:
        response.content_type = "application/octet-stream"
        response.headers[HEADER_LENGTH] = str(len(text))
    response.headers["Server-Timing"] = timing.header()
    return response
