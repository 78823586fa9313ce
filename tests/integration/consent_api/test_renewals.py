"""Permissions that are about to end are asked for once, ahead of time, and never renewed by themselves. # R37"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from click.testing import CliRunner
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine, text

from consent_api.domain.validation import ValidDecision
from consent_api.ledger.ledger import Ledger
from consent_api.outbox_relay.metrics import RelayMetrics
from consent_api.outbox_relay.outbox_table import Row
from consent_api.outbox_relay.publisher import Delivery, Publisher
from consent_api.outbox_relay.renewal_loop import RenewalLoop
from consent_contracts.codec import Codec
from consent_privacy.keyring import Keyring
from consent_service.clock import now_micros
from consent_service.health import Health
from tests.integration.consent_api.erasure_rig import ErasureRig
from tests.support.evidence import EVIDENCE

DAY = 86_400 * 1_000_000
EMAIL = "someone@example.com"
TOPIC = "consent.renewals.v1"


class Kafka(Publisher):
    """Takes records, or none."""

    def __init__(self) -> None:
        super().__init__(lambda: None)  # type: ignore[arg-type, return-value]
        self.rows: list[Row] = []
        self.takes = True

    def publish(self, rows: Sequence[Row], **_: Any) -> Delivery:
        if not self.takes:
            return Delivery(failed=list(rows), cause="_MSG_TIMED_OUT")
        self.rows += rows
        return Delivery(acknowledged=list(rows))


@pytest.fixture
def kafka() -> Kafka:
    return Kafka()


@pytest.fixture
def loop(engine: Engine, keyring: Keyring, codec: Codec, kafka: Kafka) -> RenewalLoop:
    return RenewalLoop(
        engine=engine,
        keyring=lambda: keyring,
        codec=codec,
        publisher=kafka,
        topic=TOPIC,
        partitions=4,
        days=30,
        metrics=RelayMetrics.on(CollectorRegistry(), topics=[]),
        health=Health(),
    )


def given(**more: Any) -> ValidDecision:
    """For a year that ends in ten days."""
    now = now_micros()
    permission = ValidDecision(
        tenant="acme",
        event_id=None,
        subject_ref="customer-1",
        address=EMAIL,
        channel="email",
        purpose="promotions",
        status="given",
        effective_at=now - 355 * DAY,
        recorded_at=now,
        expires_at=now + 10 * DAY,
        evidence=EVIDENCE,
    )
    return replace(permission, **more)


def refused(**more: Any) -> ValidDecision:
    now = now_micros()
    return given(status="withdrawn", effective_at=now, expires_at=None, evidence={}, **more)


def asked(kafka: Kafka, codec: Codec) -> list[str]:
    return [codec.decode(TOPIC, row.value)["purpose"] for row in kafka.rows]


def test_each_is_asked_for_once(
    loop: RenewalLoop, kafka: Kafka, codec: Codec, ledger: Ledger, client: TestClient
) -> None:
    now = now_micros()
    far = given(purpose="newsletter", effective_at=now, expires_at=now + 40 * DAY)
    fresh = given(purpose="survey", effective_at=now - DAY, expires_at=now + 6 * DAY)
    (first, *_) = ledger.record([given(), far, fresh])
    for _ in range(2):
        loop.turn()
    (row,) = kafka.rows
    datum = codec.decode(TOPIC, row.value)
    (listed,) = client.get("/v1/renewals").json()["renewals"]
    assert datum["decision_id"] == listed["decision_id"] == first.decision_id  # type: ignore[union-attr]
    assert (datum["subject_ref"], datum["purpose"], datum["tenant"]) == ("customer-1", "promotions", "acme")
    assert row.key.decode() == datum["address_key"] == listed["address_key"]
    assert dict(row.headers)["ce_id"] == datum["event_id"].encode()
    assert EMAIL.encode() not in row.value


@pytest.mark.parametrize(
    "then",
    [
        pytest.param(refused(), id="withdrawn"),
        pytest.param(refused(purpose="*"), id="everything refused"),
        pytest.param(refused(subject_ref=None), id="stopped"),
        pytest.param(refused(subject_ref="customer-2"), id="refused by another"),
        pytest.param(given(effective_at=now_micros() - DAY, expires_at=now_micros() + 400 * DAY), id="renewed"),
    ],
)
def test_what_is_refused_or_renewed_is_not_asked_for(
    loop: RenewalLoop, kafka: Kafka, ledger: Ledger, client: TestClient, then: ValidDecision
) -> None:
    ledger.record([given()])
    ledger.record([replace(then, recorded_at=now_micros())])
    loop.turn()
    assert kafka.rows == []
    assert client.get("/v1/renewals").json() == {"renewals": []}


def test_a_refusal_ends_what_was_asked_for(loop: RenewalLoop, kafka: Kafka, ledger: Ledger, client: TestClient) -> None:
    ledger.record([given()])
    kafka.takes = False
    loop.turn()
    assert len(client.get("/v1/renewals").json()["renewals"]) == 1
    ledger.record([refused()])
    kafka.takes = True
    loop.turn()
    assert kafka.rows == []
    assert client.get("/v1/renewals").json()["renewals"] == []


def test_what_kafka_does_not_take_is_published_later(
    loop: RenewalLoop, kafka: Kafka, codec: Codec, ledger: Ledger
) -> None:
    ledger.record([given(), given(purpose="newsletter")])
    kafka.takes = False
    loop.turn()
    kafka.takes = True
    loop.turn()
    loop.turn()
    assert sorted(asked(kafka, codec)) == ["newsletter", "promotions"]


def test_a_permission_by_reference_is_asked_for_at_one_address(
    loop: RenewalLoop, kafka: Kafka, ledger: Ledger, keyring: Keyring
) -> None:
    other = "other@example.com"
    ledger.record([given(status="refused", purpose="survey", address=each, evidence={}) for each in (EMAIL, other)])
    ledger.record([given(address=None)])
    loop.turn()
    (row,) = kafka.rows
    assert row.key.decode() in {keyring.address_key("acme", "email", each) for each in (EMAIL, other)}


def test_the_list_by_page_and_by_command(
    loop: RenewalLoop, ledger: Ledger, client: TestClient, service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from consent_api.cli.renewals import renewals

    now = now_micros()
    ledger.record([given(purpose=f"p{n:03}", expires_at=now + 10 * DAY + n) for n in range(101)])
    loop.turn()
    first = client.get("/v1/renewals").json()
    second = client.get("/v1/renewals", params={"after": first["more_after"]}).json()
    found = [each["purpose"] for page in (first, second) for each in page["renewals"]]
    assert found == [f"p{n:03}" for n in range(101)]
    assert "more_after" not in second
    monkeypatch.setenv("CONSENT_RELAY_API_DATABASE", service.render_as_string(hide_password=False))
    result = CliRunner().invoke(renewals, ["list", "--tenant", "acme"])
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert len(lines) == 101
    assert lines[0].split("\t")[1:4] == ["email", "p000", "customer-1"]


@pytest.mark.parametrize("person", [{"subject_ref": "customer-1"}, {"channel": "email", "address": EMAIL}])
def test_an_erasure_takes_what_was_asked_for_along(
    loop: RenewalLoop, ledger: Ledger, owner_engine: Engine, codec: Codec, person: dict[str, str]
) -> None:  # R33
    ledger.record([given(), given(subject_ref="customer-2"), given(purpose="newsletter", subject_ref=None)])
    loop.turn()
    rig = ErasureRig(ledger=ledger, owner=owner_engine, codec=codec)
    rig.erase(**person)
    with owner_engine.connect() as connection:
        left = connection.execute(text("SELECT count(*) FROM renewals")).scalar_one()
    assert left == (2 if "subject_ref" in person else 0)
    loop.turn()
