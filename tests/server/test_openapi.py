"""The OpenAPI document says what the server does: Schemathesis asks what it allows, and what it does not."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.server.clients.house import House

OPERATIONS = {
    "POST /v1/chat/completions",
    "POST /v1/responses",
    "GET /v1/responses/{response_id}",
    "DELETE /v1/responses/{response_id}",
    "POST /v1/responses/{response_id}/cancel",
    "GET /v1/models",
    "GET /v1/models/{model}",
    "GET /healthz",
    "GET /metrics",
}
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
BOUNDED = settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def schema_of(house: House) -> Any:
    return schemathesis.openapi.from_url(f"{house.url.removesuffix('/v1')}/openapi.json")


def test_every_route_is_described(house: House) -> None:
    found = {operation.ok().label for operation in schema_of(house).get_all_operations()}
    assert found == OPERATIONS


def statuses_of(house: House, label: str, mode: GenerationMode, **there: str) -> set[int]:
    """Return with what the server answers whatever an operation takes, or, in the other mode, does not.

    Chance would never name what is there: `there` are parts of the path, and the model is always one that
    is served.
    """
    method, _, path = label.partition(" ")
    operation = schema_of(house)[path][method]
    statuses: set[int] = set()

    @BOUNDED
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        if isinstance(case.body, dict) and isinstance(case.body.get("model"), str):
            case.body["model"] = "team"
            case.body.pop("moa", None)  # or nearly all would be refused for their limits
        case.path_parameters.update(there)
        headers = {"authorization": f"Bearer {house.secret}"}
        response = case.call(headers=headers)
        case.validate_response(response, checks=CHECKS)
        if response.status_code >= 400:
            assert response.json()["error"]["message"]
        statuses.add(response.status_code)

    ask()
    return statuses


@pytest.mark.parametrize("label", sorted(OPERATIONS))
def test_whatever_may_be_asked_is_answered_as_described(house: House, label: str) -> None:
    statuses = statuses_of(house, label, GenerationMode.POSITIVE)
    assert statuses <= {200, 400, 404}
    assert ("{" in label) != (200 in statuses)


@pytest.mark.parametrize("label", ["POST /v1/chat/completions", "POST /v1/responses"])
def test_whatever_may_not_be_asked_is_refused(house: House, label: str) -> None:
    statuses = statuses_of(house, label, GenerationMode.NEGATIVE)
    assert statuses == {400}
    assert house.count() == 0


def test_what_is_there_is_told_as_described(house: House) -> None:
    status, made = house.ask("/responses", {"model": "team", "input": "Why?"})
    assert status == 200
    there = {
        "GET /v1/models/{model}": {"model": "team"},
        "GET /v1/responses/{response_id}": {"response_id": made["id"]},
    }
    for label, known in there.items():
        assert statuses_of(house, label, GenerationMode.POSITIVE, **known) == {200}
