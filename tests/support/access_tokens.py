"""An authorization server of the tests: its keys, its JWK set, and tokens, well-formed or not."""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

from joserfc import jws
from joserfc.jwk import ECKey, RSAKey
from prometheus_client import CollectorRegistry

from consent_http.access_tokens import AccessTokenMetrics, AccessTokens, TokenRules
from consent_http.api_keys import TOKEN_SCOPES
from consent_http.jwks import KeySource

ISSUER = "https://login.example.com/"
AUDIENCE = "https://consent.example.com"
ALGORITHMS = frozenset({"RS256", "PS256", "ES256"})


def encoded(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def claims_of(**changes: Any) -> dict[str, Any]:
    """Of a good token; a claim that is changed to None is left out."""
    now = int(time.time())
    good = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "exp": now + 600,
        "iat": now,
        "client_id": "crm",
        "tenant": "acme",
        "scope": "submit read check",
    }
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


class Issuer:
    """With one RSA key, `r1`, and one on an elliptic curve, `e1`."""

    def __init__(self) -> None:
        self.keys: dict[str, RSAKey | ECKey] = {
            "r1": RSAKey.generate_key(2048, {"kid": "r1"}),
            "e1": ECKey.generate_key("P-256", {"kid": "e1"}),
        }

    def rotate(self, old: str, new: str) -> None:
        del self.keys[old]
        self.keys[new] = RSAKey.generate_key(2048, {"kid": new})

    def jwks(self) -> bytes:
        return json.dumps({"keys": [key.as_dict(private=False) for key in self.keys.values()]}).encode()

    def token(self, *, header: Mapping[str, Any] | None = None, kid: str = "r1", **changes: Any) -> str:
        """A token with these claims changed, signed by `kid`."""
        return self.signed(json.dumps(claims_of(**changes)).encode(), header=header, kid=kid)

    def signed(self, payload: bytes, *, header: Mapping[str, Any] | None = None, kid: str = "r1") -> str:
        """Any bytes, under a header of any members."""
        key = self.keys[kid]
        algorithm = "RS256" if isinstance(key, RSAKey) else "ES256"
        whole = {"alg": algorithm, "kid": kid, "typ": "at+jwt", **(header or {})}
        head = encoded(json.dumps(whole).encode())
        return self.signed_as_is(head, payload, kid=kid, algorithm=algorithm)

    def signed_as_is(self, head: str, payload: bytes, *, kid: str = "r1", algorithm: str = "RS256") -> str:
        """`head`: already in base64url."""
        signing = f"{head}.{encoded(payload)}"
        model = jws.default_registry.algorithms[algorithm]
        return f"{signing}.{encoded(model.sign(signing.encode(), self.keys[kid]))}"


def verifier(
    keys: KeySource,
    *,
    tenants: tuple[str, ...] = ("acme", "globex"),
    scopes: Mapping[str, str] | None = None,
    registry: CollectorRegistry | None = None,
) -> AccessTokens:
    rules = TokenRules(
        issuer=ISSUER,
        audience=AUDIENCE,
        algorithms=ALGORITHMS,
        tenant_claim="tenant",
        scopes=scopes or {each: each for each in TOKEN_SCOPES},
        leeway=30,
    )
    return AccessTokens(
        rules, keys, tenants=lambda: tenants, metrics=AccessTokenMetrics.on(registry or CollectorRegistry())
    )
