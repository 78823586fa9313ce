"""Erasure: what goes, what stays, and what brings a person back. # R33"""

from __future__ import annotations

import secrets
import threading
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, inspect, text

from consent_api.errors import ErasureHeldError, LedgerContendedError, PersonUnknownError, SubmissionInvalidError
from consent_api.ledger import addresses, deliverability, key_rotation, links, subjects
from consent_api.ledger.deliverability import Report
from consent_api.ledger.lanes import Lane
from consent_api.ledger.ledger import Ledger
from consent_api.operations.republish import pages as past
from consent_api.operations.verify.compare import DifferenceKind
from consent_api.rights import audit
from consent_api.rights.erasure import erasures, holds, steps
from consent_api.rights.erasure.model import Delivery, State
from consent_api.rights.person_ref import PersonRef
from consent_contracts.codec import Codec
from consent_privacy.keyring import Key, Keyring
from tests.integration.consent_api import test_verify_repair as verify_repair
from tests.integration.consent_api.accepted import EVIDENCE_TEXTS, YEAR, decision
from tests.integration.consent_api.erasure_rig import SECOND, ErasureRig
from tests.support.waiting import until

MARKED, OTHER = "+33639987711", "+33639987722"
NATIONAL = "639987711"
REF, OTHER_REF = "marked-subject", "another-subject"
TEXTS = EVIDENCE_TEXTS | {"controller": "marked evidence"}


@pytest.fixture
def rig(ledger: Ledger, owner_engine: Engine, codec: Codec) -> ErasureRig:
    return ErasureRig(ledger=ledger, owner=owner_engine, codec=codec)


def give(rig: ErasureRig, address: str = MARKED, ref: str | None = REF, **given: object) -> None:
    rig.record("given", address=address, subject_ref=ref, purpose="survey", evidence=TEXTS, **given)


def test_nothing_of_the_person_is_found_and_the_refusal_stays(rig: ErasureRig) -> None:
    give(rig, event_id="marked-event")
    rig.record("refused", address=MARKED, purpose="newsletter", subject_ref=REF)
    assert rig.verdict(MARKED).permitted
    assert rig.found_in(NATIONAL, REF, "marked evidence", "marked-event")
    erasure = rig.begin(subject_ref=REF)
    assert rig.turn()
    assert not rig.verdict(MARKED).permitted, "from the first step on"
    ended = rig.finish(erasure)
    assert rig.found_in(NATIONAL, REF, "marked evidence", "marked-event") == []
    entry = rig.entry(MARKED)
    assert entry.sealed_address is None
    assert [(each.subject_ref, each.purpose, each.status) for each in entry.decisions] == [(None, "*", "objected")]
    assert ended.state is State.ENDED
    certificate = ended.certificate
    assert certificate is not None
    assert next(each.count for each in certificate.goes if each.what.startswith("decisions")) == 3
    objection = next(each for each in certificate.stays if "objection" in each.what)
    assert objection.count == 1
    assert objection.review_at is not None
    assert objection.review_at > ended.requested_at + 3 * YEAR
    with rig.owner.connect() as connection:
        done = audit.entries(connection, audit.Filter(tenant="acme"))
    assert [each.act for each in done] == ["erasure_ended", "erasure_begun"]


def bounce(rig: ErasureRig, address: str) -> None:
    report = Report(
        named=("acme", "sms", address),
        status="undeliverable",
        occurred_at=None,
        evidence={"source_system": "inbound-a"},
    )
    rig.ledger.write(Lane.BULK, lambda c, now: deliverability.record(c, rig.ledger.context, [report], now=now))


def about_delivery(rig: ErasureRig) -> int:
    """How many rows say something of a bounce, or of a text that confirmed a STOP."""
    with rig.owner.connect() as connection:
        return sum(
            connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()
            for table in ("deliverability", "allow_once_uses", "decisions WHERE purpose = '@delivery'")
        )


