"""POST /v1/check through HTTP, on a list that real producers write (R4, R12, R13, R25)."""

import base64
import hashlib
import hmac
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from consent_client import SuppressionView
from consent_http import api_keys
from consent_http.api_keys import KeyFile
from consent_privacy.keyring import Key, Keyring
from consent_privacy.keyring_file import generate
from consent_service.clock import now_micros
from suppression.gate.app import Gate, create_app
from suppression.gate.metrics import GateMetrics, ViewMetrics
from tests.integration.gate.entries import Entries, decision
from tests.support.waiting import until

pytestmark = pytest.mark.usefixtures("resolving")

OpenView = Callable[..., SuppressionView]
Ask = Callable[..., Any]
PHONE = "+33639980001"
OTHER = "+33639980002"


class House:
    """A gate in this process and everything around it."""

    def __init__(self, view: SuppressionView, keyring: Keyring, directory: Path, unknown: str = "deny") -> None:
        self.view = view
        self.registry = CollectorRegistry()
        metrics = GateMetrics.on(self.registry)
        self.registry.register(ViewMetrics([view]))
        self.token, check = api_keys.mint(tenant="acme", scopes=["check"])
        self.reader, read = api_keys.mint(tenant="acme", scopes=["read"])
        self.stranger, strange = api_keys.mint(tenant="nokeys", scopes=["check"])
        self.other, other = api_keys.mint(tenant="other", scopes=["check"])
        self.keys_file = directory / "gate-keys.json"
        api_keys.write(self.keys_file, [check, read, strange, other])
        self.gate = Gate(
            views={view.channel: view},
            keyring=keyring,
            keys=KeyFile(self.keys_file),
            metrics=metrics,
            default_region="FR",
            unknown=lambda _: "allow" if unknown == "allow" else "deny",
        )
        transport = httpx.ASGITransport(create_app(self.gate, metrics), raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://gate")

    async def post(self, body: Any, token: str | None = None, **options: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token or self.token}"}
        return await self.client.post("/v1/check", json=body, headers=headers, **options)

    async def ask(self, *addresses: str, purpose: str = "newsletter", **more: Any) -> list[dict[str, Any]]:
        answer = await self.post(
            {"channel": "sms", "purpose": purpose, "addresses": list(addresses), "when_stale": "deny", **more}
        )
        assert answer.status_code == 200, answer.text
        results: list[dict[str, Any]] = answer.json()["results"]
        return results

    def metrics(self) -> str:
        return generate_latest(self.registry).decode()


@pytest.fixture
async def house(open_view: OpenView, keyring: Keyring, tmp_path: Path) -> AsyncIterator[House]:
    house = House(open_view(), keyring, tmp_path)
    async with house.client:
        yield house


async def test_each_address_is_answered_in_its_place(house: House, entries: Entries) -> None:  # R25
    given = decision(at=1_700_000_000_123_456)
    entries.write("sms", PHONE, given)
    entries.write("sms", OTHER, decision(status="withdrawn"), decision("survey"))
    until(lambda: "consent_relay_gate_view_entries" in house.metrics() and entry_count(house) == 2)
    results = await house.ask("06 39 98 00 01", "no number", OTHER, "+33639980009")
    assert [each["index"] for each in results] == [0, 1, 2, 3]
    assert timed(results[0]) == {
        "permitted": True,
        "reason": "given",
        "since": "2023-11-14T22:13:20.123456Z",
        "decision_id": given.decision_id,
    }
    assert [each["permitted"] for each in results] == [True, False, False, False]
    assert [each["reason"] for each in results] == ["given", "invalid_address", "withdrawn", "unknown"]
    assert results[1]["detail"].startswith("not_a_phone_number: ")
    assert "no number" not in str(results)
    assert timed(results[3]) == {"permitted": False, "reason": "unknown", "since": None, "decision_id": None}
    assert (await house.ask(OTHER, purpose="survey"))[0]["permitted"]
    text = house.metrics()
    assert 'gate_answers_total{channel="sms",permitted="true",reason="given"} 2.0' in text
    assert 'reason="invalid_address"} 1.0' in text
    assert 'gate_check_seconds_count{size="many"} 1.0' in text
    assert "63998" not in text  # R13


def timed(result: dict[str, Any]) -> dict[str, Any]:
    """The result without its times, which have to be there and to fit (R55)."""
    as_of, valid_until = (datetime.fromisoformat(result[name]) for name in ("as_of", "valid_until"))
    assert as_of <= datetime.now(UTC)
    assert timedelta(0) < valid_until - as_of <= timedelta(seconds=30)
    return {name: value for name, value in result.items() if name not in ("as_of", "valid_until", "index")}


def entry_count(house: House) -> float:
    return house.registry.get_sample_value("consent_relay_gate_view_entries", {"channel": "sms"}) or 0


async def test_ten_thousand_addresses_are_answered_and_one_more_is_refused(house: House, entries: Entries) -> None:
    entries.write("sms", PHONE, decision())  # R25
    until(lambda: entry_count(house) == 1)
    many = [f"+3363998{number:04}" for number in range(10_000)]
    results = await house.ask(*many)
    assert [number for number, result in zip(many, results, strict=True) if result["permitted"]] == [PHONE]
    answer = await house.post({"channel": "sms", "purpose": "newsletter", "addresses": [*many, PHONE]})
    assert (answer.status_code, answer.json()["field"]) == (422, "/addresses")


async def test_address_keys_are_answered_and_only_the_tenant_s_own(
    open_view: OpenView, entries: Entries, tmp_path: Path
) -> None:  # R12, R45
    keyring = generate(tmp_path / "two.toml", ["acme", "other"])
    entries.keyring = keyring
    mine = entries.write("sms", PHONE, decision())
    theirs = entries.write("sms", PHONE, decision(), tenant="other")
    house = House(open_view(), keyring, tmp_path)
    body = {"channel": "sms", "purpose": "newsletter", "address_keys": [mine, theirs, "h9" + mine[2:], PHONE, mine]}
    results = (await house.post(body)).json()["results"]
    assert [each["reason"] for each in results] == ["given", "unknown", "unavailable", "invalid_address", "given"]
    assert [each["permitted"] for each in results] == [True, False, False, False, True]
    results = (await house.post(body, house.other)).json()["results"]
    assert [each["reason"] for each in results][:2] == ["unknown", "given"]
    assert (await house.post({**body, "tenant": "other"})).status_code == 403
    assert (await house.post({**body, "tenant": "acme"})).status_code == 200


async def test_the_policy_decides_unknown_and_nothing_else(
    open_view: OpenView, entries: Entries, keyring: Keyring, tmp_path: Path
) -> None:  # R4
    entries.write("sms", PHONE, decision(status="withdrawn"))
    ended = now_micros() - 1
    entries.write("sms", OTHER, decision(expires=ended))
    entries.write_bytes("sms", entries.key("sms", "+33639980003"), b"unreadable")
    house = House(open_view(), keyring, tmp_path, unknown="allow")
    results = await house.ask(PHONE, OTHER, "+33639980003", "12", "+33639980004")
    assert [each["permitted"] for each in results] == [False, False, False, False, True]
    assert [each["reason"] for each in results] == [
        "withdrawn",
        "expired",
        "unreadable",
        "invalid_address",
        "unknown",
    ]
    assert datetime.fromisoformat(results[1]["expires_at"]) == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(
        microseconds=ended
    )
    assert ["expires_at" in each for each in results] == [False, True, False, False, False]
    assert (await house.ask(PHONE, purpose="survey"))[0]["permitted"]


def two_keys(primary: str, *, only: str | None = None) -> Keyring:
    secrets = {"h1": b"1" * 32, "h2": b"2" * 32}
    keys = [Key(id=name, secret=secret, primary=name == primary) for name, secret in secrets.items()]
    live = [key for key in keys if only in (None, key.id)]
    return Keyring(seal_keys=[Key(id="s1", secret=b"s" * 32)], hash_keys={"acme": live})


@pytest.mark.parametrize("primary", ["h1", "h2"])
async def test_during_a_rotation_a_refusal_under_either_key_denies_and_a_permission_under_either_permits(
    open_view: OpenView, entries: Entries, tmp_path: Path, primary: str
) -> None:  # R12
    keyring = two_keys(primary)
    keys = {phone: keyring.hashers("acme", "sms") for phone in (PHONE, OTHER)}
    by_id = {hasher.key_id: hasher for hasher in keys[PHONE]}

    def write(key_id: str, phone: str, status: str) -> str:
        address_key = by_id[key_id].address_key(phone)
        entries.write_value("sms", address_key, entries.datum("sms", address_key, decision(status=status)))
        return address_key

    old = write("h1", PHONE, "withdrawn")
    new = write("h2", PHONE, "given")
    write("h1", OTHER, "given")
    write("h2", "+33639980003", "given")
    write("h1", "+33639980004", "given")
    write("h2", "+33639980004", "objected")
    house = House(open_view(), keyring, tmp_path)
    results = await house.ask(PHONE, OTHER, "+33639980003", "+33639980004", "+33639980005")
    assert [each["reason"] for each in results] == ["withdrawn", "given", "given", "objected", "unknown"]

    body = {"channel": "sms", "purpose": "newsletter", "address_keys": [old, new]}
    results = (await house.post(body)).json()["results"]
    # A key that is not primary yet is still being filled: its refusals count, its permissions do not.
    assert [each["reason"] for each in results] == ["withdrawn", "unavailable" if primary == "h1" else "given"]


async def test_a_keyring_without_a_newer_key_in_use_denies_and_one_without_a_retired_key_does_not(
    open_view: OpenView, entries: Entries, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:  # R4, R12
    view = open_view()
    behind = House(view, two_keys("h1", only="h1"), tmp_path, unknown="allow")
    entries.keyring = two_keys("h1")
    old = entries.write("sms", PHONE, decision())
    until(lambda: entry_count(behind) == 1)
    assert (await behind.ask(PHONE))[0]["reason"] == "given"
    assert behind.gate.keyring_state() is True

    entries.keyring = two_keys("h2")
    new = entries.write("sms", PHONE, decision(status="withdrawn"))
    until(lambda: entry_count(behind) == 2)
    results = await behind.ask(PHONE, OTHER, "no number")
    assert [(each["permitted"], each["reason"]) for each in results] == [(False, "unavailable")] * 3
    body = {"channel": "sms", "purpose": "newsletter", "address_keys": [old]}
    refused = await behind.post(body)
    assert (refused.status_code, refused.json()["type"]) == (503, "urn:consent-relay:problem:list-unavailable")
    assert (await behind.post({**body, "when_stale": "deny"})).json()["results"][0]["reason"] == "unavailable"
    assert "h2 of tenant acme" in str(behind.gate.keyring_state())
    assert [record.__dict__["key_id"] for record in caplog.records if hasattr(record, "key_id")] == ["h2"]
    entries.write_bytes("sms", new, None)
    until(lambda: entry_count(behind) == 1)
    assert (await behind.ask(PHONE))[0]["reason"] == "unavailable"

    ahead = House(view, two_keys("h2", only="h2"), tmp_path, unknown="allow")
    assert (await ahead.ask(PHONE))[0]["reason"] == "unknown"
    assert ahead.gate.keyring_state() is True


async def test_a_list_that_is_not_loaded_denies_everything(
    open_view: OpenView, keyring: Keyring, tmp_path: Path
) -> None:  # R4
    house = House(open_view(wait=False, bootstrap="127.0.0.1:1"), keyring, tmp_path, unknown="allow")
    results = await house.ask(PHONE, "no number")
    assert [(each["permitted"], each["reason"]) for each in results] == [(False, "stale")] * 2
    refused = await house.post({"channel": "sms", "purpose": "newsletter", "addresses": [PHONE]})
    assert (refused.status_code, refused.json()["type"]) == (503, "urn:consent-relay:problem:list-stale")
    assert "loading: the list is not loaded" in refused.json()["detail"]
    assert refused.headers["retry-after"]
    assert 'reason="stale"} 3.0' in house.metrics()
    assert house.registry.get_sample_value("consent_relay_gate_view_usable", {"channel": "sms"}) == 0


async def test_a_caller_that_may_not_ask_gets_the_reason(house: House) -> None:  # R15
    body = {"channel": "sms", "purpose": "newsletter", "addresses": [PHONE]}
    for token in ("nonsense", house.token[:-2] + "xx"):
        answer = await house.post(body, token)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
    assert (await house.client.post("/v1/check", json=body)).status_code == 401
    answer = await house.post(body, house.reader)
    assert (answer.status_code, answer.json()["type"]) == (403, "urn:consent-relay:problem:missing-scope")
    answer = await house.post({**body, "when_stale": "deny"}, house.stranger)
    assert answer.json()["results"][0]["reason"] == "unavailable"
    answer = await house.post(body, house.stranger)
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:consent-relay:problem:list-unavailable")
    house.keys_file.write_text("{")
    answer = await house.post(body)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert 'gate_refused_total{status="503"} 2.0' in house.metrics()


async def test_a_revoked_key_is_refused_at_once(house: House) -> None:  # R15
    body = {"channel": "sms", "purpose": "newsletter", "addresses": [PHONE]}
    assert (await house.post(body)).status_code == 200
    api_keys.write(house.keys_file, [])
    assert (await house.post(body)).status_code == 401


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"channel": "fax"}, "/channel"),
        ({"channel": None}, "/channel"),
        ({"purpose": "No Slug"}, "/purpose"),
        ({"purpose": "newsletter\n"}, "/purpose"),
        ({"addresses": []}, "/addresses"),
        ({"addresses": None}, "/addresses"),
        ({"addresses": [7]}, "/addresses/0"),
        ({"address_keys": ["h1.x"]}, "/addresses"),
        ({"when_stale": "permit"}, "/when_stale"),
        ({"surprise": "+33639980001"}, "/surprise"),
    ],
)
async def test_a_bad_request_names_the_field_and_quotes_nothing(
    house: House, change: dict[str, Any], field: str
) -> None:  # R13
    body = {"channel": "sms", "purpose": "newsletter", "addresses": [PHONE], **change}
    answer = await house.post(body)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert answer.json()["field"] == field
    assert answer.json()["cure"]
    assert "63998" not in answer.text


