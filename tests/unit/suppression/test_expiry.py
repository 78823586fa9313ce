"""When an entry is to be written again, and how its record says so (R37)."""

from __future__ import annotations

from functools import reduce

from hypothesis import given
from hypothesis import strategies as st

from consent_contracts import AddressEntry, Codec, Topics, effective_verdict, entry_to_avro, verdicts
from consent_contracts import schemas as contracts
from consent_contracts.codec import ConfluentRegistry
from consent_contracts.decisions import UNDELIVERABLE, choices
from consent_contracts.join import join
from consent_contracts.topics import subject
from suppression.merge.expiry import (
    NEXT_EXPIRY,
    UNREADABLE,
    may_expire,
    next_expiry,
    next_expiry_header,
    read_next_expiry,
)
from tests.unit.contracts.strategies import SECOND, entries

TOPIC = Topics().suppression("sms")
moments = st.integers(0, 25).map(lambda n: n * SECOND)


def codec() -> Codec:
    registry = ConfluentRegistry("mock://expiry")
    registry.register(subject(TOPIC, "SuppressionEntry"), contracts.schema_text("SuppressionEntry"))
    return Codec(registry)


CODEC = codec()
states = st.lists(entries(), min_size=1, max_size=8).map(lambda parts: reduce(join, parts))


@given(states, moments)
def test_no_answer_changes_before_the_date_and_one_does_at_it(entry: AddressEntry, now: int) -> None:
    datum = entry_to_avro(entry, now)
    due = next_expiry(entry, datum, now)
    found = verdicts(choices(entry.decisions))

    def answers(moment: int) -> dict[str, bool]:
        return {purpose: effective_verdict(found, purpose, moment).permitted for purpose in found}

    assert answers((due or 10**15) - 1) == answers(now)
    assert due is None or (due > now and answers(due) != answers(now))


@given(states, moments)
def test_a_value_that_has_a_date_is_never_passed_over(entry: AddressEntry, now: int) -> None:
    datum = entry_to_avro(entry, now)
    value = CODEC.encode(TOPIC, datum)
    if next_expiry(entry, datum, now) is not None:
        assert may_expire(value)
    elif not any(v.permitted and v.expires_at is not None for v in verdicts(entry.decisions).values()):
        assert may_expire(value) == any(each.status == UNDELIVERABLE for each in entry.decisions)


def test_the_date_is_read_back_from_the_headers() -> None:
    assert read_next_expiry([("ce_id", b"1"), next_expiry_header(1_790_000_000_000_000)]) == 1_790_000_000_000_000
    assert read_next_expiry([("ce_id", b"1")]) is None
    assert read_next_expiry(None) is None


def test_a_date_that_cannot_be_read_is_long_past() -> None:
    for value in (b"", b"soon", b"-5", b"9" * 40, "\u0663".encode(), None):
        assert read_next_expiry([(NEXT_EXPIRY, value)]) == UNREADABLE