@pytest.mark.parametrize("shared", [False, True])
def test_what_is_known_of_deliveries_goes_too_and_does_not_come_back(rig: ErasureRig, shared: bool) -> None:
    give(rig)
    if shared:
        give(rig, ref=OTHER_REF)
    bounce(rig, MARKED)
    assert rig.verdict(MARKED).reason == "undeliverable"
    with rig.owner.begin() as connection:
        use = "INSERT INTO allow_once_uses SELECT address_id, decision_id, 0 FROM decision_addresses LIMIT 1"
        connection.execute(text(use))
    rig.erase(subject_ref=REF)
    assert rig.verdict(MARKED).reason == ("given" if shared else "objected")
    assert about_delivery(rig) == 0
    if not shared:
        bounce(rig, MARKED)
        assert about_delivery(rig) == 0
        assert rig.entry(MARKED).sealed_address is None


def test_what_an_import_sends_about_an_erased_person_is_not_stored(rig: ErasureRig) -> None:
    give(rig)
    before = decision("given", address=MARKED, subject_ref=REF, purpose="survey")
    rig.erase(subject_ref=REF)
    now = decision().recorded_at + 10 * SECOND
    newer = replace(before, effective_at=now, recorded_at=now + SECOND)
    assert rig.refused(before) == "erased", "an older one"
    assert rig.refused(replace(newer, bulk=True), lane=Lane.BULK) == "erased", "of the same day"
    assert rig.refused(replace(newer, effective_at=newer.recorded_at)) == "erased", "without a time"
    assert rig.refused(replace(newer, may_lift=False)) == "erased", "of a sender that lifts nothing"
    assert rig.refused(replace(newer, address=None, bulk=True)) == "erased", "by the reference"
    assert rig.refused(replace(newer, subject_ref=OTHER_REF, bulk=True)) == "erased", "by the address"
    assert rig.refused(replace(newer, address=OTHER, bulk=True)) == "erased", "with another address"
    rig.record("refused", address=MARKED, purpose="survey", evidence={})
    assert rig.found_in(NATIONAL, REF, OTHER_REF, OTHER[3:]) == []
    assert rig.entry(MARKED).sealed_address is None
    assert not rig.verdict(MARKED).permitted


def test_a_permission_that_the_person_gives_since_is_a_new_beginning(rig: ErasureRig) -> None:
    give(rig)
    rig.erase(subject_ref=REF)
    now = decision().recorded_at + 10 * SECOND
    give(rig, effective_at=now, recorded_at=now + SECOND)
    assert rig.verdict(MARKED).permitted
    assert not rig.verdict(MARKED, "newsletter").permitted
    entry = rig.entry(MARKED)
    assert entry.sealed_address is not None
    assert rig.keyring.open(entry.address_key, entry.sealed_address) == MARKED
    rig.record("withdrawn", address=MARKED, purpose="survey", effective_at=now + SECOND, recorded_at=now + SECOND * 2)
    assert not rig.verdict(MARKED).permitted
    second = rig.erase(subject_ref=REF)
    assert second.certificate is not None
    assert rig.found_in(NATIONAL, REF) == []


def test_the_same_erasure_twice_is_one(rig: ErasureRig) -> None:
    give(rig)
    first = rig.begin(subject_ref=REF)
    assert rig.begin(subject_ref=REF) == first
    ended = rig.finish(first)
    persons: list[dict[str, Any]] = [{"subject_ref": REF}, {"channel": "sms", "address": MARKED}]
    for person in persons:
        assert rig.begin(**person).erasure_id == ended.erasure_id
    with pytest.raises(PersonUnknownError):
        rig.begin(subject_ref="customer-9")


def test_an_address_that_is_another_persons_too_keeps_theirs(rig: ErasureRig) -> None:
    give(rig)
    give(rig, ref=OTHER_REF)
    rig.record("given", address=MARKED, subject_ref=OTHER_REF, purpose="newsletter", evidence=TEXTS)
    rig.record("refused", address=MARKED, subject_ref=REF, purpose="survey")
    assert not rig.verdict(MARKED).permitted
    rig.erase(subject_ref=REF)
    assert rig.found_in(REF) == []
    assert not rig.verdict(MARKED).permitted, "the refusal stays, without a name"
    assert rig.verdict(MARKED, "newsletter").permitted
    assert rig.entry(MARKED).sealed_address is not None
    assert rig.refused(decision("given", address=MARKED, subject_ref=REF, purpose="newsletter", bulk=True)) == "erased"
    rig.erase(subject_ref=OTHER_REF)
    assert rig.found_in(NATIONAL, REF, OTHER_REF) == []
    assert not rig.verdict(MARKED, "newsletter").permitted


