"""The OpenAPI description: FastAPI's own, with the bodies that msgspec reads and writes."""

from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from .contract import CheckRequest, CheckResponse


def describe(app: FastAPI) -> dict[str, Any]:
    """OpenAPI 3.1 of `app`."""
    document = get_openapi(title=app.title, version=app.version, routes=app.routes)
    (asked, answered), components = msgspec.json.schema_components(
        (CheckRequest, CheckResponse), ref_template="#/components/schemas/{name}"
    )
    check = document["paths"]["/v1/check"]["post"]
    check["requestBody"] = {"required": True, "content": {"application/json": {"schema": asked}}}
    check["responses"]["200"] = {
        "description": "An answer for each address, in the order of the request",
        "content": {"application/json": {"schema": answered}},
    }
    check["security"] = [{"apiKey": []}]
    document.setdefault("components", {}).setdefault("schemas", {}).update(components)
    document["components"]["securitySchemes"] = {
        "apiKey": {"type": "http", "scheme": "bearer", "description": "an API key with the scope check: cr_..."}
    }
    return document
