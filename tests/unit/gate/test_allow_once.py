"""A token lets the one text through that confirms a STOP, and nothing else (R18)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from consent_client import Answer
from consent_http import api_keys
from consent_http.api_keys import KeyFile
from consent_privacy.keyring import Keyring
from suppression.gate.app import Gate, create_app
from suppression.gate.metrics import GateMetrics
from tests.unit.gate.test_gate_slices import View

NUMBER, TOKEN = "+33 6 39 98 00 01", "t1"


class Checker:
    def __init__(self, reason: str, **more: Any) -> None:
        self.answer = Answer(
            permitted=reason == "given", reason=reason, as_of=1, valid_until=2, valid_until_elapsed=2, **more
        )

    def check(self, addresses: list[str], purpose: str) -> list[Answer]:
        return [self.answer] * len(addresses)

    check_keys = check


class Api:
    """Knows one good token."""

    def __init__(self, *, answers: bool = True) -> None:
        self.good = {TOKEN}
        self.answers = answers
        self.asked: list[dict[str, str]] = []

    async def use(self, authorization: str, *, channel: str, address_key: str, token: str) -> bool | None:
        self.asked.append({"authorization": authorization, "channel": channel, "address_key": address_key})
        if not self.answers:
            return None
        found = token in self.good
        self.good.discard(token)
        return found


class Rig:
    def __init__(self, directory: Path, keyring: Keyring, checker: Checker, api: Api | None) -> None:
        self.token, key = api_keys.mint(tenant="acme", scopes=["check"])
        api_keys.write(directory / "keys.json", [key])
        metrics = GateMetrics.on(CollectorRegistry())
        gate = Gate(
            views={},
            keyring=keyring,
            keys=KeyFile(directory / "keys.json"),
            metrics=metrics,
            default_region="FR",
            unknown=lambda _: "deny",
            allow_once=api,  # type: ignore[arg-type]
        )
        gate.__dict__.update(_views={"sms": View()}, _checkers={("acme", "sms"): checker})
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(create_app(gate, metrics)),
            base_url="http://gate",
            headers={"Authorization": f"Bearer {self.token}"},
        )

    async def ask(self, **changes: object) -> httpx.Response:
        body = {"channel": "sms", "purpose": "opt-out-confirmation", "addresses": [NUMBER], "allow_once": TOKEN}
        return await self.client.post("/v1/check", json={**body, **changes})

    async def answer(self, **changes: object) -> tuple[bool, str]:
        [result] = (await self.ask(**changes)).json()["results"]
        return result["permitted"], result["reason"]


@pytest.mark.parametrize("reason", ["withdrawn", "objected", "refused", "unknown", "given"])
async def test_a_token_permits_once_whatever_the_list_has_of_the_stop(
    tmp_path: Path, keyring: Keyring, reason: str
) -> None:
    api = Api()
    rig = Rig(tmp_path, keyring, Checker(reason), api)
    assert await rig.answer() == (True, "allow_once")
    # The list may not have the STOP yet: a second text is denied all the same.
    assert await rig.answer() == (False, "unknown" if reason == "given" else reason)
    assert api.asked[0] == {
        "authorization": f"Bearer {rig.token}",
        "channel": "sms",
        "address_key": keyring.address_key("acme", "sms", "+33639980001"),
    }


@pytest.mark.parametrize("reason", ["undeliverable", "unreadable", "invalid_address", "future_dated", "expired"])
async def test_a_token_lifts_no_other_denial_and_is_kept(tmp_path: Path, keyring: Keyring, reason: str) -> None:
    api = Api()
    permitted, found = await Rig(tmp_path, keyring, Checker(reason), api).answer()
    assert (permitted, found) == ((True, "allow_once") if reason == "expired" else (False, reason))
    assert bool(api.asked) is (reason == "expired")


async def test_a_list_that_is_too_old_is_not_answered_from(tmp_path: Path, keyring: Keyring) -> None:
    api = Api()
    rig = Rig(tmp_path, keyring, Checker("stale", list_unusable=True), api)
    assert (await rig.ask()).status_code == 503
    assert await rig.answer(when_stale="deny") == (False, "stale")
    assert not api.asked


@pytest.mark.parametrize(
    "changes",
    [
        {"purpose": "promotions"},
        {"purpose": "*"},
        {"addresses": [NUMBER, "+33639980002"]},
        {"allow_once": ""},
        {"allow_once": "x" * 201},
    ],
)
async def test_a_token_is_for_one_address_and_for_no_marketing(
    tmp_path: Path, keyring: Keyring, changes: dict[str, object]
) -> None:
    api = Api()
    assert (await Rig(tmp_path, keyring, Checker("withdrawn"), api).ask(**changes)).status_code in (400, 422)
    assert not api.asked


async def test_without_an_answer_of_the_api_nothing_is_permitted(tmp_path: Path, keyring: Keyring) -> None:
    assert await Rig(tmp_path, keyring, Checker("given"), Api(answers=False)).answer() == (False, "unavailable")
    assert await Rig(tmp_path, keyring, Checker("given"), None).answer() == (False, "unavailable")


async def test_an_address_key_will_do(tmp_path: Path, keyring: Keyring) -> None:
    key = keyring.address_key("acme", "sms", "+33639980001")
    rig = Rig(tmp_path, keyring, Checker("withdrawn"), Api())
    assert await rig.answer(addresses=[], address_keys=[key]) == (True, "allow_once")