def test_an_address_that_moved_on_keeps_the_refusals(rig: ErasureRig) -> None:
    give(rig)
    rig.record("refused", address=OTHER, subject_ref=REF, purpose="newsletter")
    named = ("acme", "sms", MARKED)
    rig.ledger.write(
        Lane.LIVE,
        lambda c, now: links.unlink(
            c, rig.ledger.context, tenant="acme", subject_ref=REF, named=[named], by="test", now=now
        ),
    )
    rig.erase(subject_ref=REF)
    assert rig.found_in(REF, OTHER[3:]) == []
    assert rig.verdict(MARKED, "newsletter").reason == "objected"
    assert rig.entry(MARKED).sealed_address is not None, "it is whose it is now"


def test_an_erasure_by_address_leaves_the_subjects_other_addresses(rig: ErasureRig) -> None:
    give(rig)
    give(rig, OTHER)
    rig.record("withdrawn", subject_ref=REF, purpose="newsletter")
    rig.erase(channel="sms", address=MARKED)
    assert rig.found_in(NATIONAL) == []
    assert rig.verdict(OTHER).permitted
    assert rig.verdict(OTHER, "newsletter").reason == "withdrawn"
    assert rig.verdict(MARKED).reason == "objected"


def test_an_erasure_by_number_reaches_every_channel_that_uses_it(rig: ErasureRig) -> None:
    give(rig, ref=None)
    give(rig, ref=None, channel="voice")
    rig.erase(channel="sms", address=MARKED)
    assert rig.found_in(NATIONAL) == []
    assert rig.verdict(MARKED, channel="voice").reason == "objected"


@pytest.mark.parametrize("person", [{"subject_ref": REF}, {"channel": "sms", "address": MARKED}])
def test_a_number_that_is_erased_for_messages_is_not_imported_for_calls(
    rig: ErasureRig, person: dict[str, str]
) -> None:
    give(rig)
    of_calls = replace(decision("given", address=MARKED, purpose="survey"), channel="voice")
    erasure = rig.begin(**person)
    assert rig.refused(replace(of_calls, bulk=True), lane=Lane.BULK) == "erasure_in_progress"
    rig.finish(erasure)
    assert rig.refused(replace(of_calls, bulk=True), lane=Lane.BULK) == "erased"
    assert rig.refused(replace(of_calls, subject_ref=OTHER_REF)) == "erased"
    assert rig.found_in(NATIONAL, OTHER_REF) == []
    # A permission that the person gives since is one.
    now = decision().recorded_at + 10 * SECOND
    rig.record("given", channel="voice", address=MARKED, purpose="survey", effective_at=now, recorded_at=now + SECOND)
    assert rig.verdict(MARKED, channel="voice").permitted


def test_calls_to_a_number_that_no_one_else_has_are_erased_with_its_person(rig: ErasureRig) -> None:
    give(rig)
    give(rig, ref=None, channel="voice")
    rig.erase(subject_ref=REF)
    assert rig.found_in(NATIONAL) == []
    assert not rig.verdict(MARKED, channel="voice").permitted


def test_calls_to_a_number_that_another_person_has_stay_theirs(rig: ErasureRig) -> None:
    give(rig)
    give(rig, ref=OTHER_REF, channel="voice")
    rig.erase(subject_ref=REF)
    assert rig.verdict(MARKED, channel="voice").permitted
    newsletter = {"channel": "voice", "purpose": "newsletter", "evidence": TEXTS}
    rig.record("given", address=MARKED, subject_ref=OTHER_REF, **newsletter)
    assert rig.verdict(MARKED, "newsletter", "voice").permitted


@pytest.mark.parametrize("others", [False, True])
def test_an_address_that_is_named_with_the_subject_goes_too_unless_others_have_it(
    rig: ErasureRig, others: bool
) -> None:
    give(rig)
    give(rig, OTHER, OTHER_REF if others else None)
    rig.erase(subject_ref=REF, channel="sms", address=OTHER)
    assert rig.found_in(REF, NATIONAL) == []
    assert (rig.found_in(OTHER[3:]) != []) == others
    assert rig.verdict(OTHER).permitted == others


