"""Which access tokens are taken, and as whom (R15); which are refused, and why (R45)."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from consent_http.access_tokens import MAX_TOKEN_BYTES, REASONS, AccessTokens
from consent_http.callers import Caller
from consent_http.errors import ProblemError
from consent_http.jwks import JwksFile, read_file
from tests.support.access_tokens import ALGORITHMS, AUDIENCE, ISSUER, Issuer, claims_of, encoded, verifier

NOW = int(time.time())


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture(scope="module")
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture(scope="module")
def tokens(issuer: Issuer, registry: CollectorRegistry, tmp_path_factory: pytest.TempPathFactory) -> AccessTokens:
    path = tmp_path_factory.mktemp("jwks") / "jwks.json"
    path.write_bytes(issuer.jwks())
    return verifier(JwksFile(read_file(path, algorithms=ALGORITHMS), longest=3_600.0), registry=registry)


@pytest.mark.parametrize("kid", ["r1", "e1"])
async def test_a_good_token_is_a_caller(tokens: AccessTokens, issuer: Issuer, kid: str) -> None:
    caller = await tokens.caller(issuer.token(kid=kid))
    assert caller == Caller(id="crm", tenant="acme", scopes=frozenset({"submit", "read", "check"}), may_lift=False)
    assert (caller.who, caller.sender) == ("client:crm", "client crm")


GOOD: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "one of several audiences": ({"aud": ["https://other.example.com", AUDIENCE]}, {}),
    "expired within the leeway": ({"exp": timedelta(seconds=-5)}, {}),
    "not valid yet within the leeway": ({"nbf": timedelta(seconds=5)}, {}),
    "without a type": ({}, {"typ": "JWT"}),
    "with a header that no standard names": ({}, {"nonce": "x"}),
    "with keys of its own, which are not looked at": (
        {},
        {
            "jku": "https://evil.example.com/jwks",
            "x5u": "https://evil.example.com/chain",
            "x5c": ["MIIB" * 100],
            "jwk": {"kty": "oct", "k": "AAAA"},
        },
    ),
}


@pytest.mark.parametrize("case", GOOD)
async def test_is_taken(tokens: AccessTokens, issuer: Issuer, case: str) -> None:
    claims, header = GOOD[case]
    now = int(time.time())  # Of the test: those times are seconds from it.
    claims = {
        name: now + int(value.total_seconds()) if isinstance(value, timedelta) else value
        for name, value in claims.items()
    }
    assert (await tokens.caller(issuer.token(header=header, **claims))).id == "crm"


BAD: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "another issuer": ("iss", {"iss": "https://evil.example.com/"}, {}),
    "an issuer that begins as ours": ("iss", {"iss": ISSUER + "x"}, {}),
    "no issuer": ("claims", {"iss": None}, {}),
    "another audience": ("aud", {"aud": "https://other.example.com"}, {}),
    "audiences that are none": ("aud", {"aud": [1, {}]}, {}),
    "no audience": ("claims", {"aud": None}, {}),
    "expired": ("expired", {"exp": NOW - 3_600}, {}),
    "no end": ("claims", {"exp": None}, {}),
    "an end that is a text": ("claims", {"exp": "never"}, {}),
    "an end that is true": ("claims", {"exp": True}, {}),
    "not yet valid": ("nbf", {"nbf": NOW + 3_600}, {}),
    "issued in the future": ("iat", {"iat": NOW + 3_600}, {}),
    "no tenant": ("tenant", {"tenant": None}, {}),
    "a tenant that is not served": ("tenant", {"tenant": "initech"}, {}),
    "tenants": ("tenant", {"tenant": ["acme"]}, {}),
    "no client": ("client", {"client_id": None}, {}),
    "a client that is a number": ("client", {"client_id": 7}, {}),
    "scopes as a list": ("scope", {"scope": ["submit"]}, {}),
    "an unknown kid": ("unknown_key", {}, {"kid": "r9"}),
    "the kid of another kind of key": ("unknown_key", {}, {"kid": "e1"}),
    "a kid that is no text": ("malformed", {}, {"kid": ["r1"]}),
    "a critical extension": ("critical_header", {}, {"crit": ["exp"], "exp": 1}),
    "an unencoded payload": ("critical_header", {}, {"crit": ["b64"], "b64": False}),
    "an algorithm that is not pinned": ("algorithm", {}, {"alg": "RS512"}),
    "an algorithm that is no text": ("algorithm", {}, {"alg": 7}),
    "another type of token": ("type", {}, {"typ": "logout+jwt"}),
    "another algorithm of the same key": ("signature", {}, {"alg": "PS256"}),
}


async def refusal(tokens: AccessTokens, token: str) -> ProblemError:
    with pytest.raises(ProblemError) as caught:
        await tokens.caller(token)
    assert caught.value.status == 401
    return caught.value


@pytest.mark.parametrize("case", BAD)
async def test_is_refused(tokens: AccessTokens, registry: CollectorRegistry, issuer: Issuer, case: str) -> None:
    reason, claims, header = BAD[case]
    before = count(registry, reason)
    problem = await refusal(tokens, issuer.token(header=header, **claims))
    assert count(registry, reason) == before + 1
    challenge = problem.headers["WWW-Authenticate"]  # RFC 6750
    assert challenge.startswith('Bearer realm="consent-relay", error="invalid_token", error_description="')
    assert challenge.isascii()
    assert challenge.count('"') == 6


def count(registry: CollectorRegistry, reason: str) -> float:
    assert reason in REASONS
    return registry.get_sample_value("consent_relay_access_tokens_refused_total", {"reason": reason}) or 0.0


def unsigned(algorithm: str) -> tuple[str, str]:
    head = encoded(json.dumps({"alg": algorithm, "kid": "r1"}).encode())
    return head, encoded(json.dumps(claims_of()).encode())


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", ""])
async def test_an_unsigned_token_is_refused(tokens: AccessTokens, issuer: Issuer, algorithm: str) -> None:
    await refusal(tokens, ".".join([*unsigned(algorithm), ""]))


@pytest.mark.parametrize("form", ["pem", "jwk"])
async def test_a_token_that_is_signed_with_the_public_key_as_a_secret_is_refused(
    tokens: AccessTokens, issuer: Issuer, form: str
) -> None:
    key = issuer.keys["r1"]
    secret = key.as_pem(private=False) if form == "pem" else json.dumps(key.as_dict(private=False)).encode()
    head, payload = unsigned("HS256")
    signature = hmac.digest(secret, f"{head}.{payload}".encode(), "sha256")
    await refusal(tokens, f"{head}.{payload}.{encoded(signature)}")


async def test_a_token_of_another_server_under_our_kid_is_refused(tokens: AccessTokens) -> None:
    await refusal(tokens, Issuer().token())


async def test_claims_that_are_changed_after_the_signature_are_refused(tokens: AccessTokens, issuer: Issuer) -> None:
    head, _, signature = issuer.token().split(".")
    await refusal(tokens, f"{head}.{encoded(json.dumps(claims_of(tenant='globex')).encode())}.{signature}")


MALFORMED: dict[str, bytes] = {
    "a claim twice": json.dumps(claims_of()).encode()[:-1] + b', "tenant": "globex"}',
    "a claim twice, far inside": json.dumps(claims_of()).encode()[:-1] + b', "a": [{"b": 1, "b": 2}]}',
    "nested without end": b"[" * 4_000,
    "objects without end": b'{"a":' * 1_050,
    "no object": b'["acme"]',
    "not a number": b'{"exp": NaN}',
    "a number of thousands of digits": b'{"exp": ' + b"9" * 5_000 + b"}",
    "no UTF-8": b'{"iss": "\xff"}',
    "nothing": b"",
}


@pytest.mark.parametrize("case", MALFORMED)
async def test_claims_that_could_be_read_in_two_ways_or_not_at_all_are_refused(
    tokens: AccessTokens, registry: CollectorRegistry, issuer: Issuer, case: str
) -> None:
    before = count(registry, "malformed")
    await refusal(tokens, issuer.signed(MALFORMED[case]))
    assert count(registry, "malformed") == before + 1


@pytest.mark.parametrize(
    "head", [b'{"alg": "RS256", "alg": "none", "kid": "r1"}', b"[" * 4_000, b'["RS256"]', b"", b"\xff"]
)
async def test_a_header_that_could_be_read_in_two_ways_or_not_at_all_is_refused(
    tokens: AccessTokens, issuer: Issuer, head: bytes
) -> None:
    await refusal(tokens, issuer.signed_as_is(encoded(head), json.dumps(claims_of()).encode()))


async def test_a_token_that_is_too_long_is_refused_before_it_is_decoded(
    tokens: AccessTokens, registry: CollectorRegistry, issuer: Issuer
) -> None:
    before = count(registry, "too_long")
    await refusal(tokens, issuer.token(padding="x" * MAX_TOKEN_BYTES))
    assert count(registry, "too_long") == before + 1


@given(st.text(max_size=60).map(lambda text: f"{text}.{text}.{text}") | st.text(max_size=200))
async def test_any_text_is_refused_as_a_token(tokens: AccessTokens, text: str) -> None:
    await refusal(tokens, text)


@pytest.mark.parametrize(
    ("claims", "known_as"),
    [
        ({"client_id": None, "azp": "portal"}, "portal"),
        ({"client_id": None, "sub": "batch-import"}, "batch-import"),
        ({"client_id": "0b9d4c1e-3f6a-4c57-9d0e-2f7f5c1b8a11"}, "0b9d4c1e-3f6a-4c57-9d0e-2f7f5c1b8a11"),
    ],
)
async def test_the_client_is_named_by_the_first_claim_that_does(
    tokens: AccessTokens, issuer: Issuer, claims: dict[str, Any], known_as: str
) -> None:
    assert (await tokens.caller(issuer.token(**claims))).id == known_as


@pytest.mark.parametrize("person", ["ada@example.com", "+33639980001", "a33639980001", "Ada Example", "x" * 65])
async def test_of_a_client_that_could_be_a_person_a_digest_is_kept(  # R13
    tokens: AccessTokens, issuer: Issuer, person: str
) -> None:
    caller = await tokens.caller(issuer.token(client_id=person))
    assert caller.id == "sha256-" + hashlib.sha256(f"{ISSUER}\0{person}".encode()).hexdigest()[:32]


async def test_scopes_are_theirs_by_the_mapping_and_no_others(issuer: Issuer, tmp_path: Path) -> None:
    (tmp_path / "jwks.json").write_bytes(issuer.jwks())
    keys = JwksFile(read_file(tmp_path / "jwks.json", algorithms=ALGORITHMS), longest=3_600.0)
    mapped = verifier(keys, scopes={"crm.write": "submit", "crm.lift": "lift"})
    caller = await mapped.caller(issuer.token(scope="crm.write admin read crm.lift"))
    assert (caller.scopes, caller.may_lift) == (frozenset({"submit"}), True)
    none = await mapped.caller(issuer.token(scope=None))
    assert (none.scopes, none.may_lift) == (frozenset(), False)
