"""How routes describe what they are sent and what they answer, for /openapi.json."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from msgspec import Struct

from .models import components, reference


def request_body(shape: type[Struct]) -> dict[str, Any]:
    """For a route's `openapi_extra`: a JSON body of this shape. Routes read it themselves, item by item."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": reference(shape)}}}}


def json_response(shape: type[Struct], description: str) -> dict[str, Any]:
    """For a route's `responses`: a JSON answer of this shape."""
    return {"description": description, "content": {"application/json": {"schema": reference(shape)}}}


def add_schemas(app: FastAPI) -> None:
    """Make /openapi.json hold the shapes that the routes refer to."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        known = app.openapi_schema is not None
        document = generate()
        if not known:
            document.setdefault("components", {}).setdefault("schemas", {}).update(components())
        return document

    app.openapi = openapi  # type: ignore[method-assign]