def test_no_permission_is_recorded_while_an_erasure_is_in_progress(rig: ErasureRig) -> None:
    give(rig)
    erasure = rig.begin(subject_ref=REF, notify_seconds=3600)
    again = decision("given", address=MARKED, subject_ref=REF, purpose="survey")
    assert rig.refused(again) == "erasure_in_progress"
    assert rig.refused(replace(again, bulk=True, address=OTHER), lane=Lane.BULK) == "erasure_in_progress"
    rig.turn()
    assert rig.refused(replace(again, subject_ref=None)) == "erasure_in_progress"
    rig.record("refused", address=OTHER, subject_ref=REF, purpose="newsletter")
    with rig.owner.begin() as connection:
        connection.execute(text("UPDATE erasures SET notify_until = 0"))
    rig.finish(erasure)
    assert rig.found_in(NATIONAL, REF, OTHER[3:]) == [], "what has come meanwhile is erased too"
    assert rig.verdict(OTHER).reason == "objected"


def test_who_records_at_the_address_meanwhile_meets_the_erasure(rig: ErasureRig, engine: Engine) -> None:
    """A transaction that has found the address before, and writes after."""
    give(rig)
    erasure = rig.begin(channel="sms", address=MARKED)
    rig.turn()
    with engine.connect() as slow, slow.begin():
        found = addresses.find(slow, rig.keyring, ("acme", "sms", MARKED))
        assert found is not None
        rig.finish(erasure)
        with pytest.raises(Exception, match="foreign key"):
            slow.execute(
                text("INSERT INTO decision_addresses SELECT :id, decision_id, 0 FROM decisions LIMIT 1"),
                {"id": found.address_id},
            )


def test_a_subject_that_is_erased_while_another_waits_for_it_is_looked_up_again(
    rig: ErasureRig, engine: Engine
) -> None:
    give(rig)
    erasure = rig.begin(subject_ref=REF)
    while rig.find(erasure).erased_at is None and rig.turn():
        with engine.connect() as holding, holding.begin():
            before = subjects.lock(holding, [("acme", REF)], now=0)
            assert before.ids
    failed: list[Exception] = []

    def wait() -> None:
        with engine.connect() as waiting, waiting.begin():
            try:
                subjects.lock(waiting, [("acme", OTHER_REF)], now=0)
            except LedgerContendedError as error:
                failed.append(error)

    give(rig, OTHER, OTHER_REF)
    with rig.owner.begin() as connection:
        connection.execute(text("SELECT FROM subjects WHERE subject_ref = :ref FOR UPDATE"), {"ref": OTHER_REF})
        thread = threading.Thread(target=wait)
        thread.start()
        waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
        until(lambda: connection.execute(waiting).scalar_one(), 30)
        for table in ("decision_addresses", "decisions", "subject_addresses", "subjects"):
            connection.execute(text(f"DELETE FROM {table} WHERE {_OF[table]}"), {"ref": OTHER_REF})
    thread.join(30)
    assert len(failed) == 1


_SUBJECT = "(SELECT subject_id FROM subjects WHERE subject_ref = :ref)"
_OF = {
    "decision_addresses": f"decision_id IN (SELECT decision_id FROM decisions WHERE subject_id = {_SUBJECT})",
    "decisions": f"subject_id = {_SUBJECT}",
    "subject_addresses": f"subject_id = {_SUBJECT}",
    "subjects": "subject_ref = :ref",
}


def test_an_erasure_that_dies_in_any_step_goes_on(rig: ErasureRig) -> None:
    give(rig)
    give(rig, OTHER, ref=OTHER_REF)
    give(rig, OTHER)
    erasure = rig.begin(subject_ref=REF)

    for _ in range(50):
        if rig.find(erasure).ended_at is not None:
            break
        with rig.ledger.engine.connect() as killed:
            steps.step(killed, rig.ledger.context, UUID(erasure.erasure_id), decision().recorded_at, settle=0)
            killed.rollback()
        rig.turn()
        rig.publish()
    assert rig.find(erasure).ended_at is not None
    assert rig.found_in(NATIONAL, REF) == []
    assert rig.verdict(OTHER).permitted


