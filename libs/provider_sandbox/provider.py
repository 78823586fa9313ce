"""What the sandbox needs to know of each provider, and the little that all of them answer alike."""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import Any, Protocol

import msgspec
from aiohttp import web

from provider_sandbox.config import Latency, Limit
from provider_sandbox.limits import Admission
from provider_sandbox.request_log import Call

CALL = web.RequestKey("call", Call)


class Provider(Protocol):
    """One protocol under one path prefix, `/<name>`."""

    @property
    def name(self) -> str: ...

    @property
    def limit(self) -> Limit: ...

    @property
    def latency(self) -> Latency: ...

    def account_of(self, path: str) -> str:
        """The account a path belongs to: the name, or the name and more where one prefix serves several."""
        ...

    def routes(self) -> list[web.RouteDef]: ...

    def throttled(self, admission: Admission) -> web.Response:
        """The answer over the limit, in this provider's words."""
        ...

    def add_rate_limit_headers(self, response: web.StreamResponse, admission: Admission) -> None:
        """Add the headers by which this provider reports how much of the limit is left."""
        ...


ASSUMED = "assumed"
"""The source of an answer that no provider documents."""
_SOURCE_HEADER = "X-Sandbox-Source"


def sourced(response: web.Response, source: str) -> web.Response:
    """The answer with the specification that it is from: what is tried against an assumption proves nothing."""
    response.headers[_SOURCE_HEADER] = source
    return response


def json_answer(status: int, body: Any, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(body), content_type="application/json", headers=headers)


def basic_credentials(request: web.Request) -> tuple[str, str] | None:
    """User and password of HTTP Basic, None when the header is missing or not readable."""
    scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded, validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (user, password) if colon else None


def bearer_token(request: web.Request) -> str | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token if scheme.lower() == "bearer" else None


def same(left: str, right: str) -> bool:
    return hmac.compare_digest(left.encode(), right.encode())