async def test_strange_text_among_the_addresses_denies_in_its_place(house: House) -> None:  # R4
    raw = (
        b'{"channel":"sms","purpose":"x","addresses":["\\u0000","\\ufeff","\\u202e+33639980001", "'
        + b"9" * 5000
        + b'"]}'
    )
    headers = {"Authorization": f"Bearer {house.token}", "Content-Type": "application/json"}
    results = (await house.client.post("/v1/check", content=raw, headers=headers)).json()["results"]
    assert [each["reason"] for each in results] == ["invalid_address", "invalid_address", "unknown", "invalid_address"]


async def test_a_body_over_the_limit_is_refused(house: House) -> None:
    answer = await house.post({"channel": "sms", "purpose": "x", "addresses": ["9" * 500] * 10_000})
    assert (answer.status_code, answer.json()["type"]) == (413, "urn:consent-relay:problem:body-too-large")


async def test_the_description_matches(house: House) -> None:  # R15
    document = (await house.client.get("/openapi.json")).json()
    check = document["paths"]["/v1/check"]["post"]
    assert set(check["responses"]) == {"200", "400", "401", "403", "408", "413", "415", "422", "429", "503"}
    request = document["components"]["schemas"]["CheckRequest"]
    assert request["required"] == ["channel", "purpose"]
    results = document["components"]["schemas"]["Result"]["properties"]
    assert list(results) == [
        *("index", "permitted", "reason", "since", "decision_id", "as_of", "valid_until", "expires_at", "detail"),
    ]


async def test_hashes_are_the_documented_ones(house: House, entries: Entries, keyring: Keyring) -> None:  # R12
    key = keyring.hash_keys["acme"][0]
    mac = hmac.new(key.secret, f"acme\0sms\0{PHONE}".encode(), hashlib.sha256).digest()
    expected = f"{key.id}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
    assert entries.write("sms", PHONE, decision()) == expected
