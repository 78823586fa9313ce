"""A caller of the gate has a rate of requests and one of addresses, and a compressed body is refused (R45)."""

from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry

from consent_http import api_keys
from consent_http.api_keys import KeyFile
from consent_http.rate_limits import RateLimits
from consent_http.rates import Rates
from consent_privacy.keyring import Keyring
from suppression.gate.app import Gate, create_app
from suppression.gate.metrics import GateMetrics
from tests.unit.gate.test_gate_slices import ANSWER, View

ONE = Rates(per_key=0.001, per_tenant=0)


class Checker:
    def check(self, addresses: list[str], purpose: str) -> list[object]:
        return [ANSWER] * len(addresses)


class GateRig:
    def __init__(self, directory: Path, keyring: Keyring, limits: RateLimits) -> None:
        token, key = api_keys.mint(tenant="acme", scopes=["check"])
        api_keys.write(directory / "keys.json", [key])
        metrics = GateMetrics.on(CollectorRegistry())
        gate = Gate(
            views={},
            keyring=keyring,
            keys=KeyFile(directory / "keys.json"),
            metrics=metrics,
            default_region="FR",
            unknown=lambda _: "deny",
            limits=limits,
        )
        gate.__dict__.update(_views={"sms": View()}, _checkers={("acme", "sms"): Checker()})
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(create_app(gate, metrics)),
            base_url="http://gate",
            headers={"Authorization": f"Bearer {token}"},
        )

    async def ask(self, count: int = 1, **headers: str) -> httpx.Response:
        body = {"channel": "sms", "purpose": "news", "addresses": ["+33639980001"] * count}
        return await self.client.post("/v1/check", json=body, headers=headers)


@pytest.mark.parametrize("budget", ["requests", "addresses"])
async def test_a_caller_has_a_rate(tmp_path: Path, keyring: Keyring, budget: str) -> None:
    rig = GateRig(tmp_path, keyring, RateLimits({budget: ONE}))
    assert (await rig.ask()).status_code == 200
    refused = await rig.ask()
    assert refused.status_code == 429
    assert refused.json()["type"] == "urn:consent-relay:problem:rate-limited"
    assert int(refused.headers["retry-after"]) > 0


async def test_ten_thousand_addresses_are_admitted_and_paid_for(tmp_path: Path, keyring: Keyring) -> None:
    rig = GateRig(tmp_path, keyring, RateLimits({"addresses": Rates(per_key=1, per_tenant=0)}))
    assert len((await rig.ask(10_000)).json()["results"]) == 10_000
    assert (await rig.ask()).status_code == 429


async def test_a_compressed_question_is_refused_by_name(tmp_path: Path, keyring: Keyring) -> None:
    refused = await GateRig(tmp_path, keyring, RateLimits({})).ask(**{"content-encoding": "gzip"})
    assert refused.status_code == 415
    assert refused.headers["accept-encoding"] == "identity"