def test_a_subject_of_many_addresses_is_erased_in_bounded_steps(rig: ErasureRig) -> None:
    many = [f"+336399{number:05}" for number in range(80_000, 80_070)]
    context = replace(rig.ledger.context, most_addresses=100)
    rig.ledger.write(
        Lane.LIVE,
        lambda c, now: links.link(
            c, context, tenant="acme", subject_ref=REF, named=[("acme", "sms", each) for each in many], now=now
        ),
    )
    erasure = rig.begin(subject_ref=REF)
    rig.turn()
    with rig.owner.connect() as connection:
        objections = connection.execute(text("SELECT count(*) FROM decisions")).scalar_one()
    assert objections == steps.OBJECTIONS_AT_ONCE
    rig.finish(erasure)
    assert rig.found_in("6399800", REF) == []
    assert not rig.verdict(many[-1]).permitted


def test_the_tools_are_waited_for_until_they_have_the_objection(rig: ErasureRig) -> None:
    give(rig)
    rig.publish()
    key = rig.entry(MARKED).address_key
    with rig.owner.connect() as connection:
        given = connection.execute(text("SELECT decision_id FROM decisions")).scalar_one()
    receipt(rig, key, given, "twilio-fr")
    receipt(rig, key, given, "dead-tool")
    erasure = rig.begin(subject_ref=REF, notify_seconds=3600)
    rig.turn()
    assert rig.find(erasure).state is State.NOTIFYING
    assert not rig.turn()
    with rig.owner.connect() as connection:
        objection = connection.execute(text("SELECT objection FROM erasure_addresses")).scalar_one()
    receipt(rig, key, objection, "twilio-fr")
    assert rig.find(erasure).state is State.NOTIFYING, "the other one has not answered"
    with rig.owner.begin() as connection:
        connection.execute(text("UPDATE erasures SET notify_until = 0"))
    ended = rig.finish(erasure)
    assert ended.certificate is not None
    assert ended.certificate.destinations == {"dead-tool": Delivery.UNDELIVERED, "twilio-fr": Delivery.DELIVERED}


def receipt(rig: ErasureRig, key: str, decision_id: object, destination: str) -> None:
    with rig.owner.begin() as connection:
        receipt_id = f"{destination} {decision_id}"
        connection.execute(
            text("""INSERT INTO receipts VALUES (:id, 'acme', :destination, 'sms', :key, 'survey', 'suppress',
                    'accepted', 1, 1, 1, 1, 1, NULL, NULL)"""),
            {"id": receipt_id, "destination": destination, "key": key},
        )
        connection.execute(
            text("INSERT INTO receipt_decisions VALUES (:decision, :id)"), {"decision": decision_id, "id": receipt_id}
        )


def test_a_legal_hold_refuses_with_its_reason(rig: ErasureRig) -> None:
    give(rig)
    context = rig.ledger.context

    def hold(**person: str) -> str:
        held = rig.ledger.transact(
            lambda c: holds.add(
                c,
                rig.keyring,
                context.ids,
                PersonRef(tenant="acme", **person),
                reason="dispute 12",
                until=None,
                by="key:test",
                now=decision().recorded_at,
            )
        )
        return held.hold_id

    cases: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"subject_ref": REF}, {"subject_ref": REF}),
        ({"subject_ref": REF}, {"channel": "sms", "address": MARKED}),
        ({"channel": "sms", "address": MARKED}, {"subject_ref": REF}),
    ]
    for held, asked in cases:
        hold_id = hold(**held)
        with pytest.raises(ErasureHeldError, match="dispute 12"):
            rig.begin(**asked)
        rig.ledger.transact(
            lambda c, each=hold_id: holds.release(  # type: ignore[misc]
                c, tenant="acme", hold_id=UUID(each), by="key:test", now=decision().recorded_at
            )
        )
    rig.erase(subject_ref=REF)


