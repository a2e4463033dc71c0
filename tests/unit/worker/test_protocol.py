"""The Open Inference Protocol's own description, as MLServer publishes it: true of what the worker answers."""

from __future__ import annotations

import json
from importlib.metadata import files
from typing import Any

import hypothesis
import pytest
import schemathesis
from flask import Flask
from schemathesis.specs.openapi import checks

from imagerec_worker.bundle import Bundle

CHECKS = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]
# What MLServer adds to the protocol.
OWN_OF_MLSERVER = ("infer_stream", "generate", "generate_stream")


@pytest.fixture(scope="module")
def protocol() -> dict[str, Any]:
    """The description without what MLServer adds and without the 500 that it allows.

    Its type `bytes` is none that OpenAPI knows.
    """
    (found,) = [one for one in files("mlserver") or [] if one.name == "dataplane.json"]
    description: dict[str, Any] = json.loads(found.read_text().replace('"type": "bytes"', '"type": "string"'))
    for path in [path for path in description["paths"] if path.endswith(OWN_OF_MLSERVER)]:
        del description["paths"][path]
    for entry in description["paths"].values():
        for operation in entry.values():
            if isinstance(operation, dict):
                operation["responses"].pop("500", None)
    return description


def statuses(operation: Any, mode: schemathesis.GenerationMode, names: dict[str, str]) -> set[int]:
    """Send what is made from the description, to the model of these names; return how it was answered."""
    seen = set()

    @hypothesis.settings(
        max_examples=8 if operation.body else 2,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate],
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def check(case: schemathesis.Case) -> None:
        case.path_parameters = {**(case.path_parameters or {}), **names}
        answer = case.call()
        seen.add(answer.status_code)
        case.validate_response(answer, checks=CHECKS)

    check()
    return seen


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("known", [True, False], ids=["the model", "any name"])
@pytest.mark.filterwarnings("ignore")  # schemathesis warns of what it makes itself
def test_the_worker_answers_as_the_protocol_says(
    app: Flask, colours: Bundle, protocol: dict[str, Any], mode: schemathesis.GenerationMode, *, known: bool
) -> None:
    schema = schemathesis.openapi.from_dict(protocol)
    schema.app = app
    told: set[int] = set()
    inferred: set[int] = set()
    for operation in (result.ok() for result in schema.get_all_operations()):
        ours = {"model_name": colours.name, "model_version": colours.version} if known else {}
        names = {one.name: ours[one.name] for one in operation.path_parameters if one.name in ours}
        if operation.body:
            inferred |= statuses(operation, mode, names)
        elif mode == schemathesis.GenerationMode.POSITIVE and (known or "404" in operation.definition.raw["responses"]):
            told |= statuses(operation, mode, names)
    if known:
        assert 400 in inferred  # no photograph comes about by chance, so no inference succeeds
        assert told <= {200}
    else:
        assert inferred <= {400, 404}
        assert told <= {404}
