"""Settings of OAuth2 access tokens, for each process that takes them. Without an issuer, none is taken."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Self

from prometheus_client import CollectorRegistry
from pydantic import Field, field_validator, model_validator

from consent_service.settings import CommaSeparated, ProcessSettings, ReadableFile

if TYPE_CHECKING:
    from consent_http.access_tokens import AccessTokens
    from consent_service.secret_files import SecretWatch

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
"""Signatures with a private key. None that a holder of the public one could make, as HS256 with it would be."""
_PREFIX = "CONSENT_RELAY_OAUTH_"


class AccessTokenSettings(ProcessSettings):
    """A process that takes access tokens beside API keys."""

    oauth_issuer: str | None = Field(
        None,
        pattern=r"^https?://[!-~]+$",
        description="the issuer (claim iss) whose access tokens are taken beside API keys. Unset: none are",
    )
    oauth_audience: str | None = Field(None, description="the audience (claim aud) that a token must be for")
    oauth_jwks_url: str | None = Field(
        None, description="https URL of the issuer's public keys (a JWK set). This, or the file, is required"
    )
    oauth_jwks_file: ReadableFile | None = Field(
        None, description="path of a JSON file with them instead, read again when it changes"
    )
    oauth_jwks_allow_private: bool = Field(
        False, description="whether that URL may be http, and on a private network: an issuer beside us, or a test"
    )
    oauth_jwks_refresh: float = Field(
        300.0,
        ge=10,
        le=86_400,
        description="seconds after which the keys are fetched again; a removed key counts until then",
    )
    oauth_jwks_pause: float = Field(
        10.0, ge=1, le=3_600, description="seconds between two fetches, whatever unknown keys the tokens name"
    )
    oauth_jwks_longest: float = Field(
        3_600.0,
        ge=10,
        le=604_800,
        description="seconds for which keys count that cannot be fetched or read again; then every token is answered"
        " 503",
    )
    oauth_algorithms: CommaSeparated = Field(
        ("RS256", "PS256", "ES256"), description=f"algorithms that a token may be signed by, of {', '.join(ALGORITHMS)}"
    )
    oauth_tenant_claim: str = Field(
        "tenant", pattern=r"^[A-Za-z0-9_.:/-]{1,200}$", description="the claim that names the tenant"
    )
    oauth_scopes: CommaSeparated = Field(
        (),
        description="which of ours a scope of theirs is, comma separated: crm.write=submit,crm.read=read. Unset: each"
        " is the one of its name. Permissions lift a refusal with the scope lift alone",
    )
    oauth_leeway: int = Field(
        30, ge=0, le=300, description="seconds that the issuer's clock may differ from ours, for exp, nbf and iat"
    )

    @field_validator("oauth_algorithms")
    @classmethod
    def _asymmetric(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not names or not set(names) <= set(ALGORITHMS):
            raise ValueError(f"requires algorithms of {', '.join(ALGORITHMS)}: none and HS256 protect nothing here")
        return names

    @field_validator("oauth_scopes")
    @classmethod
    def _mapped(cls, pairs: tuple[str, ...]) -> tuple[str, ...]:
        from consent_http.api_keys import TOKEN_SCOPES

        for pair in pairs:
            theirs, equals, ours = pair.rpartition("=")
            if not equals or not theirs or ours not in TOKEN_SCOPES:
                raise ValueError(f"requires pairs such as crm.write=submit; ours are {', '.join(sorted(TOKEN_SCOPES))}")
        return pairs

    @model_validator(mode="after")
    def _tokens_fit_together(self) -> Self:
        if self.oauth_issuer is None:
            return self
        if not self.oauth_audience:
            raise ValueError(f"{_PREFIX}AUDIENCE: set it: without it a token for any other service would be taken")
        if (self.oauth_jwks_url is None) == (self.oauth_jwks_file is None):
            raise ValueError(f"{_PREFIX}JWKS_URL or {_PREFIX}JWKS_FILE: set one of them")
        if self.oauth_jwks_url is not None:
            from consent_http.ssrf import url_error

            switch = f"{_PREFIX}JWKS_ALLOW_PRIVATE=true"
            fault = url_error(self.oauth_jwks_url, allow_private=self.oauth_jwks_allow_private, switch=switch)
            if fault is not None:
                raise ValueError(f"{_PREFIX}JWKS_URL: {fault}")
        return self

    def access_tokens(
        self, registry: CollectorRegistry, watch: SecretWatch, *, tenants: Callable[[], Collection[str]]
    ) -> AccessTokens | None:
        """What verifies tokens; None where none are taken. Raises InvalidJwksError for a file that cannot be used."""
        if self.oauth_issuer is None:
            return None
        # Processes that take no tokens start without the libraries.
        from consent_http.access_tokens import AccessTokenMetrics, AccessTokens, TokenRules
        from consent_http.api_keys import TOKEN_SCOPES
        from consent_http.jwks import JwksFile, JwksTimes, JwksUrl, KeySource, read_file

        assert self.oauth_audience
        algorithms = frozenset(self.oauth_algorithms)
        keys: KeySource
        if self.oauth_jwks_file is not None:
            file = read_file(self.oauth_jwks_file, algorithms=algorithms)
            watch.follow(file)
            keys = JwksFile(file, longest=self.oauth_jwks_longest)
        else:
            assert self.oauth_jwks_url is not None
            keys = JwksUrl(
                self.oauth_jwks_url,
                algorithms=algorithms,
                times=JwksTimes(
                    pause=self.oauth_jwks_pause, refresh=self.oauth_jwks_refresh, longest=self.oauth_jwks_longest
                ),
                allow_private=self.oauth_jwks_allow_private,
                report=watch.fetched("access-token-keys"),
            )
        pairs = (pair.rpartition("=") for pair in self.oauth_scopes)
        return AccessTokens(
            TokenRules(
                issuer=self.oauth_issuer,
                audience=self.oauth_audience,
                algorithms=algorithms,
                tenant_claim=self.oauth_tenant_claim,
                scopes={theirs: ours for theirs, _, ours in pairs} or {each: each for each in TOKEN_SCOPES},
                leeway=self.oauth_leeway,
            ),
            keys,
            tenants=tenants,
            metrics=AccessTokenMetrics.on(registry),
        )
