"""What `/openapi.json` says is what the ingress serves: every path, every method, every problem."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from ingress.errors import Problem
from ingress.health import Health
from ingress.metrics import METRICS
from ingress.openapi import OPENAPI, document
from ingress.operations import OPERATIONS
from ingress.server import served_routes
from pipeline.settings import Settings

METHODS = {"get", "post", "options"}
SERVED = {*served_routes(Settings.model_validate({})), *Health().pages(), METRICS, OPENAPI}
DOCUMENT = document(SERVED)


def objects(value: object) -> Iterator[dict[str, Any]]:
    """Every object in a JSON value."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from objects(inner)


def test_every_path_that_is_served_is_described_and_no_other() -> None:
    described = {(method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert {at for at in described if at[0] != "OPTIONS"} == SERVED
    assert set(OPERATIONS) == {(method, path.rstrip("/")) for method, path in SERVED}


def test_route_that_nobody_described_would_fail() -> None:
    with pytest.raises(KeyError):
        document([*SERVED, ("POST", "/v2/surprise")])


def test_every_reference_leads_somewhere_and_every_schema_is_used() -> None:
    named = {each["$ref"].removeprefix("#/components/schemas/") for each in objects(DOCUMENT) if "$ref" in each}
    assert named == set(DOCUMENT["components"]["schemas"])


def test_names_of_operations_are_unique() -> None:
    operations = [operation for methods in DOCUMENT["paths"].values() for operation in methods.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)


@pytest.mark.parametrize("path", sorted(DOCUMENT["paths"]))
def test_operation_is_whole(path: str) -> None:
    for method, operation in DOCUMENT["paths"][path].items():
        assert method in METHODS
        assert operation["summary"]
        declared = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "path"}
        assert declared == set(re.findall(r"{(\w+)}", path))
        assert all(response["description"] for response in operation["responses"].values())


def test_every_problem_of_a_path_that_takes_events_is_among_its_answers() -> None:
    of_no_path = {Problem.NOT_FOUND.status, Problem.METHOD_NOT_ALLOWED.status}
    for path in ("/v1/track", "/v1/batch", "/v1/t", "/import", "/track"):
        documented = {int(status) for status in DOCUMENT["paths"][path]["post"]["responses"]}
        assert {problem.status for problem in Problem} - of_no_path <= documented


def test_answers_that_ask_for_patience_say_for_how_long() -> None:
    responses = DOCUMENT["paths"]["/v1/track"]["post"]["responses"]
    assert {status for status, response in responses.items() if "Retry-After" in response.get("headers", {})} == {
        "429",
        "503",
    }
