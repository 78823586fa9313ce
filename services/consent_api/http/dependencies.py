"""What every route depends on: the caller's API key, and, where there is one, the body within its bounds."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.concurrency import run_in_threadpool
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from consent_api.keys import ApiKeyStore
from consent_runtime import bodies
from consent_runtime.api_keys import ApiKey
from consent_runtime.problems import Problem, missing_api_key, missing_scope

_BEARER = HTTPBearer(scheme_name="apiKey", description="An API key from `consent-relay keys create`.", auto_error=False)


def require_api_key(key_store: ApiKeyStore, tenants: frozenset[str], scope: str) -> Callable[..., Awaitable[ApiKey]]:
    """A dependency: the caller's key, 401 without a live one, 403 when it lacks ``scope``."""

    async def authenticated(
        credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
    ) -> ApiKey:
        token = credentials.credentials if credentials is not None else None
        key = key_store.cached(token) or await run_in_threadpool(key_store.find, token)
        if key is None:
            raise missing_api_key()
        if not key.allows(scope):
            raise missing_scope(scope)
        if key.tenant not in tenants:
            raise Problem(
                503,
                "tenant-without-keys",
                "This installation's keyring has no hash keys for the tenant of this API key.",
                cure="Ask the operator to add them, or for a key of another tenant.",
                headers={"Retry-After": "60"},
            )
        return key

    return authenticated


def read_body(limit: int, authenticated: Callable[..., Awaitable[ApiKey]]) -> Callable[..., Awaitable[bytes]]:
    """A dependency: the bytes of a JSON body, read only for callers who may send one. 408, 413, 415."""

    async def read(request: Request, _: Annotated[ApiKey, Depends(authenticated)]) -> bytes:
        return await bodies.read(request, limit=limit)

    return read


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestDependencies:
    """The dependencies of the routes."""

    submit: Callable[..., Awaitable[ApiKey]]
    submit_body: Callable[..., Awaitable[bytes]]
    read: Callable[..., Awaitable[ApiKey]]
    read_body: Callable[..., Awaitable[bytes]]

    @classmethod
    def build(cls, key_store: ApiKeyStore, *, tenants: frozenset[str], longest_body: int) -> "RequestDependencies":
        submit, read = require_api_key(key_store, tenants, "submit"), require_api_key(key_store, tenants, "read")
        return cls(
            submit=submit,
            submit_body=read_body(longest_body, submit),
            read=read,
            read_body=read_body(longest_body, read),
        )
