"""/openapi.json of an HTTP API: what FastAPI knows of its routes, with the bodies that msgspec reads and writes, in the
form that generators of clients read (docs/decisions/0035-a-description-for-generators.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from fastapi import FastAPI
from msgspec import Struct

from consent_http import problem_details
from consent_service import request_ids

IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": True,
    "description": "Yours, unique per request: sent again, it gets the first answer for at least 24 hours.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]([ -~]*[!-~])?$"},
}
_HEADERS = {
    request_ids.HEADER: {
        "description": "Yours, if you sent one that is well-formed, else one of ours. Our logs have it.",
        "required": True,
        "schema": {"type": "string", "minLength": 1, "maxLength": 64},
    },
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 0}},
}
_API_KEY = {"type": "http", "scheme": "bearer", "description": "An API key from `consent-relay keys create`."}
_ACCESS_TOKEN = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "An OAuth2 access token with the scope that an API key needs, of the issuer that the operator has"
    " set (CONSENT_RELAY_OAUTH_ISSUER).",
}


def json_body(shape: type[Struct], *parameters: Mapping[str, Any]) -> dict[str, Any]:
    """For a route's `openapi_extra`: a JSON body of this shape, which the route reads itself; further parameters."""
    content = {"application/json": {"schema": reference(shape.__name__)}}
    body = {"requestBody": {"required": True, "content": content}}
    return {**body, "parameters": list(parameters)} if parameters else body


def json_response(shape: type[Struct], description: str) -> dict[str, Any]:
    """For a route's `responses`: a JSON answer of this shape."""
    return {"description": description, "content": {"application/json": {"schema": reference(shape.__name__)}}}


def reference(name: str) -> dict[str, str]:
    """A reference to a schema by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def describe(
    app: FastAPI,
    *,
    sent: Sequence[type[Struct]],
    answered: Sequence[type[Struct]],
    examples: Mapping[str, Sequence[object]],
) -> None:
    """Have /openapi.json of `app` hold these shapes, with their examples by name, and problem documents."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is not None:
            return app.openapi_schema
        document = generate()
        for operation in _operations(document):
            for parameter in operation.get("parameters", ()):
                parameter["schema"] = _without_null(parameter["schema"])
        components = document.setdefault("components", {})
        components["headers"] = _HEADERS
        for answer in (answer for operation in _operations(document) for answer in operation["responses"].items()):
            _add_headers(*answer)
        components.setdefault("securitySchemes", {}).update(apiKey=_API_KEY, accessToken=_ACCESS_TOKEN)
        for operation in _operations(document):
            if {"apiKey": []} in operation.get("security", ()):
                operation["security"] = [{"apiKey": []}, {"accessToken": []}]
        schemas = components.setdefault("schemas", {})
        schemas.update(_schemas([*sent, *answered, problem_details.FieldViolation]))
        schemas["Problem"] = problem_details.SCHEMA
        for name, schema in schemas.items():
            schemas[name] = {**schema, "examples": list(examples[name])} if name in examples else schema
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI documents it


def _operations(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [operation for path in document["paths"].values() for operation in path.values()]


def _add_headers(status: str, answer: dict[str, Any]) -> None:
    names = [request_ids.HEADER, *(["Retry-After"] if status in ("409", "429", "503") else [])]
    answer["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _schemas(shapes: Sequence[type[Struct]]) -> dict[str, dict[str, Any]]:
    _, found = msgspec.json.schema_components(shapes, ref_template="#/components/schemas/{name}")
    return {name: _for_generators(schema) for name, schema in found.items()}


def _for_generators(schema: dict[str, Any]) -> dict[str, Any]:
    """A member that may be left out is left out, never null: with null as its default generators make clients that send
    it. No other default is described either: it makes a member required in TypeScript. And each object states whether
    it may have other members: clients have to ignore those of later answers."""
    if schema.get("type") != "object":
        return schema
    members = {
        name: _without_null(member) if "default" in member else member
        for name, member in schema.get("properties", {}).items()
    }
    described = " ".join(schema.get("description", "").split())
    return {"additionalProperties": True, **schema, "description": described, "properties": members}


def _without_null(member: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in member.items() if name not in ("default", "anyOf")}
    [kind] = [each for each in member.get("anyOf", [{}]) if each != {"type": "null"}]
    # Its own description is more specific than that of its type.
    return {**kind, **kept}
