"""A withdrawal by Kafka that changes nothing is recorded, counted, and a dead letter: no caller waits for it. # R16"""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from confluent_kafka import Producer

from consent_api.ledger.lanes import Lane
from consent_api.ledger.ledger import Ledger
from consent_kafka.dead_letters import original
from consent_privacy.keyring import Keyring
from consent_service.clock import now_micros
from tests.integration.flow.rig import Rig, Running, grant, refusal
from tests.integration.flow.test_ingest import decisions, letters
from tests.support.waiting import until

HOUR = 3_600_000_000


def inbound(rig: Rig, lane: Lane) -> str:
    return rig.topics.inbound if lane is Lane.LIVE else rig.topics.inbound_bulk


def submit(rig: Rig, data: list[dict[str, Any]], *, lane: Lane = Lane.LIVE, source: bytes | None = None) -> None:
    producer = Producer({"bootstrap.servers": rig.kafka})
    for value in rig.encoded(data):
        # One key, so that they keep their order.
        headers = [] if source is None else [("ce_source", source)]
        producer.produce(inbound(rig, lane), value, b"one", headers=headers)
    assert producer.flush(20) == 0


def handled(rig: Rig, ingest: Running, lane: Lane = Lane.LIVE) -> float:
    name, topic = "consent_relay_ingest_records_total", inbound(rig, lane)
    return sum(ingest.metric(name, topic=topic, outcome=each) for each in ("recorded", "repeated", "dead_letter"))


@pytest.mark.parametrize("lane", list(Lane))
def test_a_withdrawal_without_effect_is_recorded_and_reported(
    rig: Rig, keyring: Keyring, caplog: pytest.LogCaptureFixture, lane: Lane
) -> None:
    given = grant(subject_ref="c-1")
    lost = refusal(subject_ref="c-1", occurred_at=given["occurred_at"] - HOUR)
    nowhere = refusal(subject_ref="c-2", address=None)
    old_grant = grant(subject_ref="c-3", address="+33639980003", occurred_at=given["occurred_at"] - HOUR)
    counts = refusal(subject_ref="c-3", address="+33639980003")
    submit(rig, [given, lost, nowhere, counts, old_grant], lane=lane)
    with rig.ingest() as ingest:
        until(lambda: handled(rig, ingest, lane) == 5)
        until(lambda: len(letters(rig)) == 2)

        def counted(choice: str, effect: str) -> float:
            name, topic = "consent_relay_ingest_without_effect_total", inbound(rig, lane)
            return ingest.metric(name, topic=topic, choice=choice, effect=effect)

        assert counted("refusal", "superseded") == 1
        assert counted("refusal", "no_address") == 1
        assert counted("permission", "superseded") == 1
    assert decisions(rig) == 5
    found = [letter for _, letter in letters(rig)]
    assert {each["reason"] for each in found} == {"without_effect"}
    decision_id = rig.ask("SELECT decision_id::text FROM decisions WHERE event_id = :id", id=given["event_id"])
    assert sum(str(decision_id) in str(each["error"]) for each in found) == 1
    originals = {original(each, keyring).value for each in found}
    assert originals == set(rig.encoded([lost, nowhere]))
    reports = [each for each in caplog.records if each.getMessage() == "refusals recorded without effect"]
    assert reports
    assert "+33639980001" not in caplog.text


def test_a_choice_that_was_changed_later_is_no_dead_letter(rig: Rig) -> None:
    """Neither where both come at once, nor when the older one is sent again."""
    refused = refusal(subject_ref="c-1", occurred_at=now_micros() - HOUR)
    submit(rig, [refused, grant(subject_ref="c-1")])
    with rig.ingest() as ingest:
        until(lambda: handled(rig, ingest) == 2)
        submit(rig, [refused])
        until(lambda: handled(rig, ingest) == 3)
    assert letters(rig) == []


def test_a_withdrawal_without_effect_that_is_sent_again_is_heard_again(rig: Rig) -> None:
    """As it was recorded by a process that was killed before its dead letter was written."""
    given = grant(subject_ref="c-1")
    submit(rig, [given, lost := refusal(subject_ref="c-1", occurred_at=given["occurred_at"] - HOUR), lost])
    with rig.ingest() as ingest:
        until(lambda: handled(rig, ingest) == 3)
        until(lambda: len(letters(rig)) == 2)


