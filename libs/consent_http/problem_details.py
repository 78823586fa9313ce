"""Errors as RFC 9457 problem documents: which field is wrong, and what to do about it. Nothing a caller sent
is quoted back: it could be an address (R13)."""

import logging
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from consent_http.errors import PROBLEM_TYPE, ProblemError

log = logging.getLogger(__name__)

_LOGGED = frozenset({400, 403, 409, 415, 422})
MEDIA_TYPE = "application/problem+json"


class FieldViolation(msgspec.Struct, kw_only=True, rename={"pointer": "field"}):
    """One fault: where (a JSON pointer into the body, or the path of a parameter), its code, and what to do."""

    pointer: str
    detail: str
    cure: str


_TEXT = {"type": "string"}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "title": "Problem",
    "description": "A problem document as in RFC 9457.",
    "required": ["type", "title", "status", "detail"],
    "additionalProperties": True,
    "properties": {
        "type": {**_TEXT, "format": "uri", "description": "stable URI of this kind of problem"},
        "title": _TEXT,
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {**_TEXT, "description": "what is wrong"},
        "field": {**_TEXT, "description": "what is wrong: a JSON pointer into the body, or a parameter or header"},
        "cure": {**_TEXT, "description": "what the caller can do about it"},
        "errors": {
            "type": "array",
            "description": "several faults at once",
            "items": {"$ref": "#/components/schemas/FieldViolation"},
        },
    },
    "examples": [
        {
            "type": f"{PROBLEM_TYPE}invalid-decision",
            "title": "Invalid decision",
            "status": 422,
            "detail": "1 part(s) of the request break a rule; nothing was recorded.",
            "field": "/channel",
            "cure": "send one of email, sms, voice",
            "errors": [
                {"field": "/channel", "detail": "unknown_channel", "cure": "send one of email, sms, voice"},
            ],
        }
    ],
}
"""The component Problem of /openapi.json."""


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For a route's `responses=`: these statuses answer a problem document."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }


def missing_api_key() -> ProblemError:
    return ProblemError(
        401,
        "missing-api-key",
        "The API key is missing, malformed, unknown or revoked.",
        field="Authorization",
        cure="Send the header Authorization: Bearer cr_..., with a key from `consent-relay keys create`, or an access"
        " token where this installation takes them.",
        headers={"WWW-Authenticate": 'Bearer realm="consent-relay"'},
    )


def missing_scope(scope: str) -> ProblemError:
    return ProblemError(
        403,
        "missing-scope",
        f"This API key or access token does not have the scope {scope}.",
        field="Authorization",
        cure=f"Use a key created with --scope {scope}, or a token with that scope.",
        headers={"WWW-Authenticate": f'Bearer realm="consent-relay", error="insufficient_scope", scope="{scope}"'},
    )


def render(problem: ProblemError) -> Response:
    """Its document. It is logged, so that the answer's Request-Id leads to it; but not what a caller without an API key
    can cause as often as it likes."""
    about = {"status": problem.status, "problem": problem.kind, "field": problem.field}
    if problem.status >= 500:
        log.warning("request failed", extra=about)
    elif problem.status in _LOGGED:
        log.info("request refused", extra=about)
    return Response(
        msgspec.json.encode(problem.document()),
        status_code=problem.status,
        headers=problem.headers,
        media_type=MEDIA_TYPE,
    )


def install(app: FastAPI) -> None:
    """Every error of `app` becomes a problem document, the framework's own and our bugs included."""
    app.add_exception_handler(ProblemError, _on_problem)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_bug)


async def _on_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)
    return render(error)


async def _on_validation(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    cure = "Correct it; /openapi.json describes what is wanted."
    faults = [{"field": _path(each["loc"]), "detail": each["msg"], "cure": cure} for each in error.errors()]
    return render(
        ProblemError(
            422,
            "invalid-request",
            f"{len(faults)} part(s) of the request are not as described.",
            field=faults[0]["field"] if faults else None,
            cure=cure,
            errors=faults,
        )
    )


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = {**(error.headers or {}), **({"Allow": _allowed(request)} if error.status_code == 405 else {})}
    status = HTTPStatus(error.status_code)
    kind = status.phrase.lower().replace(" ", "-")
    cure = "See /openapi.json for the paths and methods there are." if status in (404, 405) else None
    return render(ProblemError(status, kind, f"{status.phrase}.", cure=cure, headers=headers))


def _allowed(request: Request) -> str:
    """The methods of all routes with this path: the framework names those of the first."""
    return ", ".join(
        method
        for method in ("DELETE", "GET", "PATCH", "POST", "PUT")
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL for route in request.app.router.routes
        )
    )


async def _on_bug(_: Request, error: Exception) -> Response:
    # The server logs the traceback; the caller learns only that nothing was done for him.
    return render(
        ProblemError(500, "internal-error", "This request failed through a fault of ours.", cure="Repeat it later.")
    )


def _path(location: Sequence[int | str]) -> str:
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in location if part != "body"]
    return "".join(parts).lstrip(".") or "body"
