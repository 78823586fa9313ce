"""What the Kafka sides decide without a server."""

from __future__ import annotations

from typing import Any

import pytest

from consent_api.ingest.receipts import checked
from consent_api.operations.dead_letters.reader import DeadLetter, Filter
from consent_api.operations.dead_letters.replayer import not_replayable_reason
from consent_contracts.errors import InvalidRecordError
from consent_contracts.topics import Topics

TOPICS = Topics(prefix="x.")


def letter(**changes: Any) -> DeadLetter:
    given = {
        "coordinates": "x.consent.inbound.v1:0:7",
        "service": "consent-api",
        "topic": TOPICS.inbound,
        "partition": 0,
        "offset": 7,
        "reason": "invalid",
        "error": "/status: send one of given",
        "failed_at": 1,
        "sealed_record": b"sealed",
    }
    return DeadLetter(**{**given, **changes})


def receipt(**changes: Any) -> dict[str, Any]:
    texts = ("receipt_id", "tenant", "destination", "channel", "address_key", "target")
    return {
        **dict.fromkeys(texts, "x"),
        "action": "suppress",
        "stage": "accepted",
        "decision_ids": [],
        **dict.fromkeys(("version", "recorded_at", "queued_at", "reached_at", "attempts"), 1),
        "provider_reference": None,
        "detail": None,
        **changes,
    }


@pytest.mark.parametrize(
    "topic", [TOPICS.inbound, TOPICS.inbound_bulk, TOPICS.changes, TOPICS.changes_bulk, TOPICS.receipts]
)
def test_topics_that_take_late_and_repeated_records_take_a_replay(topic: str) -> None:
    assert not_replayable_reason(letter(topic=topic), TOPICS) is None


@pytest.mark.parametrize("topic", [TOPICS.suppression("sms"), TOPICS.propagation_state("default"), "another.v1"])
def test_no_other_topic_takes_a_replay(topic: str) -> None:  # R5
    assert not_replayable_reason(letter(topic=topic), TOPICS) is not None


def test_a_letter_that_was_cut_stays() -> None:
    assert not_replayable_reason(letter(reason="too_large"), TOPICS) is not None


def test_filters_combine_and_leave_out_what_was_replayed() -> None:
    assert Filter().matches(letter())
    assert not Filter().matches(letter(replayed_at="2026-11-22T02:00:00Z"))
    assert Filter(replayed=True).matches(letter(replayed_at="2026-11-22T02:00:00Z"))
    assert Filter(service="consent-api", reason="invalid").matches(letter())
    assert not Filter(service="suppression").matches(letter())
    assert not Filter(reason="empty").matches(letter())
    assert not Filter(coordinates=frozenset({"other:0:1"})).matches(letter())


def test_a_letter_never_prints_its_record() -> None:  # R13
    assert "sealed" not in repr(letter()).replace("sealed_record", "")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("stage", "perhaps"),
        ("action", "call"),
        ("detail", "nul\x00"),
        ("tenant", ""),
        ("version", 2**63),
        ("reached_at", -1),
        ("attempts", 2**31),
        ("decision_ids", ["no uuid"]),
    ],
)
def test_a_receipt_that_the_tables_cannot_hold_is_invalid(field: str, value: object) -> None:
    assert checked(receipt()) == receipt()
    with pytest.raises(InvalidRecordError) as caught:
        checked(receipt(**{field: value}))
    assert caught.value.field == field
