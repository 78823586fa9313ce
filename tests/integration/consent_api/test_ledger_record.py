"""Recording on a real PostgreSQL: what reaches which address, and what a repetition changes."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, text

from consent_api.domain.validation import ValidDecision
from consent_api.errors import SubmissionInvalidError
from consent_api.ledger import links
from consent_api.ledger.deduplication import RecordedDecision
from consent_api.ledger.ledger import Ledger
from consent_contracts.codec import Codec
from consent_contracts.records import entry_from_change
from consent_contracts.topics import Topics
from consent_contracts.verdict import verdict
from consent_privacy.keyring import Keyring
from consent_service.clock import now_micros
from tests.integration.consent_api.accepted import decision


def one(ledger: Ledger, accepted: ValidDecision) -> RecordedDecision:
    (outcome,) = ledger.record([accepted])
    assert isinstance(outcome, RecordedDecision)
    return outcome


def published(owner_engine: Engine, codec: Codec) -> list[dict[str, object]]:
    with owner_engine.connect() as connection:
        rows = connection.execute(text("SELECT key, value FROM outbox ORDER BY outbox_id")).all()
    data = [codec.decode(Topics().changes, bytes(row.value)) for row in rows]
    assert [each["address_key"].encode() for each in data] == [bytes(row.key) for row in rows]
    return data


A, B = "+33639980001", "+33639980002"


def key_of(keyring: Keyring, address: str) -> str:
    return keyring.address_key("acme", "sms", address)


def test_a_decision_commits_with_its_message(
    ledger: Ledger, owner_engine: Engine, codec: Codec, keyring: Keyring
) -> None:
    outcome = one(ledger, decision(subject_ref="s1", address=A))
    assert outcome.address_keys == (key_of(keyring, A),)
    (message,) = published(owner_engine, codec)
    assert message["decision_id"] == outcome.decision_id
    assert keyring.open(str(message["address_key"]), message["sealed_address"]) == A  # type: ignore[arg-type]


def test_a_refusal_reaches_every_address_and_a_permission_only_its_own(
    ledger: Ledger, owner_engine: Engine, codec: Codec, keyring: Keyring
) -> None:
    one(ledger, decision("given", subject_ref="s1", address=A))
    grant = one(ledger, decision("given", subject_ref="s1", address=B))
    assert grant.address_keys == (key_of(keyring, B),)
    refusal = one(ledger, decision("withdrawn", subject_ref="s1"))
    assert set(refusal.address_keys) == {key_of(keyring, A), key_of(keyring, B)}
    assert [m["status"] for m in published(owner_engine, codec)] == ["given", "given", "withdrawn", "withdrawn"]


def test_a_permission_without_address_reaches_those_linked_at_that_moment(ledger: Ledger, keyring: Keyring) -> None:
    one(ledger, decision("refused", subject_ref="s1", address=A, purpose="survey"))
    grant = one(ledger, decision("given", subject_ref="s1"))
    assert grant.address_keys == (key_of(keyring, A),)


def test_an_address_linked_later_inherits_the_current_refusals(
    ledger: Ledger, owner_engine: Engine, codec: Codec, keyring: Keyring
) -> None:
    older = one(ledger, decision("refused", subject_ref="s1", purpose="survey"))
    newer = one(ledger, decision("withdrawn", subject_ref="s1", purpose="survey"))
    everything = one(ledger, decision("objected", subject_ref="s1", purpose="*"))
    assert older.address_keys == ()
    one(ledger, decision("given", subject_ref="s1", address=A))
    messages = published(owner_engine, codec)
    assert {m["decision_id"] for m in messages if m["status"] != "given"} == {
        newer.decision_id,
        everything.decision_id,
    }
    assert {m["address_key"] for m in messages} == {key_of(keyring, A)}


def test_within_a_batch_order_decides_what_is_reached(ledger: Ledger, keyring: Keyring) -> None:
    outcomes = ledger.record(
        [
            decision("given", subject_ref="s1", address=A),
            decision("given", subject_ref="s1", purpose="survey"),
            decision("withdrawn", subject_ref="s1", address=B),
        ]
    )
    reached = [set(each.address_keys) for each in outcomes if isinstance(each, RecordedDecision)]
    both = {key_of(keyring, A), key_of(keyring, B)}
    assert reached == [{key_of(keyring, A)}, {key_of(keyring, A)}, both]


def test_an_address_without_a_subject_is_reached_alone(ledger: Ledger, keyring: Keyring) -> None:
    one(ledger, decision("given", subject_ref="s1", address=A))
    one(ledger, decision("given", subject_ref="s1", address=B))
    assert one(ledger, decision(address=A)).address_keys == (key_of(keyring, A),)


@pytest.mark.parametrize("together", [True, False])
def test_a_repeated_event_is_answered_with_the_first_decision(
    ledger: Ledger, owner_engine: Engine, codec: Codec, together: bool
) -> None:
    event = decision(event_id="e1", subject_ref="s1", address=A)
    if together:
        first, again = ledger.record([event, event])
    else:
        first, again = one(ledger, event), one(ledger, event)
    assert isinstance(first, RecordedDecision)
    assert isinstance(again, RecordedDecision)
    assert again.repeated
    assert not first.repeated
    assert (again.decision_id, again.address_keys) == (first.decision_id, first.address_keys)
    assert len(published(owner_engine, codec)) == 1


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize(
    "other", [{"purpose": "survey"}, {"channel": "voice"}, {"subject_ref": "s2"}, {"address": B}, {"address": None}]
)
def test_another_choice_under_a_known_event_id_is_refused_not_lost(
    ledger: Ledger, other: dict[str, object], together: bool
) -> None:
    values: dict[str, object] = {"event_id": "e1", "subject_ref": "s1", "address": A}
    first, second = decision(**values), decision(**{**values, **other})
    outcomes = ledger.record([first, second]) if together else [one(ledger, first), *ledger.record([second])]
    assert isinstance(outcomes[1], SubmissionInvalidError)
    assert outcomes[1].faults[0].code == "event_id_reused"


def test_two_tenants_share_nothing(ledger: Ledger) -> None:
    one(ledger, decision(event_id="e1", subject_ref="s1", address=A))
    with pytest.raises(Exception, match="no hash keys"):
        ledger.record([decision(event_id="e1", subject_ref="s1", address=A, tenant="globex")])


def test_the_same_choice_at_another_moment_is_no_repetition(ledger: Ledger) -> None:
    # R5: withdrawn, given again, withdrawn again; a source that numbers by contact and status must not lose the last.
    now = now_micros()

    def withdrawal(chosen_at: int, recorded_at: int) -> ValidDecision:
        return decision(
            event_id="s1-withdrawn", subject_ref="s1", address=A, effective_at=chosen_at, recorded_at=recorded_at
        )

    first = one(ledger, withdrawal(now - 100, now))
    assert one(ledger, withdrawal(now - 100, now + 50)).decision_id == first.decision_id
    (again,) = ledger.record([withdrawal(now - 10, now + 50)])
    assert isinstance(again, SubmissionInvalidError)
    assert [fault.code for fault in again.faults] == ["event_id_reused"]


def test_a_repetition_without_a_moment_is_known(ledger: Ledger) -> None:
    now = now_micros()
    first = one(ledger, decision(event_id="e1", subject_ref="s1", effective_at=now, recorded_at=now))
    again = one(ledger, decision(event_id="e1", subject_ref="s1", effective_at=now + 9, recorded_at=now + 9))
    assert (again.decision_id, again.repeated) == (first.decision_id, True)


def test_unlinking_ends_a_permission_that_a_clock_ahead_of_ours_recorded(
    ledger: Ledger, owner_engine: Engine, codec: Codec
) -> None:
    now = now_micros()
    ahead = now + 30_000_000
    one(ledger, decision("given", subject_ref="s1", address=A, effective_at=ahead, recorded_at=ahead))
    ledger.transact(
        lambda c: links.unlink(
            c, ledger.context, tenant="acme", subject_ref="s1", named=[("acme", "sms", A)], by="a test", now=now
        )
    )
    given, invalidated = (entry_from_change(each).decisions[0] for each in published(owner_engine, codec))
    assert verdict([given, invalidated], "newsletter").reason == "invalidated"


def test_sessions_rest_on_what_they_need_whatever_the_roles_defaults_are(engine: Engine, owner_engine: Engine) -> None:
    # R43: of two that link and decide the second sees the first, and an answer that was given is on disk.
    role = engine.url.username
    wrong = {"default_transaction_isolation": "serializable", "synchronous_commit": "off"}
    with owner_engine.begin() as connection:
        for name, value in wrong.items():
            connection.execute(text(f"ALTER ROLE {role} SET {name} = '{value}'"))
    try:
        with engine.connect() as connection:
            found = {name: connection.execute(text(f"SHOW {name}")).scalar_one() for name in wrong}
    finally:
        with owner_engine.begin() as connection:
            connection.execute(text(f"ALTER ROLE {role} RESET ALL"))
    assert found == {"default_transaction_isolation": "read committed", "synchronous_commit": "on"}
