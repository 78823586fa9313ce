"""The settings of access tokens: each wrong one is named with its cure, and what they make takes a token (R15)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from pydantic import ValidationError

from consent_http.errors import InvalidJwksError, ProblemError
from consent_http.token_settings import AccessTokenSettings
from consent_service.health import Health
from consent_service.secret_files import SecretWatch
from tests.support.access_tokens import AUDIENCE, ISSUER, Issuer

URL = "https://login.example.com/jwks"
GOOD: dict[str, Any] = {"oauth_issuer": ISSUER, "oauth_audience": AUDIENCE, "oauth_jwks_url": URL}

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no audience": ({"oauth_audience": None}, "CONSENT_RELAY_OAUTH_AUDIENCE"),
    "no keys": ({"oauth_jwks_url": None}, "CONSENT_RELAY_OAUTH_JWKS_URL or CONSENT_RELAY_OAUTH_JWKS_FILE"),
    "http": ({"oauth_jwks_url": "http://login.example.com/jwks"}, "CONSENT_RELAY_OAUTH_JWKS_URL: only https"),
    "a private address": ({"oauth_jwks_url": "https://10.0.0.7/jwks"}, "CONSENT_RELAY_OAUTH_JWKS_ALLOW_PRIVATE=true"),
    "no algorithm": ({"oauth_algorithms": ""}, "requires algorithms"),
    "the algorithm none": ({"oauth_algorithms": "RS256,none"}, "protect nothing here"),
    "a symmetric algorithm": ({"oauth_algorithms": "HS256"}, "protect nothing here"),
    "a scope that is none of ours": ({"oauth_scopes": "crm.write=everything"}, "ours are"),
    "the console": ({"oauth_scopes": "crm.see=console"}, "ours are"),
    "a scope without theirs": ({"oauth_scopes": "submit"}, "requires pairs"),
    "a claim that would break a header": ({"oauth_tenant_claim": 'a"b'}, "pattern"),
    "an issuer that is no URL": ({"oauth_issuer": "login"}, "pattern"),
    "a leeway of an hour": ({"oauth_leeway": 3_600}, "300"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_setting_is_refused_with_its_cure(case: str) -> None:
    change, named = WRONG[case]
    with pytest.raises(ValidationError) as caught:
        AccessTokenSettings(**{**GOOD, **change})
    assert named in str(caught.value)


def test_a_file_and_a_url_are_one_too_many(tmp_path: Path) -> None:
    (tmp_path / "jwks.json").write_bytes(b"{}")
    with pytest.raises(ValidationError, match="set one of them"):
        AccessTokenSettings(**{**GOOD, "oauth_jwks_file": tmp_path / "jwks.json"})


def test_without_an_issuer_no_token_is_taken() -> None:
    registry = CollectorRegistry()
    watch = SecretWatch(registry, Health())
    assert AccessTokenSettings().access_tokens(registry, watch, tenants=lambda: ["acme"]) is None


async def test_what_the_settings_make_takes_their_tokens_alone(tmp_path: Path) -> None:
    issuer, registry = Issuer(), CollectorRegistry()
    (tmp_path / "jwks.json").write_bytes(issuer.jwks())
    settings = AccessTokenSettings(
        oauth_issuer=ISSUER,
        oauth_audience=AUDIENCE,
        oauth_jwks_file=tmp_path / "jwks.json",
        oauth_algorithms="ES256",  # type: ignore[arg-type]  # as the environment has it
        oauth_tenant_claim="https://example.com/tenant",
        oauth_scopes="crm.write=submit",  # type: ignore[arg-type]
    )
    tokens = settings.access_tokens(registry, SecretWatch(registry, Health()), tenants=lambda: ["acme"])
    assert tokens is not None
    claims = {"tenant": None, "https://example.com/tenant": "acme", "scope": "crm.write submit read"}
    caller = await tokens.caller(issuer.token(kid="e1", **claims))
    assert (caller.tenant, caller.scopes) == ("acme", {"submit"})
    for refused in (issuer.token(kid="r1", **claims), issuer.token(kid="e1")):
        with pytest.raises(ProblemError):
            await tokens.caller(refused)


def test_a_file_without_a_usable_key_ends_the_start(tmp_path: Path) -> None:
    (tmp_path / "jwks.json").write_bytes(b'{"keys": []}')
    settings = AccessTokenSettings(oauth_issuer=ISSUER, oauth_audience=AUDIENCE, oauth_jwks_file=tmp_path / "jwks.json")
    registry = CollectorRegistry()
    with pytest.raises(InvalidJwksError, match=r"jwks\.json: has no public signature key"):
        settings.access_tokens(registry, SecretWatch(registry, Health()), tenants=lambda: ["acme"])
