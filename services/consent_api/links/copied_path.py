"""The path of a link as it was copied: without what has come along at its end."""

from __future__ import annotations

from urllib.parse import quote

from starlette.types import ASGIApp, Receive, Scope, Send

_LINKS = ("/u/", "/p/")
_CAME_ALONG = "/.,;:!?)]}>'\"*’”»… \t\r\n\u00a0"
"""What mail programs, people and proxies put after a link. No token, and no page below one, ends in any of it."""


class CopiedPathMiddleware:
    """ASGI middleware. Not a redirect: one click follows none (RFC 8058)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Changed where it is: what is around this reads the route from it.
        if scope["type"] == "http" and (path := without_end(scope["path"])) != scope["path"]:
            scope["path"], scope["raw_path"] = path, quote(path).encode("ascii")
        await self._app(scope, receive, send)


def without_end(path: str) -> str:
    """A path below those of links without what came along; any other as it is. Pure."""
    if not path.startswith(_LINKS):
        return path
    bare = path.rstrip(_CAME_ALONG)
    return bare if bare.startswith(_LINKS) else path
