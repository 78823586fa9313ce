"""The console put together."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from consent_api.console import agent, erasure, login, pages, rectification, requests, reviews, search
from consent_api.console.entry import NO_THEME, Console
from consent_api.domain.validation import ValidationRules
from consent_api.http.reviews import Resolver
from consent_api.http.spoken import SpokenWithdrawals


def routes(
    console: Console,
    *,
    rules: ValidationRules,
    withdrawals: SpokenWithdrawals,
    resolver: Resolver,
    notify_seconds: int,
) -> APIRouter:
    """All pages, below /console. ``notify_seconds``: how long an erasure waits at most for the tools."""
    router = APIRouter(include_in_schema=False)
    router.include_router(login.routes(console))
    router.include_router(agent.routes(console, withdrawals, rules))
    router.include_router(reviews.routes(console, resolver))
    router.include_router(requests.routes(console, rules))
    router.include_router(erasure.routes(console, notify_seconds=notify_seconds))
    router.include_router(rectification.routes(console, rules))
    router.include_router(search.routes(console, rules))

    @router.api_route("/console/{rest:path}", methods=["GET", "HEAD"])
    async def nowhere(request: Request) -> Response:
        return pages.fault(console.page(request, NO_THEME), 404)

    return router
