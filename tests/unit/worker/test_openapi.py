"""The description of the API: valid, held against the routes, and true of generated requests.

The few requests of every run are the same each time, the many of the long test are others each time.
``API=http://127.0.0.1:8080`` sends them to what is deployed there.
"""

from __future__ import annotations

import os
import re
from typing import Any

import hypothesis
import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.conftest import REPOSITORY

API = os.environ.get("API", "")
MANY = 5000


def checks() -> list[Any]:
    import schemathesis
    from schemathesis.specs.openapi import checks

    return [
        schemathesis.checks.not_a_server_error,
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_schema_conformance,
        checks.response_headers_conformance,
    ]


@pytest.fixture(scope="module")
def description(app: Flask) -> dict[str, Any]:
    found: dict[str, Any] = app.test_client().get("/openapi.json").get_json()
    return found


def operations(description: dict[str, Any], served_by: str) -> set[tuple[str, str]]:
    return {
        (method.upper(), path)
        for path, entry in description["paths"].items()
        for method, operation in entry.items()
        if method != "parameters" and served_by in operation["x-served-by"]
    }


def test_it_is_openapi(description: dict[str, Any]) -> None:
    import schemathesis

    assert description["openapi"] == "3.1.0"
    schemathesis.openapi.from_dict(description).validate()


def test_it_describes_every_route_of_the_worker_and_no_other(description: dict[str, Any], app: Flask) -> None:
    routes = {
        (method, re.sub(r"<(\w+)>", r"{\1}", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert operations(description, "worker") == routes


def test_it_describes_what_the_balancer_answers_and_passes_on(description: dict[str, Any]) -> None:
    """But not its page, its problems and what only its own machine may ask."""
    text = (REPOSITORY / "tests/ansible/golden/nginx-random.conf").read_text()
    own = set(re.findall(r"location = (/[\w-]+) \{", text)) - {"/dashboard", "/nginx_status", "/pool_metrics"}
    (passed_on,) = re.findall(r"^ {8}location ~ (\S+) \{", text, re.MULTILINE)
    paths = {path for _, path in operations(description, "balancer")}
    assert own < paths
    assert {path for path in paths if re.fullmatch(passed_on.strip("^$"), path)} == paths - own
    on_a_worker_alone = {path for _, path in operations(description, "worker")} - paths
    assert on_a_worker_alone == {"/readyz", "/metrics"}
    assert not [path for path in on_a_worker_alone if re.match(passed_on, path)]


def takes_input(operation: Any) -> bool:
    """Whether a request may be right or wrong at all."""
    return bool(operation.body or operation.query or operation.headers or operation.path_parameters)


@pytest.mark.parametrize("mode", ["positive", "negative"])
@pytest.mark.parametrize("many", [False, pytest.param(True, marks=pytest.mark.long)], ids=["few", "many"])
@pytest.mark.filterwarnings("ignore")  # schemathesis warns of what it makes itself
def test_generated_requests_get_what_is_described(app: Flask, mode: str, *, many: bool) -> None:
    import schemathesis

    positive = mode == "positive"
    schema = (
        schemathesis.openapi.from_url(f"{API}/openapi.json")
        if API
        else schemathesis.openapi.from_wsgi("/openapi.json", app)
    )
    found = [result.ok() for result in schema.get_all_operations()]
    server = "balancer" if API else "worker"
    asked = [one for one in found if server in one.definition.raw["x-served-by"] and (positive or takes_input(one))]
    half = MANY // 2 if many else 0  # the other half are of the other mode
    share = max(4, -(-half // sum(bool(one.body) for one in asked)))
    sent: list[int] = []
    for operation in asked:

        @hypothesis.settings(
            max_examples=share if operation.body else 4,
            deadline=None,
            derandomize=not many,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
            phases=[hypothesis.Phase.generate],
        )
        @hypothesis.given(case=operation.as_strategy(generation_mode=schemathesis.GenerationMode(mode)))
        def check(case: Any) -> None:
            answer = case.call()
            sent.append(answer.status_code)
            case.validate_response(answer, checks=checks())

        check()
    print(f"{len(sent)} requests, {mode}:", {status: sent.count(status) for status in sorted(set(sent))})
    assert len(sent) >= max(len(asked), half)


def test_the_client_of_a_description_finds_it(client: FlaskClient) -> None:
    answer = client.get("/openapi.json")
    assert (answer.status_code, answer.mimetype) == (200, "application/json")
