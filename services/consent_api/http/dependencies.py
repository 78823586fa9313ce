"""What every route depends on: the caller's API key, and, where there is one, the body within its bounds."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

import anyio
import anyio.to_thread
from fastapi import Depends, Request, Security
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from consent_api.http.tenant_turns import TenantTurns
from consent_api.ledger.key_store import ApiKeyStore
from consent_api.settings import BULK, LIVE, LIVE_BATCHES, READ
from consent_http import request_body
from consent_http.access_tokens import AccessTokens, looks_like
from consent_http.callers import Caller
from consent_http.errors import ProblemError
from consent_http.problem_details import missing_api_key, missing_scope
from consent_http.rate_limits import ConcurrencyLimit, RateLimits

_BEARER = HTTPBearer(scheme_name="apiKey", description="An API key from `consent-relay keys create`.", auto_error=False)


_SMALL_BODY = 262_144
"""Bytes of any body but a batch's: more than the longest evidence in its longest encoding."""
_LINKS_BODY = 4_194_304
"""Bytes: 10,000 addresses with their purposes and references."""
BATCHES_AT_ONCE = 64
_SUBMITTED_AT_ONCE, _QUESTIONS_AT_ONCE, _LINKS_AT_ONCE = 400, 32, 4
"""Of one tenant: a decoded body takes ten times its size."""


class Callers:
    """Who calls, and how often they may."""

    def __init__(
        self,
        key_store: ApiKeyStore,
        tenants: frozenset[str],
        limits: RateLimits,
        access_tokens: AccessTokens | None = None,
    ) -> None:
        self._key_store = key_store
        self._access_tokens = access_tokens
        self._tenants = tenants
        self._limits = limits
        self._unknown_keys = anyio.CapacityLimiter(1)
        """They are looked up in one thread, so that invented keys take none from callers whose key is known."""

    def require(self, scope: str, *budgets: str, cost: float = 1.0) -> Callable[..., Awaitable[Caller]]:
        """A dependency: the caller, 401 without a live key or a good token, 403 when it lacks ``scope``, 429 when each
        of the caller's budgets, or the tenant's, is used up. Takes ``cost`` from the first that is not."""

        async def authenticated(
            credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
        ) -> Caller:
            caller = await self._find(credentials.credentials if credentials is not None else None)
            if caller is None:
                raise missing_api_key()
            if not caller.allows(scope):
                raise missing_scope(scope)
            if caller.tenant not in self._tenants:
                raise _tenant_without_keys()
            self._limits.admit_any(budgets, caller, cost)
            return caller

        return authenticated

    async def _find(self, token: str | None) -> Caller | None:
        store = self._key_store
        if self._access_tokens is not None and token is not None and looks_like(token):
            return await self._access_tokens.caller(token)
        if (key := store.cached(token)) is not None:
            return key
        limiter = None if store.has_known(token) else self._unknown_keys
        return await anyio.to_thread.run_sync(store.find, token, limiter=limiter)


def _tenant_without_keys() -> ProblemError:
    return ProblemError(
        503,
        "tenant-without-keys",
        "This installation's keyring has no hash keys for the tenant of this API key.",
        cure="Ask the operator to add them, or for a key of another tenant.",
        headers={"Retry-After": "60"},
    )


def read_body(
    limit: int, authenticated: Callable[..., Awaitable[Caller]], *, at_once: ConcurrencyLimit
) -> Callable[..., AsyncIterator[bytes]]:
    """A dependency: the bytes of a JSON body, read only for callers who may send one. 408, 413, 415, 429."""

    async def read(request: Request, caller: Annotated[Caller, Depends(authenticated)]) -> AsyncIterator[bytes]:
        with at_once.held(caller):
            yield await request_body.read(request, limit=limit)

    return read


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestDependencies:
    """The dependencies of the routes."""

    turns: TenantTurns
    route_class: type[APIRoute]
    """Of each router that has a route which blocks."""

    submit: Callable[..., Awaitable[Caller]]
    submit_body: Callable[..., AsyncIterator[bytes]]
    submit_batch: Callable[..., Awaitable[Caller]]
    batch_body: Callable[..., AsyncIterator[bytes]]
    admit_batch: Callable[[Caller, int, bool], None]
    """The decisions of a batch, by whether it is bulk: 429 when that budget is used up."""
    admin: Callable[..., Awaitable[Caller]]
    admin_body: Callable[..., AsyncIterator[bytes]]
    read: Callable[..., Awaitable[Caller]]
    read_body: Callable[..., AsyncIterator[bytes]]
    check: Callable[..., Awaitable[Caller]]
    check_body: Callable[..., AsyncIterator[bytes]]
    make_links: Callable[..., Awaitable[Caller]]
    links_body: Callable[..., AsyncIterator[bytes]]
    read_rights: Callable[..., Awaitable[Caller]]
    write_rights: Callable[..., Awaitable[Caller]]
    rights_body: Callable[..., AsyncIterator[bytes]]

    @classmethod
    def build(
        cls,
        key_store: ApiKeyStore,
        *,
        tenants: frozenset[str],
        longest_body: int,
        limits: RateLimits,
        turns: TenantTurns,
        access_tokens: AccessTokens | None = None,
    ) -> "RequestDependencies":
        callers = Callers(key_store, tenants, limits, access_tokens)
        small = min(longest_body, _SMALL_BODY)
        submit, read = callers.require("submit", LIVE), callers.require("read", READ)
        admin = callers.require("admin", READ)
        # Which budget a batch takes from shows in its body, which is not read where neither has room.
        batch = callers.require("submit", LIVE_BATCHES, BULK, cost=0.0)
        check = callers.require("check", READ)
        make_links = callers.require("links", BULK, cost=0.0)
        write_rights = callers.require("rights:write", READ)
        return cls(
            turns=turns,
            route_class=turns.route_class(),
            submit=submit,
            submit_body=read_body(small, submit, at_once=ConcurrencyLimit(_SUBMITTED_AT_ONCE)),
            submit_batch=batch,
            batch_body=read_body(longest_body, batch, at_once=ConcurrencyLimit(BATCHES_AT_ONCE)),
            admit_batch=lambda caller, decisions, bulk: limits.admit(BULK if bulk else LIVE_BATCHES, caller, decisions),
            admin=admin,
            admin_body=read_body(small, admin, at_once=ConcurrencyLimit(_QUESTIONS_AT_ONCE)),
            read=read,
            read_body=read_body(small, read, at_once=ConcurrencyLimit(_QUESTIONS_AT_ONCE)),
            check=check,
            check_body=read_body(small, check, at_once=ConcurrencyLimit(_QUESTIONS_AT_ONCE)),
            make_links=make_links,
            links_body=read_body(_LINKS_BODY, make_links, at_once=ConcurrencyLimit(_LINKS_AT_ONCE)),
            read_rights=callers.require("rights:read", READ),
            write_rights=write_rights,
            rights_body=read_body(small, write_rights, at_once=ConcurrencyLimit(_QUESTIONS_AT_ONCE)),
        )
