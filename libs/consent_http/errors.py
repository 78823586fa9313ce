"""What ends a request, or keeps a server from starting.

HttpError
├── ProblemError             what the caller is answered: a problem document (RFC 9457)
├── RequestRefusedError      a connection is bounded: ends the parsing of a request, which is then answered and closed
├── PrivateTargetError       a host that is called is none of the public internet: it is not called
├── InvalidApiKeysError      a file of API keys cannot be used
├── AccessTokenRefusedError  a token is not good; becomes a ProblemError
├── InvalidJwksError         a set of public keys cannot be used
└── JwksUnavailableError     no set of public keys is known that is new enough
    └── KeyNotFetchedError   none is known that has the key of one token
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

PROBLEM_TYPE = "urn:consent-relay:problem:"


class HttpError(Exception):
    """Base of this package."""


class ProblemError(HttpError):
    """Raise it anywhere below a route; `install` renders it.

    `kind` is a stable slug, the end of the type URI. `field` is a JSON pointer into the body such as `/addresses/3`, or
    the name of a parameter or header. `cure` says what the caller can do. `errors` lists several faults at once, each a
    mapping with field, detail and cure."""

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        *,
        field: str | None = None,
        cure: str | None = None,
        errors: Sequence[Mapping[str, Any]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{status} {kind}: {detail}")
        self.status = status
        self.kind = kind
        self.detail = detail
        self.field = field
        self.cure = cure
        self.errors = tuple(errors)
        self.headers = dict(headers or {})

    def document(self) -> dict[str, Any]:
        members = {
            "type": PROBLEM_TYPE + self.kind,
            "title": self.kind.replace("-", " ").capitalize(),
            "status": self.status,
            "detail": self.detail,
            "field": self.field,
            "cure": self.cure,
            "errors": list(self.errors) or None,
        }
        return {name: value for name, value in members.items() if value is not None}


class RequestRefusedError(HttpError):
    """Ends the parsing of a request from within one of the parser's callbacks."""


class InvalidApiKeysError(HttpError):
    """The text names the place in the file."""


class AccessTokenRefusedError(HttpError):
    """`reason` is a code of `access_tokens.REASONS`; `detail` is for the caller and quotes nothing of the token."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class InvalidJwksError(HttpError):
    """The text says what is wrong with the document, or with fetching it."""


class JwksUnavailableError(HttpError):
    """Whether a token is good cannot be known now. ``seconds``: after which it may be."""

    def __init__(self, message: str, *, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds


class KeyNotFetchedError(JwksUnavailableError):
    """No key has the token's kid, and the keys may not be fetched again yet: the server may have published it since."""


class PrivateTargetError(HttpError):
    """Raised by the resolver, before anything is sent."""

    def __init__(self) -> None:
        super().__init__("the host resolves to an address that is not public")
