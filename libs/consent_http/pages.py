"""What pages for people are answered with, and how a browser keeps a session and sends the forms of our own pages
alone. Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

SAFE_HEADERS = {
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    # The URL may be a secret.
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "X-Robots-Tag": "noindex, nofollow",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
}
"""Of every answer to a person, whatever it is."""
_OWN_SITE = "same-origin"


def headers_of(style: str, *, scripts: bool = False) -> dict[str, str]:
    """What a page with this style sheet is answered with. ``scripts``: it may load scripts and events of ours."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    own = " script-src 'self'; connect-src 'self';" if scripts else ""
    return {
        **SAFE_HEADERS,
        "Content-Security-Policy": f"default-src 'none';{own} style-src 'sha256-{digest}'; img-src data:;"
        " form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class Cookie:
    """How the token of a session is kept: by https under a name that binds it to this host (RFC 6265bis).

    ``same_site``: Lax where a link from another site may lead to a page, which then only shows.
    """

    of: str
    secure: bool
    same_site: Literal["Strict", "Lax"] = "Strict"
    name: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", f"__Host-{self.of}" if self.secure else self.of)

    def set(self, token: str) -> str:
        """The value of Set-Cookie. It ends with the browser, if not before."""
        secure = "; Secure" if self.secure else ""
        return f"{self.name}={token}; Path=/; HttpOnly; SameSite={self.same_site}{secure}"

    def clear(self) -> str:
        return f"{self.set('')}; Max-Age=0"


def form_token(token: str, action: str) -> str:
    """What the form of one action carries, bound to the session."""
    return hmac.new(token.encode(), f"form {action}".encode(), hashlib.sha256).hexdigest()


def is_form_token(sent: str, token: str, action: str) -> bool:
    return hmac.compare_digest(sent.encode("utf-8", "replace"), form_token(token, action).encode())


def is_own_page(headers: Mapping[str, str]) -> bool:
    """Whether a form was sent by a page of ours, as the browser says. One that says nothing has no other page open: it
    is a program."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == _OWN_SITE
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc == headers.get("host")
