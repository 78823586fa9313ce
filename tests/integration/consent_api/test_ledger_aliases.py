"""A line that has two numbers, on a real PostgreSQL: a refusal reaches both, a permission its own. # R10 R11"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Engine, event, text

from consent_api.domain.validation import ValidDecision
from consent_api.ledger import addresses, links, queries
from consent_api.ledger.deduplication import RecordedDecision
from consent_api.ledger.ledger import Ledger
from consent_api.ledger.outbox_messages import ChangeMessages
from consent_api.operations.republish.pages import Cursor, Selection, page
from consent_contracts.codec import Codec
from consent_contracts.records import entry_from_change
from consent_contracts.topics import Topics
from consent_contracts.verdict import verdict
from consent_privacy.keyring import Key, Keyring
from consent_service.clock import now_micros
from tests.integration.consent_api.accepted import decision

A, B = "+5511987654321", "+551187654321"
"""One Brazilian mobile, with the ninth digit and without."""
FRENCH = "+33639980001"
SECOND = 1_000_000


def one(ledger: Ledger, accepted: ValidDecision) -> RecordedDecision:
    (outcome,) = ledger.record([accepted])
    assert isinstance(outcome, RecordedDecision)
    return outcome


def earlier(seconds: int, **given: object) -> dict[str, object]:
    return {"effective_at": now_micros() - seconds * SECOND, **given}


def keys(keyring: Keyring, *numbers: str) -> set[str]:
    return {keyring.address_key("acme", "sms", number) for number in numbers}


def permitted(engine: Engine, codec: Codec, keyring: Keyring, number: str) -> bool:
    """As the list has it once everything in the outbox has been merged."""
    with engine.connect() as connection:
        values = connection.execute(text("SELECT value FROM outbox")).scalars().all()
    changes = [codec.decode(Topics().changes, bytes(value)) for value in values]
    of_number = [entry_from_change(each) for each in changes if each["address_key"] in keys(keyring, number)]
    return verdict([decision for entry in of_number for decision in entry.decisions], "newsletter").permitted


@pytest.mark.parametrize(("named", "other"), [(A, B), (B, A)])
@pytest.mark.parametrize("subject", [None, "s1"])
@pytest.mark.parametrize("status", ["withdrawn", "refused", "objected", "expired", "invalidated"])
def test_a_refusal_reaches_both_numbers_of_the_line(
    ledger: Ledger, keyring: Keyring, named: str, other: str, subject: str | None, status: str
) -> None:
    outcome = one(ledger, decision(status, subject_ref=subject, address=named))
    assert set(outcome.address_keys) == keys(keyring, named, other)


@pytest.mark.parametrize(("named", "other"), [(A, B), (B, A)])
def test_a_permission_reaches_its_own_number_alone(
    ledger: Ledger, owner_engine: Engine, codec: Codec, keyring: Keyring, named: str, other: str
) -> None:
    outcome = one(ledger, decision("given", subject_ref="s1", address=named, **earlier(5)))
    assert set(outcome.address_keys) == keys(keyring, named)
    assert permitted(owner_engine, codec, keyring, named)
    assert not permitted(owner_engine, codec, keyring, other)
    with owner_engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM addresses")).scalar_one() == 1


def test_a_refusal_by_the_subject_reaches_the_other_number_of_each_address(ledger: Ledger, keyring: Keyring) -> None:
    one(ledger, decision("given", subject_ref="s1", address=A))
    one(ledger, decision("given", subject_ref="s1", address=FRENCH))
    assert set(one(ledger, decision(subject_ref="s1")).address_keys) == keys(keyring, A, B, FRENCH)


@pytest.mark.parametrize("refusal_first", [True, False])
@pytest.mark.parametrize("together", [True, False])
def test_the_newer_of_a_refusal_on_one_number_and_a_permission_on_the_other_decides(
    ledger: Ledger, owner_engine: Engine, codec: Codec, keyring: Keyring, refusal_first: bool, together: bool
) -> None:
    """Whichever is recorded first. The permission never reaches the number that was refused."""
    refusal = decision(subject_ref="s1", address=A, **earlier(100))
    grant = decision("given", subject_ref="s1", address=B, **earlier(50))
    batch = [refusal, grant] if refusal_first else [grant, refusal]
    for part in [batch] if together else [[each] for each in batch]:
        ledger.record(part)
    assert permitted(owner_engine, codec, keyring, B)
    assert not permitted(owner_engine, codec, keyring, A)
    ledger.record([decision(subject_ref=None, address=A, **earlier(10))])
    assert not permitted(owner_engine, codec, keyring, B)


def test_linking_and_unlinking_reach_the_other_number(
    ledger: Ledger, owner_engine: Engine, codec: Codec, keyring: Keyring
) -> None:
    refusal = one(ledger, decision(subject_ref="s1", purpose="survey"))
    assert refusal.address_keys == ()
    ledger.transact(
        lambda c: links.link(
            c, ledger.context, tenant="acme", subject_ref="s1", named=[("acme", "sms", A)], now=now_micros()
        ),
    )
    assert _reached(owner_engine, keyring, refusal.decision_id) == keys(keyring, A, B)
    one(ledger, decision("given", subject_ref="s1", address=A, **earlier(5)))
    assert permitted(owner_engine, codec, keyring, A)
    remaining = ledger.transact(
        lambda c: links.unlink(
            c, ledger.context, tenant="acme", subject_ref="s1", named=[("acme", "sms", B)], by="test", now=now_micros()
        ),
    )
    assert remaining == []
    assert not permitted(owner_engine, codec, keyring, A)


def test_an_address_linked_by_a_permission_passes_the_refusals_that_it_inherits_on(
    ledger: Ledger, owner_engine: Engine, keyring: Keyring
) -> None:
    refusal = one(ledger, decision(subject_ref="s1", purpose="survey"))
    one(ledger, decision("given", subject_ref="s1", address=B))
    assert _reached(owner_engine, keyring, refusal.decision_id) == keys(keyring, A, B)


def test_a_repetition_explanation_and_republish_know_both_numbers(
    ledger: Ledger, keyring: Keyring, codec: Codec
) -> None:
    event_of = decision(event_id="e1", subject_ref="s1", address=A)
    first, again = one(ledger, event_of), one(ledger, event_of)
    assert again.repeated
    assert set(again.address_keys) == set(first.address_keys) == keys(keyring, A, B)
    for number in (A, B):
        named = ("acme", "sms", number)
        found = ledger.transact(lambda c, n=named: queries.explain(c, keyring, named=n, purpose="newsletter"))
        assert found.deciding is not None
        assert found.deciding.decision.decision_id == first.decision_id
    messages = ChangeMessages(codec=codec, topics=Topics(), partitions=4)
    whole = ledger.transact(lambda c: page(c, keyring, messages, Selection(), Cursor(), size=10, now=now_micros()))
    assert whole is not None
    assert len(whole.messages) == 2


def test_both_numbers_are_published_under_every_live_hash_key(ledger: Ledger, keyring: Keyring) -> None:  # R12
    rotated = Keyring(
        seal_keys=keyring.seal_keys,
        hash_keys={"acme": [*keyring.hash_keys["acme"], Key(id="h99", secret=bytes(32))]},
    )
    old = one(ledger, decision("given", subject_ref="s1", address=A))
    ledger = Ledger(engine=ledger.engine, context=dataclasses.replace(ledger.context, keyring=rotated))
    refusal = one(ledger, decision(subject_ref="s1"))
    assert set(old.address_keys) < set(refusal.address_keys) == keys(keyring, A, B)
    with ledger.engine.connect() as connection:
        stored = set(connection.execute(text("SELECT address_key FROM address_keys")).scalars())
    assert stored == {key for number in (A, B) for key in rotated.live_address_keys("acme", "sms", number)}


def test_a_refusal_is_recorded_where_its_addresses_cannot_be_opened(
    ledger: Ledger, keyring: Keyring, caplog: pytest.LogCaptureFixture
) -> None:
    one(ledger, decision("given", subject_ref="s1", address=A))
    other_seal_key = Keyring(seal_keys=[Key(id="s99", secret=bytes(32))], hash_keys=keyring.hash_keys)
    ledger = Ledger(engine=ledger.engine, context=dataclasses.replace(ledger.context, keyring=other_seal_key))
    assert set(one(ledger, decision(subject_ref="s1")).address_keys) == keys(keyring, A)
    assert "cannot be opened" in caplog.text
    assert A not in caplog.text


@pytest.mark.parametrize(
    "given", [{"address": FRENCH}, {"subject_ref": "s1"}, {"subject_ref": "s2", "address": FRENCH}]
)
def test_an_address_without_aliases_costs_no_statement_more(
    ledger: Ledger, engine: Engine, monkeypatch: pytest.MonkeyPatch, given: dict[str, object]
) -> None:
    one(ledger, decision("given", subject_ref="s1", address=FRENCH))
    one(ledger, decision("given", subject_ref="s2", address=FRENCH))
    with statements(engine) as with_aliases:
        one(ledger, decision(**given))
    monkeypatch.setattr(addresses, "aliases", lambda *_: ())
    with statements(engine) as without:
        one(ledger, decision(**given))
    assert with_aliases == without


@contextmanager
def statements(engine: Engine) -> Iterator[list[str]]:
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    yield seen
    event.remove(engine, "before_cursor_execute", note)


def _reached(engine: Engine, keyring: Keyring, decision_id: str) -> set[str]:
    with engine.connect() as connection:
        found = connection.execute(
            text(
                "SELECT k.address_key FROM decision_addresses r JOIN address_keys k USING (address_id)"
                " WHERE r.decision_id = :id"
            ),
            {"id": decision_id},
        )
        return set(found.scalars())