def test_a_repetition_of_what_was_lifted_since_is_counted_and_named_in_the_log(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    given = grant(subject_ref="c-1")
    stop = refusal(subject_ref="c-1", occurred_at=given["occurred_at"] - HOUR)
    submit(rig, [stop, stop, given, stop])
    with rig.ingest() as ingest:
        until(lambda: handled(rig, ingest) == 4)
        # One batch or several: what is repeated before the permission is repeated after it where they share one.
        assert 1 <= ingest.metric("consent_relay_ingest_repeats_after_lift_total", topic=rig.topics.inbound) <= 2
    (line,) = [each for each in caplog.records if "repeat events that a later permission" in each.message]
    assert line.records
    assert letters(rig) == []


def test_two_systems_with_the_same_event_id_are_both_recorded(rig: Rig) -> None:
    """By what they say of themselves in the evidence, or in the CloudEvents header, or not at all."""
    one, two, three = (refusal(event_id="1001", subject_ref=f"c-{each}") for each in range(3))
    evidence = grant()["evidence"]
    submit(rig, [one], source=b"/crm")
    submit(rig, [two], source=b"/shop")
    submit(rig, [three, {**one, "subject_ref": "c-4", "evidence": evidence}])
    submit(rig, [one], source=b"/crm")
    with rig.ingest() as ingest:
        until(lambda: handled(rig, ingest) == 5)
        assert ingest.metric("consent_relay_ingest_records_total", topic=rig.topics.inbound, outcome="repeated") == 1
    assert decisions(rig) == 4
    assert letters(rig) == []


def test_an_event_whose_time_was_cut_is_a_repeat(rig: Rig) -> None:
    first = refusal(occurred_at=now_micros() - HOUR | 1)
    cut = [{**first, "occurred_at": first["occurred_at"] // unit * unit} for unit in (1_000, 1_000_000)]
    submit(rig, [first, *cut])
    with rig.ingest() as ingest:
        until(lambda: handled(rig, ingest) == 3)
    assert decisions(rig) == 1
    assert letters(rig) == []


@pytest.mark.parametrize("named", ["source_system", "ce_source", "topic"])
def test_a_source_whose_permissions_may_not_lift(rig: Rig, named: str) -> None:
    lane = Lane.BULK if named == "topic" else Lane.LIVE
    no_lift = {"source_system": "Shop,x", "ce_source": "/crm", "topic": rig.topics.inbound_bulk}[named]
    evidence = {**grant()["evidence"], "source_system": "shop" if named == "source_system" else "other"}
    now = now_micros()
    refused = refusal(subject_ref="c-1", occurred_at=now - HOUR)
    lifting = grant(subject_ref="c-1", evidence=evidence)
    free = grant(subject_ref="c-2", address="+33639980002", evidence=evidence)
    with rig.ingest(ingest_no_lift=no_lift) as ingest:
        submit(rig, [refused])
        until(lambda: handled(rig, ingest) == 1)
        submit(rig, [lifting, free], lane=lane, source=b"/crm" if named == "ce_source" else None)
        until(lambda: handled(rig, ingest, lane) == (2 if lane is Lane.BULK else 3))
        until(lambda: len(letters(rig)) == 1)
    ((_, letter),) = letters(rig)
    assert letter["reason"] == "invalid"
    assert "refus" in str(letter["error"])
    assert decisions(rig) == 2


@pytest.mark.parametrize("hours", [-1, 1])
def test_ingest_stamps_by_the_databases_clock(rig: Rig, monkeypatch: pytest.MonkeyPatch, hours: int) -> None:
    """A host whose clock is an hour off records neither permissions of the future nor withdrawals of the past."""
    data = [grant(subject_ref="c-1"), refusal(subject_ref="c-1", occurred_at=now_micros() + 10 * HOUR)]
    wrong = partial(Ledger, clock=lambda: now_micros() + hours * HOUR)
    monkeypatch.setattr("consent_api.ingest.process.Ledger", wrong)
    submit(rig, data)
    with rig.ingest() as ingest:
        until(lambda: handled(rig, ingest) == 2)
    assert decisions(rig) == 2
    assert letters(rig) == []
    distance = rig.ask(
        "SELECT abs((extract(epoch FROM clock_timestamp()) * 1e6)::bigint - min(recorded_at)) FROM decisions"
    )
    assert distance < HOUR // 4
    assert rig.ask("SELECT count(*) FROM decisions WHERE status = 'withdrawn' AND effective_at = recorded_at") == 1
