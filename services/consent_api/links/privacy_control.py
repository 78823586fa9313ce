"""Global Privacy Control (R23): a browser that sends `Sec-GPC: 1` asks not to sell or share its person's data.

It refuses the purposes that the theme marks so, and nothing else; it lifts nothing, and its absence is no consent. It
is recorded with what a person does, and not with a look at a page: mail scanners look, and send headers of their own.
"""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

METHOD = "global-privacy-control"
_BODY = b'{"gpc": true, "lastUpdate": "2026-11-26"}'
"""That this site goes by the signal, and since when (the proposal's `/.well-known/gpc.json`)."""


def is_asked(request: Request) -> bool:
    """The signal has one value; any other is none. A proxy may have doubled it, as one header or two."""
    given = ",".join(request.headers.getlist("sec-gpc")).split(",")
    return {each.strip() for each in given} == {"1"}


def routes() -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.api_route("/.well-known/gpc.json", methods=["GET", "HEAD"])
    async def statement() -> Response:
        headers = {"Cache-Control": "public, max-age=86400", "X-Content-Type-Options": "nosniff"}
        return Response(_BODY, media_type="application/json", headers=headers)

    return router
