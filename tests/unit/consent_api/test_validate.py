"""The rules of a submission: what is accepted, and everything that is wrong with what is not. # R4 R7"""

from __future__ import annotations

import pytest

from consent_api.domain.validation import EVIDENCE, micros, rfc3339, subject_reference
from consent_api.errors import SubmissionInvalidError
from tests.support.tables import each_of
from tests.unit.consent_api.submissions import GRANT, NOW, RULES, SECOND, WITHDRAWAL, faults, read


def test_a_complete_grant_is_taken_with_its_evidence() -> None:
    accepted = read(GRANT)
    assert (accepted.effective_at, accepted.recorded_at) == (GRANT["occurred_at"], NOW)
    assert dict(accepted.evidence) == GRANT["evidence"]
    assert accepted.source_system == "some source_system"


@pytest.mark.parametrize("absent", [None, {}, dict.fromkeys(EVIDENCE), dict.fromkeys(EVIDENCE, "  ")])
def test_a_grant_without_evidence_lists_all_that_is_missing(absent: object) -> None:  # R7
    found = faults({**GRANT, "evidence": absent, "occurred_at": None, "expires_at": None})
    assert found == dict.fromkeys(
        ["/occurred_at", "/expires_at", *(f"/evidence/{name}" for name in EVIDENCE)], "missing_evidence"
    )


@pytest.mark.parametrize("name", EVIDENCE)
def test_each_field_of_evidence_is_needed(name: str) -> None:
    evidence = {other: text for other, text in GRANT["evidence"].items() if other != name}
    assert faults({**GRANT, "evidence": evidence}) == {f"/evidence/{name}": "missing_evidence"}


@pytest.mark.parametrize("status", ["refused", "withdrawn", "objected", "expired", "invalidated"])
@pytest.mark.parametrize("purpose", ["survey", "*"])
def test_a_refusal_needs_no_evidence(status: str, purpose: str) -> None:
    accepted = read({**WITHDRAWAL, "status": status, "purpose": purpose})
    assert (accepted.effective_at, accepted.expires_at) == (NOW, None)


@pytest.mark.parametrize(("ahead", "taken"), [(0, True), (2 * SECOND, True), (2 * SECOND + 1, False)])
def test_a_grant_may_be_dated_two_seconds_ahead_and_no_more(ahead: int, taken: bool) -> None:
    fields = {**GRANT, "occurred_at": NOW + ahead}
    if taken:
        assert read(fields).effective_at == NOW
    else:
        assert faults(fields) == {"/occurred_at": "in_the_future"}


def test_a_withdrawal_dated_ahead_counts_from_now() -> None:
    assert read({**WITHDRAWAL, "occurred_at": NOW + 3600 * SECOND}).effective_at == NOW


def test_a_grant_names_its_purpose() -> None:
    assert faults({**GRANT, "purpose": "*"}) == {"/purpose": "not_specific"}


@pytest.mark.parametrize("purpose", ["0639980001", "0033639980001", "06-39-98-00-01", "33_639980001"])
def test_a_phone_number_in_the_place_of_the_purpose_is_not_kept(purpose: str) -> None:  # R13
    assert faults({**WITHDRAWAL, "purpose": purpose}) == {"/purpose": "an_address"}


@pytest.mark.parametrize("purpose", ["101", "2026-11", "survey-20261122", "0"])
def test_a_purpose_may_have_digits(purpose: str) -> None:
    assert read({**WITHDRAWAL, "purpose": purpose}).purpose == purpose


def test_all_faults_are_reported_at_once() -> None:
    fields = {"channel": "fax", "purpose": "A B", "status": "maybe", "subject_ref": "a@b.example", "address": 7}
    assert set(faults(fields)) == {"/channel", "/purpose", "/status", "/subject_ref", "/address"}


@each_of("name", ["channel", "purpose", "status"])
@each_of("value", [None, 7, True, [], {}, "", "\x00", "x" * 201])
def test_required_fields_must_be_text_that_means_something(name: str, value: object) -> None:
    assert f"/{name}" in faults({**WITHDRAWAL, name: value})


@pytest.mark.parametrize(
    "reference", ["a@b.example", "someone@localhost", "+33 6 39 98 00 01", "a\nb", "a\x00", " ", "\ud800"]
)
def test_a_subject_reference_is_opaque_and_printable(reference: str) -> None:
    assert "/subject_ref" in faults({**WITHDRAWAL, "subject_ref": reference})
    with pytest.raises(SubmissionInvalidError):
        subject_reference(reference, RULES)


DIALLED = [
    "06 39 98 00 12",
    "0639980012",
    "tel:06-39-98-00-12",
    "tel:0639980012",
    "0033639980012",
    "００33 6 39 98 00 12",
]


@pytest.mark.parametrize("written", DIALLED)
def test_a_number_as_it_is_dialled_is_no_reference_and_no_evidence(written: str) -> None:  # R13
    assert faults({**WITHDRAWAL, "subject_ref": written}) == {"/subject_ref": "an_address"}
    assert faults({**GRANT, "event_id": written}) == {"/event_id": "an_address"}
    with pytest.raises(SubmissionInvalidError):
        subject_reference(written, RULES)
    evidence = {**GRANT["evidence"], "actor": f"caller on {written}, twice"}
    assert faults({**GRANT, "evidence": evidence}) == {"/evidence/actor": "an_address"}
    removed = {**GRANT["evidence"], "actor": "(removed: held an address)"}
    assert dict(read({**WITHDRAWAL, "evidence": evidence}).evidence) == removed


