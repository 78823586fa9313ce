"""A repair ends what no person permitted, and nothing that the ledger holds. # R64"""

from __future__ import annotations

from uuid import uuid4

import msgspec
import pytest
from sqlalchemy import Engine, text

from consent_api.domain.effects import Effect
from consent_api.ledger.deduplication import RecordedDecision
from consent_api.ledger.lanes import Lane
from consent_api.ledger.ledger import Ledger
from consent_api.operations.verify import ledger_entries
from consent_api.operations.verify.compare import EntryLocation, ListEntry, compare, current_entry
from consent_api.operations.verify.job import Checked
from consent_api.operations.verify.ledger_entries import LedgerAddress
from consent_api.operations.verify.repair import Repair, repair
from consent_contracts.decisions import AddressEntry, Decision
from consent_contracts.join import SKEW_MICROS
from consent_contracts.verdict import verdicts
from tests.integration.consent_api.accepted import decision

A = "+33639980001"
SECOND = 1_000_000


def ledger_address(ledger: Ledger, address: str = A) -> LedgerAddress:
    key = ledger.context.keyring.address_key("acme", "sms", address)
    return ledger.transact(lambda connection: ledger_entries.of_keys(connection, "sms", [("acme", key)]))["acme", key]


def compared(ledger: Ledger, *on_the_list: Decision) -> Checked:
    """The address as the list holds it in place of what the ledger does."""
    key = ledger.context.keyring.address_key("acme", "sms", A)
    return compared_with(ledger, A, current_entry("acme", "sms", key, on_the_list))


def compared_with(ledger: Ledger, address: str, entry: AddressEntry) -> Checked:
    known = ledger_address(ledger, address)
    found = ListEntry(entry=entry, verdicts=verdicts(entry.decisions), partition=0)
    location = EntryLocation(tenant="acme", channel="sms", address_key=known.address_key, partition=0)
    expected = current_entry("acme", "sms", known.address_key, known.decisions, erased_at=known.erased_at)
    differences = tuple(compare(location, found, expected=expected, recorded=known.decisions))
    return Checked(location=location, differences=differences, found=found, ledger=known)


def repaired(ledger: Ledger, *checked: Checked) -> list[Repair]:
    return ledger.write(Lane.BULK, lambda connection, now: repair(connection, ledger.context, list(checked), now=now))


def given(ledger: Ledger, *, ago: int) -> Decision:
    """Recorded."""
    at = ledger.now() - ago
    (recorded,) = ledger.record([decision("given", subject_ref="s1", address=A, effective_at=at, recorded_at=at)])
    assert isinstance(recorded, RecordedDecision)
    return next(each for each in ledger_address(ledger).decisions if each.decision_id == recorded.decision_id)


def statuses(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.execute(text("SELECT status FROM decisions ORDER BY decision_id")).scalars())


def forged(at: int, **fields: object) -> Decision:
    whole = Decision(
        decision_id=str(uuid4()),
        subject_ref="s1",
        purpose="newsletter",
        status="given",
        effective_at=at,
        recorded_at=at,
    )
    return msgspec.structs.replace(whole, **fields)


def test_one_that_the_ledger_decides_against_is_only_written_over(ledger: Ledger, engine: Engine) -> None:
    """The same permission with a later end, and an older one that no person gave."""
    right = given(ledger, ago=10 * SECOND)
    assert right.expires_at is not None
    longer = msgspec.structs.replace(right, expires_at=right.expires_at + SECOND)
    older = forged(right.effective_at - 60 * SECOND)
    for wrong in (longer, older):
        assert repaired(ledger, compared(ledger, wrong)) == [Repair.REWRITTEN]
    assert statuses(engine) == ["given"]


def test_a_permission_given_after_the_forged_one_stays_in_effect(ledger: Ledger, engine: Engine) -> None:
    """It is recorded between the comparison and the repair, which may have to wait for the bulk lane."""
    given(ledger, ago=600 * SECOND)
    wrong = forged(ledger.now() - 300 * SECOND)
    checked = compared(ledger, wrong)
    at = ledger.now() - 60 * SECOND
    again = decision("given", subject_ref="s1", address=A, effective_at=at, recorded_at=at, event_id="again")
    ledger.record([again])
    assert repaired(ledger, checked) == [Repair.INVALIDATED]
    (repeated,) = ledger.record([again])
    assert isinstance(repeated, RecordedDecision)
    assert repeated.outcome.effect is Effect.IN_EFFECT


@pytest.mark.parametrize("ahead", [-300 * SECOND, SKEW_MICROS])
def test_a_permission_that_no_person_gave_is_ended(ledger: Ledger, ahead: int) -> None:
    given(ledger, ago=600 * SECOND)
    wrong = forged(ledger.now() + ahead)
    assert repaired(ledger, compared(ledger, wrong)) == [Repair.INVALIDATED]
    [*held] = ledger_address(ledger).decisions
    assert not verdicts([*held, wrong])["newsletter"].permitted


UNRECORDABLE = ["", "@overflow", "s\0", "s" * 3_000]


@pytest.mark.parametrize("subject_ref", UNRECORDABLE)
def test_one_that_cannot_be_recorded_is_denied_beside_others(ledger: Ledger, engine: Engine, subject_ref: str) -> None:
    given(ledger, ago=60 * SECOND)
    wrong = forged(ledger.now() - 300 * SECOND, subject_ref=subject_ref)
    both = compared(ledger, wrong), compared(ledger)
    assert repaired(ledger, *both) == [Repair.DENIED, Repair.REWRITTEN]
    with engine.connect() as connection:
        rows = [
            ledger.context.outbox.codec.decode("consent.changes.bulk.v1", value)
            for value in connection.execute(text("SELECT value FROM outbox_bulk ORDER BY outbox_id")).scalars()
        ]
    [mark] = [each for each in rows if each["status"] == "invalidated"]
    assert mark["effective_at"] == wrong.effective_at, "what was given since stays in effect"


@pytest.mark.parametrize("named", [("ac\0me", "h1.x"), ("acme", "h1.\0")])
def test_a_text_that_the_database_cannot_hold_is_in_no_ledger(ledger: Ledger, named: tuple[str, str]) -> None:
    """One such entry on the list must not end the comparison of all others."""
    given(ledger, ago=SECOND)
    known = ledger_address(ledger)
    wanted = [named, ("acme", known.address_key)]
    assert set(ledger.transact(lambda connection: ledger_entries.of_keys(connection, "sms", wanted))) == {wanted[1]}
