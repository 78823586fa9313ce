"""/openapi.json of API and gate, as generators of clients read them (R15)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from unittest.mock import MagicMock

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from jsonschema import Draft202012Validator, FormatChecker
from openapi_spec_validator import validate
from prometheus_client import CollectorRegistry
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from consent_api.domain.validation import ValidationRules
from consent_api.http.app import create_app as create_api
from consent_api.http.metrics import ApiMetrics
from consent_service.health import Health
from suppression.gate.app import create_app as create_gate
from suppression.gate.metrics import GateMetrics

CHANNELS = ("sms", "email", "voice")


def api() -> FastAPI:
    return create_api(
        ledger=MagicMock(),
        key_store=MagicMock(),
        rules=ValidationRules(channels=CHANNELS, default_region="FR"),
        metrics=ApiMetrics.on(CollectorRegistry(), channels=CHANNELS),
        health=Health(),
    )


def gate() -> FastAPI:
    return create_gate(MagicMock(), GateMetrics.on(CollectorRegistry()))


DOCUMENTS: dict[str, dict[str, Any]] = {"api": api().openapi(), "gate": gate().openapi()}
both = pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)


def operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document["paths"].values():
        yield from path.values()


def bodies(document: dict[str, Any]) -> set[str]:
    """The names of the schemas of all that is sent and answered."""
    described = [each["requestBody"] for each in operations(document) if "requestBody" in each]
    described += [answer for each in operations(document) for answer in each["responses"].values()]
    return {
        kind["schema"]["$ref"].rpartition("/")[2] for each in described for kind in each.get("content", {}).values()
    }


def schemas(node: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each schema within a node, with the name of the member that it describes; empty: of none."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "properties":
                yield from value.items()
            if name not in ("example", "examples"):
                yield from schemas(value)
    elif isinstance(node, list):
        for each in node:
            yield from schemas(each)


@both
def test_it_is_valid_openapi_3_1(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    validate(document)


@both
def test_operations_have_names_that_read_well_in_a_client(document: dict[str, Any]) -> None:
    names = [each["operationId"] for each in operations(document)]
    assert len(names) == len(set(names))
    for name in names:
        assert re.fullmatch(
            r"(?:submit|get|list|link|unlink|explain|check|create|resolve|extend|use)[A-Z][a-zA-Z]+", name
        ), name


@both
def test_what_may_be_left_out_is_never_null(document: dict[str, Any]) -> None:
    for name, schema in document["components"]["schemas"].items():
        for member, described in schema.get("properties", {}).items():
            assert "default" not in described, f"{name}.{member}"
            if member not in schema.get("required", ()):
                assert {"type": "null"} not in described.get("anyOf", ()), f"{name}.{member}"
    for operation in operations(document):
        for parameter in operation.get("parameters", ()):
            assert {"type": "null"} not in parameter["schema"].get("anyOf", ()), parameter


@both
def test_an_answer_has_one_kind_of_content(document: dict[str, Any]) -> None:
    """Of several a generated client returns any."""
    for operation in operations(document):
        assert [len(answer["content"]) for answer in operation["responses"].values()] == [1] * len(
            operation["responses"]
        )


@both
def test_every_error_answers_a_problem(document: dict[str, Any]) -> None:
    for operation in operations(document):
        for status, answer in operation["responses"].items():
            if status >= "400":
                described = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
                assert answer["content"] == described, operation["operationId"]


@both
def test_every_body_has_examples_that_are_as_described(document: dict[str, Any]) -> None:
    whole = Resource.from_contents(document, default_specification=DRAFT202012)
    registry: Registry[Any] = Registry().with_resource("urn:api", whole)
    for name in bodies(document):
        described = {"$ref": f"urn:api#/components/schemas/{name}"}
        examples = document["components"]["schemas"][name].get("examples", [])
        assert examples, f"{name} has no example"
        for example in examples:
            Draft202012Validator(described, registry=registry, format_checker=FormatChecker()).validate(example)


@both
def test_every_object_says_whether_it_may_have_other_members(document: dict[str, Any]) -> None:
    sent = [each["requestBody"] for each in operations(document) if "requestBody" in each]
    for name, schema in document["components"]["schemas"].items():
        assert "additionalProperties" in schema, name
    for body in sent:
        name = body["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        assert document["components"]["schemas"][name]["additionalProperties"] is False, name


@both
def test_members_of_a_fixed_form_are_described_by_it(document: dict[str, Any]) -> None:
    found = set()
    for name, described in schemas(document["components"]["schemas"]):
        if name in ("channel", "purpose", "address", "address_key"):
            assert "pattern" in described, name
            found.add(name)
        if name in ("stage", "action", "effect", "outcome") or (name == "status" and "type" in described):
            assert "enum" in described or described["type"] == "integer", name
    assert {"channel", "purpose"} <= found


@pytest.mark.parametrize(
    "sent",
    [
        "06 39 98 00 01",
        "+33639980001",
        "Ann@example.com",
        "\u0660\u0661\u0662\u0663",
        "tel:0639980001",
        "é@exämple.com",
    ],
)
def test_the_pattern_of_an_address_fits_every_spelling(sent: str) -> None:
    described = DOCUMENTS["api"]["components"]["schemas"]["NamedAddress"]["properties"]["address"]
    Draft202012Validator(described).validate(sent)


def test_requests_that_change_something_require_an_idempotency_key() -> None:
    for operation in operations(DOCUMENTS["api"]):
        if operation["operationId"].startswith("submit"):
            [key] = operation["parameters"]
            assert (key["name"], key["in"], key["required"]) == ("Idempotency-Key", "header", True)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_method_that_there_is_not_is_answered_with_those_that_there_are(name: str) -> None:
    client = TestClient({"api": api, "gate": gate}[name]())
    for path, methods in DOCUMENTS[name]["paths"].items():
        answer = client.patch(re.sub(r"\{\w+\}", "0198d0f0-0000-7000-8000-000000000000", path))
        assert (path, answer.status_code) == (path, 405)
        assert set(answer.headers["allow"].split(", ")) == {method.upper() for method in methods}, path