def test_a_preview_lists_what_would_go_and_changes_nothing(rig: ErasureRig) -> None:
    give(rig)
    rig.record("given", address=OTHER, subject_ref=REF, purpose="survey", channel="voice", evidence=TEXTS)
    with rig.owner.connect() as connection:
        before = connection.execute(text("SELECT count(*) FROM addresses")).scalar_one()
    person = PersonRef(tenant="acme", subject_ref=REF)
    found = rig.ledger.transact(lambda c: erasures.preview(c, rig.keyring, person, now=decision().recorded_at))
    assert next(each.count for each in found.goes if each.what.startswith("addresses")) == 2
    proof = next(each for each in found.stays if each.what.startswith("proofs"))
    assert proof.count == 1
    assert "R.223-2" in proof.ground
    with rig.owner.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM addresses")).scalar_one() == before
    rig.erase(subject_ref=REF)
    with rig.owner.connect() as connection:
        kept = connection.execute(text("SELECT notice, purpose FROM retained_proofs")).one()
    assert kept.purpose == "survey"
    assert set(kept.notice) == {"notice_id", "notice_version", "notice_hash", "notice_language", "capture_method"}


def test_a_republish_says_again_what_the_erasure_said(rig: ErasureRig) -> None:
    give(rig)
    give(rig, OTHER, OTHER_REF)
    give(rig, OTHER)
    rig.record("refused", address=OTHER, subject_ref=REF, purpose="newsletter")
    bounce(rig, OTHER)
    rig.erase(subject_ref=REF)
    rig.publish()
    whole = rig.entries
    rig.entries = {}

    def values() -> list[bytes]:
        def read(at: past.Cursor) -> past.Page | None:
            return rig.ledger.transact(
                lambda c: past.page(c, rig.keyring, rig.ledger.context.outbox, past.Selection(), at, size=10, now=0)
            )

        return [message.value for page in past.in_two_passes(read, past.Cursor()) for message in page.messages]

    rig.merge(values())
    assert rig.entries == whole
    rig.merge(values())
    assert rig.entries == whole


def test_the_hash_key_of_an_erased_address_cannot_be_retired(rig: ErasureRig) -> None:
    """It cannot be hashed again: without the key no reader would know that it is refused."""
    give(rig)
    give(rig, OTHER, OTHER_REF)
    rig.erase(subject_ref=REF)
    (key,) = rig.keyring.hash_keys["acme"]
    with rig.owner.connect() as connection:
        assert key_rotation.erased_under(connection, rig.keyring, "acme", key.id) == 4, (
            "the address, and the person by both and by the number as it is called"
        )
        assert key_rotation.erased_under(connection, rig.keyring, "acme", "h9") == 0


def test_every_table_that_refers_to_an_address_or_a_decision_lets_it_go(rig: ErasureRig) -> None:
    """A new table that is forgotten here would keep every erasure from ending."""
    give(rig)
    give(rig, ref=OTHER_REF)
    give(rig, OTHER)
    with rig.owner.begin() as connection:
        for address_id, decision_id in connection.execute(
            text("SELECT DISTINCT ON (address_id) address_id, decision_id FROM decision_addresses")
        ).all():
            for statement in (
                "INSERT INTO pauses VALUES (:d, 'acme', :a, 'x', 'sms', 'survey', 0, 9e15, 9e15, '{}')",
                "INSERT INTO renewals VALUES (:d, true, :a, 'h1.x', 0)",
                "INSERT INTO allow_once_uses VALUES (:a, :d, 0)",
                "INSERT INTO deliverability VALUES (:a, 0)",
                "INSERT INTO live_repeats VALUES (:d, 0)",
            ):
                connection.execute(text(statement), {"a": address_id, "d": decision_id})
        for key in connection.execute(text("SELECT address_key FROM address_keys")).scalars():
            connection.execute(
                text("INSERT INTO address_codes VALUES ('acme', 'sms', :key, '', 0, 0, 0, 0)"), {"key": key}
            )
    constraints = inspect(rig.owner)
    for table in constraints.get_table_names():
        keys = constraints.get_foreign_keys(table)
        if any(each["referred_table"] in ("addresses", "decisions", "subjects") for each in keys):
            with rig.owner.connect() as connection:
                assert connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one(), table
    rig.erase(subject_ref=REF)
    rig.erase(subject_ref=OTHER_REF)
    assert rig.found_in(NATIONAL, REF, OTHER_REF) == []
    with rig.owner.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM address_codes")).scalar_one() == 0


