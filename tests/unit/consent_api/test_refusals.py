"""What a refusal does not need cannot sink it; a grant is never accepted with anything unread. # R4 R7 R10 R16"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent_api.domain.validation import (
    EVIDENCE,
    FIELDS,
    LONGEST_EVIDENCE,
    ReadTime,
    ValidationRules,
    dropped_field,
    micros,
    rfc3339,
)
from consent_api.errors import SubmissionInvalidError
from tests.support.tables import each_of
from tests.unit.consent_api.submissions import (
    GRANT,
    NOW,
    RULES,
    SECOND,
    WITHDRAWAL,
    dropped,
    fault_list,
    faults,
    read,
)

A = "06 39 98 00 01"
MILLIS = NOW // 1_000
REFUSING = ["refused", "withdrawn", "objected", "expired", "invalidated"]


@each_of("status", REFUSING)
@each_of(
    ("moment", "code"),
    [
        (MILLIS, "too_old"),
        (NOW // SECOND, "too_old"),
        (0, "too_old"),
        (1, "too_old"),
        (946_684_799_999_999, "too_old"),
        (NOW * 1_000, "unreadable_time"),
        (-1, "unreadable_time"),
        (2**63 - 1, "unreadable_time"),
        (NOW + 3 * SECOND, "in_the_future"),
    ],
)
def test_a_refusal_with_an_impossible_time_counts_from_now_and_says_so(status: str, moment: int, code: str) -> None:
    fields = {**WITHDRAWAL, "status": status, "occurred_at": moment}
    assert read(fields).effective_at == NOW
    assert dropped(fields) == {"/occurred_at": code}


@pytest.mark.parametrize("moment", [946_684_800_000_000, NOW - 1, NOW, NOW + 2 * SECOND])
def test_a_refusal_with_a_possible_time_keeps_it(moment: int) -> None:
    fields = {**WITHDRAWAL, "occurred_at": moment}
    assert (read(fields).effective_at, dropped(fields)) == (min(moment, NOW), {})


@pytest.mark.parametrize(
    ("moment", "unit"),
    [(MILLIS, "milliseconds"), (NOW // SECOND, "seconds"), (NOW * 1_000, "nanoseconds")],
)
def test_a_grant_with_a_time_in_another_unit_is_refused_with_the_unit_named(moment: int, unit: str) -> None:
    for name in ("occurred_at", "expires_at"):
        (fault,) = fault_list({**GRANT, name: moment})
        assert fault.pointer == f"/{name}"
        assert f"probably {unit} were sent" in fault.cure


@pytest.mark.parametrize("moment", [0, 946_684_799_999_999])
def test_a_grant_from_before_the_oldest_choice_is_refused_without_a_guess(moment: int) -> None:
    (fault,) = fault_list({**GRANT, "occurred_at": moment})
    assert (fault.pointer, fault.code) == ("/occurred_at", "too_old")
    assert "before 2000-01-01" in fault.cure
    assert "probably" not in fault.cure


def test_the_oldest_choice_is_a_setting() -> None:
    rules = ValidationRules(channels=RULES.channels, default_region="FR", oldest_choice=NOW - 10 * SECOND)
    assert dropped({**WITHDRAWAL, "occurred_at": NOW - 11 * SECOND}, rules) == {"/occurred_at": "too_old"}
    assert dropped({**WITHDRAWAL, "occurred_at": NOW - 10 * SECOND}, rules) == {}
    assert faults(GRANT, rules) == {"/occurred_at": "too_old"}


@pytest.mark.parametrize(
    "text", ["", "now", "2026-01-05", "2026-01-05T09:00:00", 1_767_603_600, 1_767_603_600_000, True, [], {}, 1.5]
)
def test_a_refusal_whose_time_is_no_moment_counts_from_now(text: object) -> None:
    fields = {**WITHDRAWAL, "occurred_at": text, "expires_at": text}
    assert read(fields, read_time=rfc3339).effective_at == NOW
    assert set(dropped(fields, read_time=rfc3339)) == {"/occurred_at", "/expires_at"}
    assert set(faults({**fields, "status": "given"}, read_time=rfc3339)) > {"/occurred_at", "/expires_at"}


@pytest.mark.parametrize("text", ["1970-01-01T00:00:00Z", "1970-01-20T11:00:00Z", "1999-12-31T23:59:59Z"])
def test_a_refusal_dated_before_the_oldest_choice_counts_from_now(text: str) -> None:
    fields = {**WITHDRAWAL, "occurred_at": text}
    assert read(fields, read_time=rfc3339).effective_at == NOW
    assert dropped(fields, read_time=rfc3339) == {"/occurred_at": "too_old"}


def test_a_time_with_an_offset_in_basic_format_is_read() -> None:
    fields = {**WITHDRAWAL, "occurred_at": "2026-01-05T10:00:00.000+0000"}
    assert read(fields, read_time=rfc3339).effective_at == 1_767_607_200_000_000
    assert dropped(fields, read_time=rfc3339) == {}


@pytest.mark.parametrize("end", ["", "never", "0001-01-01T00:00:00Z", "9999-99-99", 2**63 - 1, -1, True, {}])
@pytest.mark.parametrize("read_time", [micros, rfc3339])
def test_a_refusal_needs_no_end(end: object, read_time: ReadTime) -> None:
    fields = {**WITHDRAWAL, "expires_at": end}
    assert read(fields, read_time=read_time).expires_at is None
    assert dropped(fields, read_time=read_time) == {"/expires_at": "unreadable_time"}


@pytest.mark.parametrize(
    ("evidence", "lost"),
    [
        ("yes", {"/evidence": "not_an_object"}),
        ([1], {"/evidence": "not_an_object"}),
        (7, {"/evidence": "not_an_object"}),
        ({"notice": "x"}, {"/evidence/notice": "unknown_field"}),
        ({"+33639980001": "x"}, {"/evidence": "unknown_field"}),
        ({"actor": 7}, {"/evidence/actor": "not_text"}),
        ({"actor": {}}, {"/evidence/actor": "not_text"}),
        ({"actor": "x" * (LONGEST_EVIDENCE + 1)}, {"/evidence/actor": "too_long"}),
        ({"actor": "a\x00b"}, {"/evidence/actor": "control_characters"}),
        ({"actor": "\ud800"}, {"/evidence/actor": "control_characters"}),
    ],
)
def test_a_refusal_is_recorded_without_evidence_that_cannot_be_read(evidence: Any, lost: dict[str, str]) -> None:
    kept = {"notice_id": "n7"} if isinstance(evidence, dict) else {}
    fields = {**WITHDRAWAL, "evidence": evidence | kept if isinstance(evidence, dict) else evidence}
    assert dict(read(fields).evidence) == kept
    assert dropped(fields) == lost
    assert set(faults({**GRANT, "evidence": fields["evidence"]})) > set(lost)


@pytest.mark.parametrize("reference", ["", "  ", 7, True, [], "x" * 201, "a\x00b", "null", "a@b.example", A, "\ufffd"])
def test_a_refusal_with_an_address_does_without_a_reference_that_cannot_be_read(reference: object) -> None:
    fields = {**WITHDRAWAL, "address": A, "subject_ref": reference, "event_id": reference}
    accepted = read(fields)
    assert (accepted.address, accepted.subject_ref) == ("+33639980001", None)
    assert {"/subject_ref"} <= set(dropped(fields)) <= {"/subject_ref", "/event_id"}
    assert "/subject_ref" in faults({**fields, "status": "given"})
    assert "/subject_ref" in faults({**fields, "address": None}), "no person is left whose choice it is"


@pytest.mark.parametrize("address", ["", "hello", "06 12", 7, [], "\x00"])
def test_a_refusal_of_a_subject_does_without_an_address_that_cannot_be_read(address: object) -> None:
    fields = {**WITHDRAWAL, "address": address}
    accepted = read(fields)
    assert (accepted.address, accepted.subject_ref) == (None, "s1")
    assert set(dropped(fields)) == {"/address"}
    assert "/address" in faults({**GRANT, "address": address})
    assert "/address" in faults({**fields, "subject_ref": None}), "no person is left whose choice it is"


def test_an_unknown_field_does_not_sink_a_refusal() -> None:
    fields = {**WITHDRAWAL, "expire_at": 1, "06 39 98 00 01": 1, "another number": 1}
    assert dropped(fields) == {"/expire_at": "unknown_field", "": "unknown_field"}
    assert len(read(fields).dropped) == 2
    many = {**WITHDRAWAL, **{f"unknown_{'x' * number}": 1 for number in range(1, 33)}}
    assert len(read(many).dropped) == 20


@pytest.mark.parametrize("name", ["channel", "purpose", "status"])
@pytest.mark.parametrize("value", [None, 7, "", "x" * 201, "\x00", "Fax "])
def test_what_a_refusal_needs_refuses_it_and_nothing_else_is_said(name: str, value: object) -> None:
    found = faults({**WITHDRAWAL, "expires_at": -1, "unknown": 1, name: value})
    assert f"/{name}" in found
    if name != "status":  # Without its status it is not known to be a refusal.
        assert set(found) == {f"/{name}"}


def test_a_dropped_field_is_counted_under_few_names() -> None:
    fields = {**WITHDRAWAL, "occurred_at": 0, "evidence": {"actor": 7}, "invented": 1, "+33 6": 1}
    assert {dropped_field(each) for each in read(fields).dropped} == {"occurred_at", "evidence", "other"}


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(), each, max_size=3),
    max_leaves=5,
)
_EVIDENCE = st.dictionaries(st.sampled_from([*EVIDENCE, "invented"]), _JSON, max_size=4)
_TIMES = st.integers() | st.sampled_from([0, MILLIS, NOW // SECOND, NOW, NOW * 1_000, "", "never", "2026-01-05"])
_NOT_NEEDED = st.fixed_dictionaries(
    {},
    optional={
        "event_id": _JSON,
        "occurred_at": _TIMES | _JSON,
        "expires_at": _TIMES | _JSON,
        "evidence": _EVIDENCE | _JSON,
        "invented": _JSON,
    },
)
_WAYS_IN = st.sampled_from([micros, rfc3339])


@given(_NOT_NEEDED, st.sampled_from(REFUSING), st.sampled_from(["survey", "*"]), st.booleans(), _JSON, _WAYS_IN)
def test_a_refusal_with_what_it_needs_is_accepted_whatever_else_is_sent(
    rest: dict[str, Any], status: str, purpose: str, by_subject: bool, other: object, read_time: ReadTime
) -> None:
    person = {"subject_ref": "s1", "address": other} if by_subject else {"subject_ref": other, "address": A}
    fields = {**rest, **person, "channel": "sms", "purpose": purpose, "status": status}
    accepted = read(fields, read_time=read_time)
    assert (accepted.status, accepted.purpose, accepted.recorded_at) == (status, purpose, NOW)
    assert RULES.oldest_choice <= accepted.effective_at <= NOW
    if by_subject:
        assert accepted.subject_ref == "s1"
    else:
        assert accepted.address == "+33639980001"
    lost = {each.pointer for each in accepted.dropped}
    for name in ("event_id", "subject_ref", "address"):
        sent, kept = fields.get(name), getattr(accepted, name)
        assert (sent is None) == (kept is None and f"/{name}" not in lost)
    for each in accepted.dropped:
        assert each.cure
        for value in fields.values():
            assert not isinstance(value, str) or len(value) < 8 or value not in f"{each.pointer}{each.cure}"


@given(st.dictionaries(st.sampled_from(sorted(FIELDS)), _JSON | _TIMES, max_size=4), _WAYS_IN)
def test_a_grant_is_never_accepted_with_anything_unread(change: dict[str, Any], read_time: ReadTime) -> None:
    fields = {**GRANT, **change}
    try:
        accepted = read(fields, read_time=read_time)
    except SubmissionInvalidError:
        return
    assert accepted.dropped == ()
    if accepted.status == "given":
        assert accepted.expires_at is not None
        assert accepted.effective_at < accepted.expires_at
        assert set(accepted.evidence) == set(EVIDENCE)


@given(st.dictionaries(st.sampled_from([*GRANT, "address", "event_id"]), _JSON), st.booleans())
def test_whatever_is_sent_is_accepted_or_refused_and_nothing_else(change: dict[str, Any], grant: bool) -> None:
    try:
        accepted = read({**(GRANT if grant else WITHDRAWAL), **change})
    except SubmissionInvalidError:
        return
    assert accepted.effective_at <= accepted.recorded_at == NOW
