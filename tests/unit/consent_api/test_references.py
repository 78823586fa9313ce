"""A reference has one spelling, and a placeholder for a missing reference is refused. # R16"""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent_api.domain.validation import ValidationRules, subject_reference
from consent_api.domain.validation.invisible import normalised
from consent_api.domain.validation.references import identifies_no_one
from consent_api.errors import SubmissionInvalidError
from tests.support.tables import each_of
from tests.unit.consent_api.submissions import GRANT, RULES, WITHDRAWAL, dropped, faults, read

INVISIBLE = [
    "\u00ad", "\u034f", "\u061c", "\u115f", "\u1160", "\u17b4", "\u180e", "\u200b", "\u200c", "\u200d", "\u200e",
    "\u200f", "\u202a", "\u202e", "\u2060", "\u2064", "\u2066", "\u2069", "\u206f", "\u3164", "\ufe0f", "\ufeff",
    "\uffa0", "\ufff9", "\U000e0001", "\U000e0041", "\U000e0100",
]  # fmt: skip
BLANK = [" ", "\t", "\n", "\r\n", "\x0b", "\x85", "\u00a0", "\u1680", "\u2003", "\u2028", "\u202f", "\u2800", "\u3000"]


@each_of("mark", [*INVISIBLE, *BLANK])
@each_of("name", ["subject_ref", "event_id"])
def test_blanks_around_and_invisible_characters_make_no_other_reference(mark: str, name: str) -> None:
    for written in (f"c-1{mark}", f"{mark}c-1", f"{mark}{mark}c-1{mark}"):
        assert getattr(read({**WITHDRAWAL, name: written}), name) == "c-1"
        assert dropped({**WITHDRAWAL, name: written}) == {}
        assert getattr(read({**GRANT, name: written}), name) == "c-1"
        assert subject_reference(written, RULES) == "c-1"


@each_of("mark", INVISIBLE)
def test_an_invisible_character_within_makes_no_other_reference(mark: str) -> None:
    assert subject_reference(f"c{mark}-1", RULES) == "c-1"


def test_a_reference_is_kept_in_composed_form_with_plain_blanks() -> None:
    assert subject_reference(unicodedata.normalize("NFD", "Café-é"), RULES) == "Café-é"
    assert subject_reference("cafe\u034f\u0301", RULES) == "café"
    assert subject_reference("a\u00a01\u20032", RULES) == "a 1 2"


@pytest.mark.parametrize("kept", ["a b", "a  b", "A-1", "ﬁ", "１", "नी", "c/1", "{F990F0E7-2DEF-4F5C}"])
def test_what_can_be_seen_stays(kept: str) -> None:
    assert subject_reference(kept, RULES) == kept


@given(st.text())
def test_normalising_twice_is_normalising_once(text: str) -> None:
    assert normalised(normalised(text)) == normalised(text)


NO_ONE = [
    "undefined", "null", "NULL", "None", "nil", "NaN", "Nan", "0", "000", "0.0", "-", "--", "?", "...", "()", "[]",
    "{}", '""',
    "anonymous", "Anonymous", "guest", "unknown", "UNKNOWN", "N/A", "n/a", "NA", "#N/A", "#REF!", "(null)", "<null>",
    '"null"', " null ", "nu\u200bll", "<nil>", "__none__", "[object Object]", "[object Undefined]", "true", "-1", "\\N",
    "00000000-0000-0000-0000-000000000000", "{00000000-0000-0000-0000-000000000000}", "0" * 32, "٠",
    "ffffffff-ffff-ffff-ffff-ffffffffffff", "11111111-1111-1111-1111-111111111111", "test", "TEST", "string",
    "urn:uuid:00000000-0000-0000-0000-000000000000", "not available", "Not  Applicable", "no one",
    "crm-undefined", "user:null", "customer/None", "crm_NaN", "crm-[object Object]", "customer_id",
    "{{customer_id}}", "${id}", "{customer.id}", "%s", "%(id)s", "<customer id>", "*|EMAIL|*", "%%subscriberkey%%",
]  # fmt: skip


@each_of("reference", NO_ONE)
def test_a_placeholder_for_a_reference_makes_no_person_of_all_that_have_it(reference: str) -> None:
    assert faults({**WITHDRAWAL, "subject_ref": reference}) == {"/subject_ref": "identifies_no_one"}
    assert faults({**GRANT, "subject_ref": reference, "event_id": reference}) == {
        "/subject_ref": "identifies_no_one",
        "/event_id": "identifies_no_one",
    }
    with pytest.raises(SubmissionInvalidError):
        subject_reference(reference, RULES)
    fields = {**WITHDRAWAL, "subject_ref": reference, "event_id": reference, "address": "+33639980001"}
    assert (read(fields).subject_ref, read(fields).event_id) == (None, None)
    assert dropped(fields) == {"/subject_ref": "identifies_no_one", "/event_id": "identifies_no_one"}


@each_of(
    "reference",
    [
        "1", "10", "42", "007", "A", "a-0", "é", "customer-1", "nullable-7", "null-7", "nona", "tester", "guest-12",
        "unknown-4711", "li-nan", "f990f0e7-2def-4f5c-801e-5bfeb12622b0", "00000000-0000-0000-0000-000000000001",
        "<20260105.1@mailer>", "100%sure", "crm:0001", "0x1f", "id-7", "{7}",
    ],
)  # fmt: skip
def test_other_references_identify_someone(reference: str) -> None:
    assert not identifies_no_one(reference)


def test_an_installation_adds_references_that_identify_no_one() -> None:
    rules = ValidationRules(channels=("sms",), default_region="FR", refused_references=("Walk-In", "9999"))
    for reference in ("walk-in", " WALK-IN", "9999"):
        assert faults({**WITHDRAWAL, "subject_ref": reference}, rules) == {"/subject_ref": "identifies_no_one"}
    assert read({**WITHDRAWAL, "subject_ref": "99999"}, rules).subject_ref == "99999"


def test_a_reference_that_lost_characters_on_its_way_is_refused() -> None:
    assert faults({**WITHDRAWAL, "subject_ref": "andr\ufffd-7"}) == {"/subject_ref": "damaged"}


@pytest.mark.parametrize("reference", ["x" * 201, "x" * 1_000_000, "\u200b" * 1_000])
def test_a_reference_is_bounded(reference: str) -> None:
    assert set(faults({**WITHDRAWAL, "subject_ref": reference}).values()) == {"too_long"}


def test_the_limit_counts_what_is_kept() -> None:
    assert read({**WITHDRAWAL, "subject_ref": " " * 200 + "x" * 200}).subject_ref == "x" * 200