def test_a_repair_brings_the_erasure_that_kafka_has_lost_and_nothing_of_before(rig: ErasureRig) -> None:
    give(rig)
    before = rig.entry(MARKED)
    rig.erase(subject_ref=REF)
    after = rig.entry(MARKED)
    rig.entries["sms", before.address_key] = before
    restored = verify_repair.compared_with(rig.ledger, MARKED, before)
    assert [each.kind for each in restored.differences] == [DifferenceKind.NOT_ERASED]
    verify_repair.repaired(rig.ledger, restored)
    assert rig.entry(MARKED) == after
    assert rig.found_in(NATIONAL, REF) == []


def test_an_import_that_sends_the_person_again_and_again_brings_nothing_back(rig: ErasureRig) -> None:
    stop, outcomes = threading.Event(), set[str]()

    def keep_importing() -> None:
        while not stop.is_set():
            again = decision("given", address=MARKED, subject_ref=REF, purpose="survey", evidence=TEXTS, bulk=True)
            (outcome,) = rig.ledger.record([again], lane=Lane.BULK)
            outcomes.add(outcome.faults[0].code if isinstance(outcome, SubmissionInvalidError) else "recorded")

    importing = threading.Thread(target=keep_importing)
    importing.start()
    try:
        until(lambda: "recorded" in outcomes, 30)
        rig.erase(subject_ref=REF)
        until(lambda: "erased" in outcomes, 30)
    finally:
        stop.set()
        importing.join(30)
    assert outcomes <= {"recorded", "erasure_in_progress", "erased"}
    assert rig.found_in(NATIONAL, REF, "marked evidence") == []
    assert not rig.verdict(MARKED).permitted


def test_a_second_erasure_of_an_address_is_the_later_one_whatever_the_clocks_said(rig: ErasureRig) -> None:
    """The database's clock may have been set back since the first: the second must not be lost behind it."""
    ahead = decision().recorded_at + 600 * SECOND
    give(rig, effective_at=ahead, recorded_at=ahead)
    give(rig, ref=OTHER_REF)
    give(rig, ref="third-subject")
    rig.erase(subject_ref=REF)
    rig.record("refused", address=MARKED, subject_ref=OTHER_REF, purpose="newsletter")
    rig.erase(subject_ref=OTHER_REF)
    assert rig.found_in(REF, OTHER_REF) == []
    assert rig.verdict(MARKED, "newsletter").reason == "objected"


def test_the_refusals_of_who_comes_back_are_under_a_newer_hash_key_too(rig: ErasureRig) -> None:
    """Nothing stops the older key from being retired then."""
    give(rig)
    rig.erase(subject_ref=REF)
    old, new = rig.keyring.hash_keys["acme"][0], Key(id="h2", secret=secrets.token_bytes(32), primary=True)
    during = Keyring(seal_keys=[Key(id="s1", secret=bytes(32))], hash_keys={"acme": [replace(old, primary=False), new]})
    rig.ledger = Ledger(engine=rig.ledger.engine, context=replace(rig.ledger.context, keyring=during))
    rig.record("refused", address=MARKED, purpose="newsletter")
    with rig.owner.connect() as connection:
        assert key_rotation.erased_under(connection, during, "acme", old.id) > 0
    now = decision().recorded_at + 10 * SECOND
    give(rig, effective_at=now, recorded_at=now + SECOND)
    rig.publish()
    of_keys = [rig.entries["sms", key].decisions for key in during.live_address_keys("acme", "sms", MARKED)]
    assert of_keys[0] == of_keys[1]
    assert rig.verdict(MARKED).permitted
    assert rig.verdict(MARKED, "another").reason == "objected"


def test_an_erasure_of_the_address_alone_is_not_that_of_the_person_who_is_named_with_it(rig: ErasureRig) -> None:
    give(rig)
    of_address = rig.begin(channel="sms", address=MARKED)
    assert rig.begin(channel="sms", address=MARKED).erasure_id == of_address.erasure_id
    of_both = rig.begin(subject_ref=REF, channel="sms", address=MARKED)
    assert of_both.erasure_id != of_address.erasure_id
    rig.finish(of_address)
    rig.finish(of_both)
    assert rig.found_in(NATIONAL, REF) == []
    assert rig.verdict(MARKED).reason == "objected"
