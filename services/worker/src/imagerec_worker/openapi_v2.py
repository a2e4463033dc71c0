"""The part of the API's description that is the Open Inference Protocol V2, for one bundle."""

from __future__ import annotations

from imagerec_worker.bundle import Bundle
from imagerec_worker.openapi_schemas import FILE, TEXT, Json, answered, asked, described, listed, refer
from imagerec_worker.recognition import TOP, TOP_DEFAULT, TOP_MAX
from imagerec_worker.v2_request import BATCH_MAX, HEADER_LENGTH, IGNORED, IMAGE, OUTPUTS, PIXELS

BOTH = ["worker", "balancer"]
# What the balancer says by itself of any request that it passes on.
PASSED_ON = (400, 401, 414, 429, 431, 502, 503)
_PARAMETERS: Json = {"type": "object"}
_ERRORS = {
    400: "The request, or a photograph in it, is not right.",
    401: "A key is needed.",
    404: "There is no such model or version.",
    413: "The request, or a photograph in it, is too large.",
    414: "The address is too long.",
    429: "Busy, or too many requests.",
    431: "The headers are too large.",
    502: "The worker did not answer.",
    503: "Nobody serves, or the worker is being taken out of service.",
}


def paths(bundle: Bundle) -> Json:
    """Return the paths below ``/v2``."""
    found: Json = {
        "/v2": {"get": _operation("Say what serves.", "V2Server")},
        "/v2/health/live": {"get": _operation("Say that the process answers.", "V2Live")},
        "/v2/health/ready": {"get": _operation("Say whether new work is welcome.", "V2Ready")},
    }
    name = _in_path("name", bundle.name)
    for prefix, parameters in (
        ("/v2/models/{name}", [name]),
        ("/v2/models/{name}/versions/{version}", [name, _in_path("version", bundle.version)]),
    ):
        for rest, what, schema in (
            ("", "Say what goes in and comes out.", "V2Model"),
            ("/ready", "Say whether the model takes new work.", "V2ModelReady"),
            ("/config", "Say it in the words of Triton's model configuration.", "V2Config"),
        ):
            found[prefix + rest] = {"parameters": parameters, "get": _operation(what, schema, 404)}
        found[f"{prefix}/infer"] = {"parameters": parameters, "post": _infer()}
    return found


def schemas(bundle: Bundle) -> Json:
    """Return the schemas of requests and answers."""
    size = bundle.input_size
    numbers = listed({"type": "integer", "minimum": 0, "maximum": 255})
    image = _tensor(IMAGE, "BYTES", [], listed(TEXT, 1, BATCH_MAX))
    pixels = _tensor(PIXELS, "UINT8", [size, size, 3], {"anyOf": [numbers, listed(listed({}))]})
    output = {
        "name": {"enum": list(OUTPUTS)},
        "datatype": {"enum": sorted(set(OUTPUTS.values()))},
        "shape": listed({"type": "integer", "minimum": 1}, 2, 2),
        "data": listed({"type": ["string", "number"]}),
        "parameters": _PARAMETERS,
    }
    tensors = listed(described({"name": TEXT, "datatype": TEXT, "shape": listed({"type": "integer"})}))
    of_configuration = {
        "name": TEXT,
        "data_type": TEXT,
        "dims": listed({"type": "integer"}),
        "optional": {"const": True},
    }
    configured = listed(described(of_configuration, "optional"))
    return {
        "V2Error": described({"error": TEXT}),
        "V2Server": described({"name": TEXT, "version": TEXT, "extensions": listed(TEXT)}),
        "V2Live": described({"live": {"const": True}}),
        "V2Ready": described({"ready": {"const": True}}),
        "V2Model": described(
            {
                "name": {"const": bundle.name},
                "versions": {"const": [bundle.version]},
                "platform": TEXT,
                "inputs": tensors,
                "outputs": tensors,
            }
        ),
        "V2Config": described(
            {
                "name": {"const": bundle.name},
                "platform": TEXT,
                "backend": TEXT,
                "max_batch_size": {"const": 0},
                "input": configured,
                "output": configured,
            }
        ),
        "V2ModelReady": described({"name": {"const": bundle.name}, "ready": {"const": True}}),
        "V2Request": {
            "type": "object",
            "properties": {
                "id": TEXT,
                "parameters": {
                    "type": "object",
                    "properties": {
                        TOP: {"type": "integer", "minimum": 1, "maximum": TOP_MAX, "default": TOP_DEFAULT},
                        "binary_data_output": {"type": "boolean", "default": False},
                        **{name: {"type": kind, "description": "Has no effect."} for name, kind in IGNORED.items()},
                    },
                    "additionalProperties": False,
                },
                "inputs": listed({"oneOf": [image, pixels]}, 1, 1),
                "outputs": listed(
                    described({"name": {"enum": list(OUTPUTS)}, "parameters": _PARAMETERS}, "parameters")
                ),
            },
            "required": ["inputs"],
        },
        "V2Answer": described(
            {
                "model_name": {"const": bundle.name},
                "model_version": {"const": bundle.version},
                "id": TEXT,
                "outputs": listed(described(output, "data", "parameters")),
            },
            "id",
        ),
    }


def _infer() -> Json:
    binary = {"schema": FILE}
    operation = _operation(f"Classify 1 to {BATCH_MAX} pictures.", "V2Answer", 404, 413)
    length: Json = {"type": "integer", "minimum": 1}
    operation["parameters"] = [
        asked("header", HEADER_LENGTH, length, "Length of the JSON, where binary data follow it.")
    ]
    operation["requestBody"] = {
        "required": True,
        "content": {"application/json": {"schema": refer("V2Request")}, "application/octet-stream": binary},
    }
    operation["responses"]["200"]["content"]["application/octet-stream"] = binary
    return operation


def _operation(what: str, schema: str, *bad: int) -> Json:
    good = answered("As asked.", refer(schema))
    errors = {str(status): answered(_ERRORS[status], refer("V2Error")) for status in sorted({*PASSED_ON, *bad})}
    return {"summary": what, "x-served-by": BOTH, "responses": {"200": good, **errors}}


def _in_path(name: str, value: str) -> Json:
    return {"name": name, "in": "path", "required": True, "schema": {"enum": [value]}}


def _tensor(name: str, datatype: str, sides: list[int], data: Json) -> Json:
    shape = listed({"type": "integer", "minimum": 1}, 1 + len(sides), 1 + len(sides))
    shape["prefixItems"] = [
        {"type": "integer", "minimum": 1, "maximum": BATCH_MAX},
        *({"const": side} for side in sides),
    ]
    return described(
        {
            "name": {"const": name},
            "datatype": {"const": datatype},
            "shape": shape,
            "data": data,
            "parameters": _PARAMETERS,
        },
        *("data", "parameters"),
    )
