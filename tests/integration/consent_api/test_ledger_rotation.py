"""Hash keys change while addresses stay findable, and no table holds an address in the clear. # R12 R13"""

from __future__ import annotations

import secrets
from dataclasses import replace
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, inspect, text

from consent_api.domain.effects import Effect
from consent_api.ledger import addresses, key_rotation, links, queries
from consent_api.ledger.deduplication import RecordedDecision
from consent_api.ledger.ledger import Ledger
from consent_api.operations.republish import pages as past
from consent_contracts.codec import Codec
from consent_contracts.topics import Topics
from consent_privacy.keyring import Key, Keyring
from consent_service.clock import now_micros
from tests.integration.consent_api.accepted import decision

A = "+33639980001"
SEAL = Key(id="s1", secret=secrets.token_bytes(32))
OLD, NEW = secrets.token_bytes(32), secrets.token_bytes(32)


def keyring(*keys: Key) -> Keyring:
    return Keyring(seal_keys=[SEAL], hash_keys={"acme": list(keys)})


BEFORE = keyring(Key(id="h1", secret=OLD, primary=True))
DURING = keyring(Key(id="h1", secret=OLD), Key(id="h2", secret=NEW, primary=True))
AFTER = keyring(Key(id="h2", secret=NEW, primary=True))


def under(ledger: Ledger, keys: Keyring) -> Ledger:
    return Ledger(engine=ledger.engine, context=replace(ledger.context, keyring=keys))


def refuse(ledger: Ledger, address: str | None, event_id: str | None = None) -> RecordedDecision:
    return decide(ledger, "refused", address, event_id=event_id)


def decide(
    ledger: Ledger, status: str, address: str | None, *, subject_ref: str | None = "s1", event_id: str | None = None
) -> RecordedDecision:
    accepted = decision(status, event_id=event_id, subject_ref=subject_ref, address=address, purpose="survey")
    (outcome,) = ledger.record([accepted])
    assert isinstance(outcome, RecordedDecision)
    return outcome


def published(owner_engine: Engine, codec: Codec) -> list[dict[str, object]]:
    with owner_engine.connect() as connection:
        values = connection.execute(text("SELECT value FROM outbox ORDER BY outbox_id")).scalars().all()
    return [codec.decode(Topics().changes, bytes(value)) for value in values]


@pytest.mark.parametrize("named", [True, False])
def test_during_a_rotation_each_decision_is_published_under_both_keys(
    ledger: Ledger, owner_engine: Engine, codec: Codec, named: bool
) -> None:
    refuse(under(ledger, BEFORE), A, event_id="e1")
    with owner_engine.begin() as connection:
        connection.execute(text("DELETE FROM outbox"))
    outcome = refuse(under(ledger, DURING), A if named else None)
    assert outcome.address_keys == (DURING.address_key("acme", "sms", A),)
    with owner_engine.connect() as connection:
        numbers = connection.execute(text("SELECT DISTINCT address_id FROM address_keys")).scalars().all()
    data = published(owner_engine, codec)
    assert {each["address_key"] for each in data} == set(DURING.live_address_keys("acme", "sms", A))
    assert len({each["event_id"] for each in data}) == 2
    for each in data:
        assert DURING.open(each["address_key"], each["sealed_address"]) == A
    assert len(numbers) == 1


def test_after_a_rotation_the_past_is_still_explained_and_repetitions_are_still_known(ledger: Ledger) -> None:
    first = refuse(under(ledger, BEFORE), A, event_id="e1")
    assert refuse(under(ledger, DURING), A, event_id="e1").decision_id == first.decision_id
    refuse(under(ledger, DURING), None)
    assert refuse(under(ledger, AFTER), A, event_id="e1").decision_id == first.decision_id
    found = ledger.transact(lambda c: queries.explain(c, AFTER, named=("acme", "sms", A), purpose="survey"))
    assert found.verdict.reason == "refused"
    assert ledger.transact(lambda c: addresses.find(c, AFTER, ("acme", "sms", A))) is not None


def link(ledger: Ledger) -> None:
    ledger.transact(
        lambda c: links.link(
            c, ledger.context, tenant="acme", subject_ref="s1", named=[("acme", "sms", A)], now=now_micros()
        )
    )


def ids_by_hash_key(owner_engine: Engine) -> dict[str, int]:
    with owner_engine.connect() as connection:
        rows = connection.execute(text("SELECT address_key, address_id FROM address_keys")).all()
    return {row.address_key.partition(".")[0]: row.address_id for row in rows}


