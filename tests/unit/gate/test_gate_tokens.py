"""The gate takes access tokens beside API keys, without a database (R15)."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry

from consent_http import api_keys
from consent_http.api_keys import KeyFile
from consent_http.jwks import JwksFile, read_file
from consent_http.rate_limits import RateLimits
from consent_http.rates import Rates
from consent_privacy.keyring import Keyring
from suppression.gate.app import Gate, create_app
from suppression.gate.metrics import GateMetrics
from tests.support.access_tokens import ALGORITHMS, Issuer, verifier
from tests.unit.gate.test_gate_limits import Checker
from tests.unit.gate.test_gate_slices import View


class Rig:
    def __init__(self, directory: Path, keyring: Keyring, *, with_tokens: bool = True) -> None:
        self.issuer = Issuer()
        self.key, stored = api_keys.mint(tenant="acme", scopes=["check"])
        api_keys.write(directory / "keys.json", [stored])
        (directory / "jwks.json").write_bytes(self.issuer.jwks())
        jwks = JwksFile(read_file(directory / "jwks.json", algorithms=ALGORITHMS), longest=3_600.0)
        metrics = GateMetrics.on(CollectorRegistry())
        gate = Gate(
            views={},
            keyring=keyring,
            keys=KeyFile(directory / "keys.json"),
            metrics=metrics,
            default_region="FR",
            unknown=lambda _: "deny",
            limits=RateLimits({"requests": Rates(per_key=0.001, per_tenant=0)}),
            access_tokens=verifier(jwks) if with_tokens else None,
        )
        gate.__dict__.update(_views={"sms": View()}, _checkers={("acme", "sms"): Checker()})
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(create_app(gate, metrics)), base_url="http://gate"
        )

    async def ask(self, token: str, **more: str) -> httpx.Response:
        body = {"channel": "sms", "purpose": "news", "addresses": ["+33639980001"], **more}
        return await self.client.post("/v1/check", json=body, headers={"Authorization": f"Bearer {token}"})


@pytest.fixture
def rig(tmp_path: Path, keyring: Keyring) -> Rig:
    return Rig(tmp_path, keyring)


async def test_a_token_asks_as_a_key_does(rig: Rig) -> None:
    for token in (rig.issuer.token(), rig.key):
        answer = await rig.ask(token)
        assert answer.status_code == 200, answer.text


async def test_a_client_has_a_rate_of_its_own(rig: Rig) -> None:
    assert (await rig.ask(rig.issuer.token())).status_code == 200
    limited = await rig.ask(rig.issuer.token())
    assert (limited.status_code, limited.json()["type"]) == (429, "urn:consent-relay:problem:rate-limited")
    assert (await rig.ask(rig.issuer.token(client_id="other"))).status_code == 200


async def test_a_token_without_the_scope_is_403(rig: Rig) -> None:
    answer = await rig.ask(rig.issuer.token(scope="read"))
    assert answer.status_code == 403
    assert 'error="insufficient_scope", scope="check"' in answer.headers["www-authenticate"]


async def test_a_token_of_one_tenant_asks_for_no_other(rig: Rig) -> None:
    assert (await rig.ask(rig.issuer.token(), tenant="globex")).status_code == 403


async def test_a_bad_token_is_401_with_the_challenge(rig: Rig) -> None:
    answer = await rig.ask(rig.issuer.token(aud="https://other.example.com"))
    assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")
    assert answer.json()["type"] == "urn:consent-relay:problem:invalid-token"
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]


async def test_without_an_issuer_no_token_is_taken(tmp_path: Path, keyring: Keyring) -> None:
    rig = Rig(tmp_path, keyring, with_tokens=False)
    answer = await rig.ask(rig.issuer.token())
    assert (answer.status_code, answer.json()["type"]) == (401, "urn:consent-relay:problem:missing-api-key")