@pytest.mark.parametrize("reference", ["42", "crm:0001", "a/b", "ç-é", "2026-01-05"])
def test_other_references_are_kept_as_they_are(reference: str) -> None:
    assert (
        read({**WITHDRAWAL, "subject_ref": reference}).subject_ref == reference == subject_reference(reference, RULES)
    )


@pytest.mark.parametrize(
    "reference",
    [
        "639980012",
        "33639980012",
        "customer-0639980012",
        "00639980012",
        "06399800123",
        "2026-01-05-09-30-00",
        "f990f0e7-2def-4f5c-801e-5bfeb12622b0",
    ],
)
def test_digits_that_could_be_a_customers_number_are_a_reference(reference: str) -> None:
    taken = read({**WITHDRAWAL, "subject_ref": reference, "event_id": reference})
    assert (taken.subject_ref, taken.event_id) == (reference, reference)


@pytest.mark.parametrize("value", ["stop-33639980001", "0639980001-17", "crm_639_980_001", "６３９９８０００１"])
def test_nothing_that_is_kept_holds_the_number_of_the_same_submission(value: str) -> None:  # R13
    fields = {**GRANT, "address": "06 39 98 00 01", "event_id": value, "subject_ref": value}
    assert faults(fields) == {"/event_id": "an_address", "/subject_ref": "an_address"}
    assert faults({**WITHDRAWAL, "address": "06 39 98 00 01", "purpose": "vip-639980001"}) == {"/purpose": "an_address"}
    old = {**GRANT, "address": "+229 97 12 34 56", "subject_ref": "crm-97123456"}
    assert faults(old) == {"/subject_ref": "an_address"}


def test_an_event_id_may_be_a_message_id_but_no_address() -> None:
    assert read({**WITHDRAWAL, "event_id": "<20260105.1@mailer>"}).event_id == "<20260105.1@mailer>"
    assert faults({**GRANT, "event_id": "stop:someone@example.com"}) == {"/event_id": "an_address"}


@pytest.mark.parametrize("text", ["06 39 98 00 01", "+33639980001", "call 0639980001 twice", "tel:+33-6-39-98-00-01"])
def test_evidence_does_not_keep_the_persons_address(text: str) -> None:  # R13
    fields = {**WITHDRAWAL, "address": "06 39 98 00 01", "evidence": {"withdrawal_method": text, "actor": "agent 7"}}
    accepted = read(fields)
    assert dict(accepted.evidence) == {"withdrawal_method": "(removed: held an address)", "actor": "agent 7"}
    grant = {**GRANT, "address": "06 39 98 00 01", "evidence": {**GRANT["evidence"], "notice_id": text}}
    assert faults(grant) == {"/evidence/notice_id": "an_address"}


def test_evidence_keeps_the_controllers_own_addresses() -> None:
    evidence = {
        **GRANT["evidence"],
        "withdrawal_method": "privacy@example.com or STOP to 36105",
        "controller": "a@b.example",
    }
    assert dict(read({**GRANT, "evidence": evidence}).evidence) == evidence


def test_a_misspelt_field_is_said() -> None:
    assert faults({**GRANT, "expire_at": 1}) == {"/expire_at": "unknown_field"}
    assert faults({**GRANT, "06 39 98 00 01": 1}) == {"": "unknown_field"}
    assert faults({**GRANT, "evidence": {**GRANT["evidence"], "notice": "x"}}) == {"/evidence/notice": "unknown_field"}


def test_the_address_is_never_printed() -> None:
    assert "639980001" not in repr(read({**WITHDRAWAL, "address": "06 39 98 00 01"}))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-01-05T10:00:00+01:00", 1_767_603_600_000_000),
        ("2026-01-05 09:00:00.123456789z", 1_767_603_600_123_456),
        ("2026-01-05T09:00:00.5Z", 1_767_603_600_500_000),
        ("9999-12-31T23:59:59.999999Z", 253_402_300_799_999_999),
        ("2026-01-05T10:00:00.000+0100", 1_767_603_600_000_000),
        ("2026-01-05T10:00:00+01", 1_767_603_600_000_000),
        ("2026-01-05T09:00Z", 1_767_603_600_000_000),
        ("2026-01-05 09:00:00,123 UTC", 1_767_603_600_123_000),
        ("2026-01-05 09:00:00 +0000", 1_767_603_600_000_000),
        ("2026-01-05T10:00:00+01:00[Europe/Paris]", 1_767_603_600_000_000),
        (" 2026-01-05T09:00:00Z\n", 1_767_603_600_000_000),
    ],
)
def test_times_are_read_to_the_microsecond(text: str, expected: int) -> None:
    assert rfc3339(text) == expected


@pytest.mark.parametrize(
    "text",
    [7, True, "", "now", "2026-01-05", "2026-01-05T09:00:00", "2026-02-30T00:00:00Z", "1969-12-31T23:59:59Z",
     "2026-01-05T09:00:00+25:00", "9999-12-31T23:59:59-23:00", "2026-W01-1T00:00:00Z", "٢٠٢٦-01-05T09:00:00Z",
     "2026-01-05T09:00.5Z", "2026-01-05T09:00:00 CET", "2026-01-05T09:00:00[Europe/Paris]", "05/01/2026 09:00:00Z"],
)  # fmt: skip
def test_other_times_are_refused_with_a_cure(text: object) -> None:
    with pytest.raises(ValueError, match="send"):
        rfc3339(text)


@pytest.mark.parametrize("value", [-1, 2**63, 1.5, "1", True])
def test_microseconds_have_bounds(value: object) -> None:
    with pytest.raises(ValueError, match="microseconds"):
        micros(value)
