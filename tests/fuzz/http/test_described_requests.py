"""Requests made from the OpenAPI documents of the API and the gate: each answer is as described, soon, and no 5xx."""

from __future__ import annotations

import copy
from typing import Any
from uuid import uuid4

import pytest
import schemathesis
from hypothesis import given
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from consent_contracts.decisions import STATUSES
from tests.fuzz.budget import fuzzed
from tests.fuzz.http.services import MAX_ANSWER_BYTES, MAX_SECONDS, Service, require_all_well

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
FILES = ("text/csv", "text/html", "application/pdf")
"""Of a person's data. JSON alone is described: of several kinds a generated client returns any."""
SENT = ("SubmittedDecision", "NamedAddress", "ExplainRequest", "CheckRequest")
LIKELY: dict[str, list[str]] = {
    "channel": ["sms", "email", "voice"],
    "purpose": ["newsletter", "survey", "*"],
    "status": sorted(STATUSES),
    "subject_ref": ["s-1", "s-2", "s-3"],
    "address": ["+33639980001", "06 39 98 00 02", "ann@example.com", "Bob.É@exämple.com"],
    "occurred_at": ["2026-01-05T10:00:00Z", "2026-03-05T10:00:00+02:00"],
    "expires_at": ["2039-01-05T10:00:00Z"],
    "at": ["2026-01-05T10:00:00Z"],
}
"""Values that get further than their types require: whatever is drawn for a channel is hardly ever one."""


def likely(document: dict[str, Any]) -> dict[str, Any]:
    """The description with such values beside any other."""
    narrowed = copy.deepcopy(document)
    for name in SENT:
        properties = narrowed["components"]["schemas"].get(name, {}).get("properties", {})
        for member, values in LIKELY.items():
            if member in properties:
                properties[member] = {"anyOf": [{"enum": values}, {"enum": values}, properties[member]]}
    for operation in (each for path in narrowed["paths"].values() for each in path.values()):
        for parameter in operation.get("parameters", ()):
            if parameter["name"] in LIKELY:
                parameter["schema"] = {"anyOf": [{"enum": LIKELY[parameter["name"]]}, parameter["schema"]]}
    return narrowed


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@pytest.mark.parametrize("name", ["api", "gate"])
def test_every_operation_answers_as_it_is_described(
    services: dict[str, Service], name: str, mode: GenerationMode
) -> None:  # R15, R25
    service = services[name]
    document = service.document
    schema = schemathesis.openapi.from_dict(likely(document) if mode is GenerationMode.POSITIVE else document)
    called = []
    for result in schema.get_all_operations():
        operation = result.ok()
        called.append(operation.label)

        @fuzzed(share=0.6)
        @given(operation.as_strategy(generation_mode=mode))
        def holds(case: schemathesis.Case) -> None:
            headers = {"Authorization": service.authorization}
            if mode is GenerationMode.POSITIVE and case.method == "POST":
                headers["Idempotency-Key"] = str(uuid4())
            response = case.call(base_url=service.url, headers=headers, timeout=MAX_SECONDS)
            assert len(response.content) <= MAX_ANSWER_BYTES
            is_file = any(kind.startswith(FILES) for kind in response.headers.get("content-type", ()))
            case.validate_response(response, checks=CHECKS[:2] if is_file else CHECKS)

        holds()
    assert len(called) == sum(len(path) for path in document["paths"].values())
    require_all_well(services)