def test_an_address_without_decisions_gets_the_new_key_too(ledger: Ledger, owner_engine: Engine) -> None:
    link(under(ledger, BEFORE))
    during = under(ledger, DURING)
    read = past.backfill_unreached_keys
    last = during.transact(lambda c: read(c, DURING, past.Selection(), -1, size=10, now=now_micros()))
    assert last is not None
    assert during.transact(lambda c: read(c, DURING, past.Selection(), last, size=10, now=now_micros())) is None
    ids = ids_by_hash_key(owner_engine)
    assert ids["h1"] == ids["h2"]
    refuse(under(ledger, AFTER), A)
    assert ids_by_hash_key(owner_engine) == ids


def test_a_subject_can_refuse_although_a_hash_key_was_retired_too_early(
    ledger: Ledger, owner_engine: Engine, codec: Codec
) -> None:
    link(under(ledger, BEFORE))
    after = under(ledger, AFTER)
    decide(after, "withdrawn", A, subject_ref=None)
    assert refuse(after, None).address_keys == (AFTER.address_key("acme", "sms", A),)
    data = published(owner_engine, codec)
    assert [each["status"] for each in data] == ["withdrawn", "refused"]
    assert {each["address_key"] for each in data} == {AFTER.address_key("acme", "sms", A)}


@pytest.mark.parametrize("granted_again", [False, True])
def test_an_address_that_was_split_over_two_numbers_is_unlinked_under_both(
    ledger: Ledger, owner_engine: Engine, codec: Codec, granted_again: bool
) -> None:
    decide(under(ledger, BEFORE), "given", A)
    after = under(ledger, AFTER)
    if granted_again:
        decide(after, "given", A)
    else:
        decide(after, "given", A, subject_ref="s2")
    assert len(set(ids_by_hash_key(owner_engine).values())) == 2
    remaining = after.transact(
        lambda c: links.unlink(
            c, after.context, tenant="acme", subject_ref="s1", named=[("acme", "sms", A)], by="test", now=now_micros()
        )
    )
    assert remaining == []
    newest = published(owner_engine, codec)[-1]
    assert (newest["status"], newest["subject_ref"]) == ("invalidated", "s1")
    assert newest["address_key"] == AFTER.address_key("acme", "sms", A)


LOST_SEAL = Keyring(seal_keys=[Key(id="s2", secret=secrets.token_bytes(32))], hash_keys=DURING.hash_keys)


def test_a_subject_can_refuse_although_an_address_cannot_be_opened_for_its_new_key(
    ledger: Ledger, owner_engine: Engine, codec: Codec
) -> None:
    """Otherwise ingest would end at the record of one person, and all others would wait."""
    decide(under(ledger, BEFORE), "given", A)
    after = under(ledger, LOST_SEAL)
    assert refuse(after, None).outcome.effect is Effect.IN_EFFECT
    old = BEFORE.address_key("acme", "sms", A)
    newest = published(owner_engine, codec)[-1]
    assert (newest["status"], newest["address_key"]) == ("refused", old)
    with owner_engine.connect() as connection:
        assert key_rotation.incomplete(connection, LOST_SEAL, "acme", ["h2"]) == ["h2"]
    remaining = after.transact(
        lambda c: links.unlink(
            c, after.context, tenant="acme", subject_ref="s1", named=[("acme", "sms", A)], by="test", now=now_micros()
        )
    )
    assert remaining == []


def test_no_table_holds_an_address_in_the_clear(client: TestClient, owner_engine: Engine) -> None:  # R13
    marked = {"sms": "+33639987654", "email": "marked.person@example.com"}
    for channel, address in marked.items():
        body = {
            "subject_ref": f"s-{channel}",
            "event_id": f"e-{channel}",
            "address": address,
            "channel": channel,
            "purpose": "*",
            "status": "withdrawn",
            "evidence": {"actor": address, "withdrawal_method": f"said {address}", "notice_id": address.upper()},
        }
        for path, sent in [("/v1/decisions", body), ("/v1/decisions/batch", {"decisions": [body]})]:
            response = client.post(path, json=sent, headers={"Idempotency-Key": f"{path} {address} {uuid4()}"})
            assert response.is_success
            assert address not in response.text
        client.put("/v1/subjects/s9/addresses", json={"addresses": [{"channel": channel, "address": address}]})
        client.post("/v1/explain", json={"channel": channel, "address": address, "purpose": "survey"})
    needles = [b"639987654", b"marked.person", b"marked%2eperson"]
    with owner_engine.connect() as connection:
        for table in inspect(owner_engine).get_table_names():
            for row in connection.execute(text(f"SELECT * FROM {table}")):
                for value in row:
                    stored = bytes(value) if isinstance(value, (bytes, memoryview)) else str(value).lower().encode()
                    assert not any(needle in stored for needle in needles), table
