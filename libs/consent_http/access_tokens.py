"""OAuth2 access tokens (RFC 6750) as signed JWTs (RFC 7519, RFC 9068), beside API keys.

What a token says of its own keys (`jku`, `jwk`, `x5u`, `x5c`) is not looked at. Everything that it is compared with
comes from the settings: the algorithms, the issuer, the audience, and the keys.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from base64 import urlsafe_b64decode
from binascii import Error as Base64Error
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Self

from joserfc.errors import ExpiredTokenError, InvalidClaimError, JoseError, MissingClaimError
from joserfc.jws import JWSRegistry, deserialize_compact
from joserfc.jwt import JWTClaimsRegistry
from prometheus_client import CollectorRegistry, Counter

from consent_http.api_keys import LIFT
from consent_http.callers import Caller
from consent_http.errors import AccessTokenRefusedError, JwksUnavailableError, KeyNotFetchedError, ProblemError
from consent_http.jwks import KeySource
from consent_service.clock import now_micros

MAX_TOKEN_BYTES = 8_192
_TYPES = frozenset({"jwt", "at+jwt", "application/jwt", "application/at+jwt"})
_CLIENT = ("client_id", "azp", "sub")
"""Claims that may name the client: RFC 9068's, OpenID Connect's, and that of servers with neither."""
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_NAME = re.compile(r"(?!.*[0-9]{7})[A-Za-z][A-Za-z0-9._-]{0,63}")
"""Of a client: neither an e-mail address nor a number, which a subject of a person could be."""


_CHALLENGE = 'Bearer realm="consent-relay", error="invalid_token"'
UNAVAILABLE = "keys_unavailable"
NOT_FETCHED = "key_not_fetched"
REASONS = (
    "too_long",
    "malformed",
    "algorithm",
    "critical_header",
    "type",
    "unknown_key",
    "signature",
    "expired",
    "claims",
    "iss",
    "aud",
    "nbf",
    "iat",
    "tenant",
    "client",
    "scope",
    NOT_FETCHED,
    UNAVAILABLE,
)
"""Labels of a metric, and nothing that a caller could choose."""


_WRONG_CLAIMS = {
    "iss": "it is of another issuer",
    "aud": "it is for another audience",
    "nbf": "it is not valid yet",
    "iat": "it was issued in the future: compare the clocks",
}


class _Registry(JWSRegistry):
    """A header of any length that the token's permits: certificates in it are long, and passed over."""

    max_header_length = MAX_TOKEN_BYTES
    max_payload_length = MAX_TOKEN_BYTES


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenRules:
    """What a token has to be. ``scopes``: ours by theirs. ``leeway``: seconds that clocks may differ."""

    issuer: str
    audience: str
    algorithms: frozenset[str]
    tenant_claim: str
    scopes: Mapping[str, str]
    leeway: int


@dataclass(frozen=True, kw_only=True, slots=True)
class AccessTokenMetrics:
    """Of one process."""

    refused: Counter

    @classmethod
    def on(cls, registry: CollectorRegistry) -> Self:
        refused = Counter(
            "consent_relay_access_tokens_refused",
            "OAuth2 access tokens that were refused, by reason. A rise of unknown_key or signature after a change at"
            " the authorization server means that its keys do not reach this process; of keys_unavailable, that none is"
            " known at all; of key_not_fetched, that tokens name keys which may be fetched in some seconds.",
            ["reason"],
            registry=registry,
        )
        for reason in REASONS:
            refused.labels(reason)
        return cls(refused=refused)


class AccessTokens:
    """Verifies access tokens. ``tenants``: those that are served, as of now."""

    def __init__(
        self,
        rules: TokenRules,
        keys: KeySource,
        *,
        tenants: Callable[[], Collection[str]],
        metrics: AccessTokenMetrics,
        now: Callable[[], int] = now_micros,
    ) -> None:
        self._rules = rules
        self._keys = keys
        self._tenants = tenants
        self._metrics = metrics
        self._now = now
        self._registry = _Registry(algorithms=sorted(rules.algorithms), strict_check_header=False)

    async def caller(self, token: str) -> Caller:
        """Who sends the token. Raises ProblemError: 401 for one that is not good, 503 where that cannot be known."""
        try:
            return await self._verify(token)
        except AccessTokenRefusedError as refusal:
            self._metrics.refused.labels(refusal.reason).inc()
            raise _invalid_token(refusal) from None
        except KeyNotFetchedError as error:
            self._metrics.refused.labels(NOT_FETCHED).inc()
            raise _not_verifiable("The key of this access token is not known yet.", error) from None
        except JwksUnavailableError as error:
            self._metrics.refused.labels(UNAVAILABLE).inc()
            raise _not_verifiable(
                "The keys of the authorization server cannot be read, so that no access token can be verified.", error
            ) from None

    async def _verify(self, token: str) -> Caller:
        if len(token) > MAX_TOKEN_BYTES:
            raise AccessTokenRefusedError("too_long", f"it is longer than {MAX_TOKEN_BYTES} characters")
        header = _header(token)
        algorithm, kid = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in self._rules.algorithms:
            raise AccessTokenRefusedError(
                "algorithm", f"its algorithm is none of {', '.join(sorted(self._rules.algorithms))}"
            )
        if "crit" in header or "b64" in header:
            raise AccessTokenRefusedError(
                "critical_header", "its header has a critical extension, of which none is known"
            )
        if str(header.get("typ", "JWT")).lower() not in _TYPES:
            raise AccessTokenRefusedError("type", "its header's typ is neither JWT nor at+jwt")
        if kid is not None and not isinstance(kid, str):
            raise AccessTokenRefusedError("malformed", "its kid is no text")
        key = await self._keys.key(kid, algorithm)
        if key is None:
            raise AccessTokenRefusedError("unknown_key", "no key of the authorization server has its kid and algorithm")
        try:
            payload = deserialize_compact(token, key, registry=self._registry).payload
        except (JoseError, ValueError, TypeError):
            raise AccessTokenRefusedError(
                "signature", "its signature is not that of the authorization server"
            ) from None
        claims = _members(payload, "claims")
        self._check(claims)
        return self._named(claims)

    def _check(self, claims: dict[str, Any]) -> None:
        rules = self._rules
        registry = JWTClaimsRegistry(
            now=self._now() // 1_000_000,
            leeway=rules.leeway,
            exp={"essential": True},
            iss={"essential": True, "value": rules.issuer},
            aud={"essential": True, "value": rules.audience},
        )
        try:
            registry.validate(claims)
        except ExpiredTokenError:
            raise AccessTokenRefusedError("expired", "it has expired") from None
        except MissingClaimError:
            raise AccessTokenRefusedError("claims", "it lacks one of exp, iss and aud") from None
        except InvalidClaimError as error:
            reason = error.claim if error.claim in _WRONG_CLAIMS else "claims"
            detail = _WRONG_CLAIMS.get(reason, "one of its claims is not as RFC 7519 has it")
            raise AccessTokenRefusedError(reason, detail) from None

    def _named(self, claims: Mapping[str, Any]) -> Caller:
        tenant = claims.get(self._rules.tenant_claim)
        if not isinstance(tenant, str) or tenant not in self._tenants():
            raise AccessTokenRefusedError(
                "tenant", f"its claim {self._rules.tenant_claim} names no tenant that is served"
            )
        client = next((claims[name] for name in _CLIENT if isinstance(claims.get(name), str) and claims[name]), None)
        if client is None:
            raise AccessTokenRefusedError("client", f"it names no client: one of {', '.join(_CLIENT)} is required")
        granted = claims.get("scope", "")
        if not isinstance(granted, str):
            raise AccessTokenRefusedError("scope", "its scope is no text of words with blanks between them")
        scopes = {self._rules.scopes[each] for each in granted.split() if each in self._rules.scopes}
        return Caller(
            id=_client_id(client, self._rules.issuer),
            tenant=tenant,
            scopes=frozenset(scopes - {LIFT}),
            may_lift=LIFT in scopes,
        )


def _not_verifiable(detail: str, error: JwksUnavailableError) -> ProblemError:
    """The token may be good: its caller keeps it."""
    return ProblemError(
        503,
        "token-keys-unavailable",
        detail,
        cure="Repeat it after the seconds of Retry-After, with the same token.",
        headers={"Retry-After": str(max(1, math.ceil(error.seconds)))},
    )


def looks_like(token: str) -> bool:
    """Whether this is the form of a signed token, and not of an API key."""
    return token.count(".") == 2


def _header(token: str) -> dict[str, Any]:
    first, _, rest = token.partition(".")
    if rest.count(".") != 1 or not token.isascii():
        raise AccessTokenRefusedError("malformed", "it is no signed token of three parts")
    try:
        content = urlsafe_b64decode(first + "=" * (-len(first) % 4))
    except (Base64Error, ValueError):
        raise AccessTokenRefusedError("malformed", "its header is no base64url") from None
    return _members(content, "header")


def _members(content: bytes, what: str) -> dict[str, Any]:
    """A JSON object in which no name occurs twice: readers would differ in which of the two counts."""
    try:
        found = json.loads(content, object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise AccessTokenRefusedError("malformed", f"its {what} are no JSON, or have a name twice") from None
    if not isinstance(found, dict):
        raise AccessTokenRefusedError("malformed", f"its {what} are no JSON object")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _no_constant(_: str) -> None:
    raise ValueError("NaN and Infinity are no JSON")


def _client_id(client: str, issuer: str) -> str:
    """As it is kept and shown: a client's own id; of what could be a person's address, a digest."""
    if _UUID.fullmatch(client) or _NAME.fullmatch(client):
        return client
    return "sha256-" + hashlib.sha256(f"{issuer}\0{client}".encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _invalid_token(refusal: AccessTokenRefusedError) -> ProblemError:
    """RFC 6750, section 3.1."""
    return ProblemError(
        401,
        "invalid-token",
        f"The access token is refused: {refusal.detail}.",
        field="Authorization",
        cure="Get a new one from the authorization server, for this audience and tenant.",
        headers={"WWW-Authenticate": f'{_CHALLENGE}, error_description="{refusal.detail}"'},
    )
