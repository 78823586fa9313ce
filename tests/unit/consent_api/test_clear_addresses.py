"""No reference holds an address, whatever it is written as. # R13"""

from __future__ import annotations

import base64
import unicodedata

import pytest

from consent_api.domain.validation import subject_reference
from consent_api.domain.validation.clear_addresses import same_address, shows_address
from consent_api.errors import SubmissionInvalidError
from tests.support.tables import each_of
from tests.unit.consent_api.submissions import GRANT, RULES, WITHDRAWAL, faults, read

EMAILS = [
    "jean.dupont@example.com", "jean.dupont\uff20example.com", "jean.dupont\ufe6bexample.com",
    "jean.dupont%40example.com",
    "jean.dupont%2540example.com", "jean.dupont&#64;example.com", "jean.dupont&#x40;example.com",
    "jean.dupont\uff0540example.com", "jean.dupont%\u200b40example.com", "jean.dupont%25252525252540example.com",
    "jean.dupont&commat;example.com", "jean.dupont\\u0040example.com", "jean.dupont%u0040example.com",
    "jean.dupont_x0040_example.com", "jean.dupont=40example.com", "jean.du\u200bpont@exam\u200dple.com",
    "jean.dupont\u06dd@example.com", "jean.dupont @ example.com", "jean.dupont@example\uff0ecom",
    "jean.dupont(at)example.com", "jean.dupont [AT] example [dot] com", "crm:jean.dupont@example.com/1",
    "jean.dupont@@example.com", "jean.dupont@example.com/v1.2", "jean.dupont@example\uff61com",
    "mailto:jean.dupont@example.com", "mailto:jean.dupont%40example.com", "<jean.dupont@example.com>",
    base64.b64encode(b"jean.dupont@example.com").decode(), b"jean.dupont@example.com".hex(),
]  # fmt: skip
NUMBERS = [
    "+33639980012", "+33639980012abc", "+33639980012_1", "%2B33639980012", "%252B33639980012", "&#43;33639980012",
    "\uff0b33639980012", "\ufe6233639980012", "+336\u200b39980012", "+33_6_39_98_00_12", "+33/6/39/98/00/12",
    "+[33]639980012", "+33 (0)6 39 98 00 12", "tel:33639980012", "tel:336 39 98 00 12", "TEL://33639980012",
    "tel:(336)39980012", "tel%3A33639980012", "tel :33639980012", "sms:33639980012", "sms:/33639980012",
    "smsto:33639980012",
    "callto:33639980012", "sip:33639980012", "whatsapp:33639980012", "wa.me/33639980012", "msisdn:33639980012",
    "phone=33639980012",
    "telephone:33639980012", "gsm: 33639980012", "portable=33639980012",
    "(33)639980012", "[33]639980012", "33 6 39 98 00 12", "33-6-39-98-00-12", "6 39 98 00 12",
    "0639 98 00 12", "(06) 39 98 00 12", "[06]39980012", "06-39 98.00 12", "06\u06dd39980012",
    "06 39\u00a098\u200300 12",
    "customer 33 6 39 98 00 12", "06\u00b739\u00b798\u00b700\u00b712", "06|39|98|00|12", "06,39,98,00,12",
    "06_39_98_00_12", "06 / 39 / 98 / 00 / 12", "06\u201339\u201398\u201300\u201312", "06*39*98*00*12",
    "n\u00b0 06 39 98 00 12",
    "00 33 6 39 98 00 12", "0044 20 7946 0018", "44 20 7946 0018",
    "\u0660\u0666 \u0663\u0669 \u0669\u0668 \u0660\u0660 \u0661\u0662",
    base64.b64encode(b"+33639980012").decode(), b"+33639980012".hex(),
]  # fmt: skip
REFERENCES = [
    "42", "crm:0001", "id=40", "id=4012", "100%sure", "chez-moi", "AT-1", "{7}", "sms:0001", "sms-20260105-1234567",
    "12-345-678", "123-45-6789", "4711 0815", "DE 12 345", "1 234 567", "2026 01 05", "2026/11/22 09:30",
    "20261122-093000-0001", "4929-1234-5678-9012", "GB29 NWBK 6016", "01J9ZQ3K4V5W6X7Y8Z9A0B1C2D", "7f3a9c2e4b5d",
    "f990f0e7-2def-4f5c-801e-5bfeb12622b0", "639980012", "33639980012",
    "732 829 320", "9253 6483 0662", "2 49 01 23 712 150",
    # In base64 or hexadecimal, these say something that has an @.
    "534720554240", "655849394079", "7261472755406678", "563a2b453f40", "QSFQTCRA", "VEFgemtAfE",
    "XCI1QDJT", "ZXB8JW5A", "3a3b40715429", "753139466440", "5754285566623040",
    "732 829 320", "732 829 320 00074", "732-829-320", "639980012 \u5ba2\u6237",
    "\u043a\u043b\u0438\u0435\u043d\u0442 639980012",
]  # fmt: skip


@each_of("written", EMAILS + NUMBERS)
def test_an_address_is_no_reference_however_it_is_written(written: str) -> None:
    assert faults({**GRANT, "subject_ref": written, "event_id": written}) == {
        "/subject_ref": "an_address",
        "/event_id": "an_address",
    }
    with pytest.raises(SubmissionInvalidError) as refused:
        subject_reference(written, RULES)
    assert written not in str(refused.value)


@each_of("written", EMAILS + NUMBERS)
def test_nor_is_it_evidence(written: str) -> None:
    taken = read({**WITHDRAWAL, "evidence": {"actor": written}})
    assert dict(taken.evidence) == {"actor": "(removed: held an address)"}


@pytest.mark.parametrize("written", ["mailto:jean", "someone\uff20localhost", "someone%40localhost"])
def test_a_subject_has_no_at_sign(written: str) -> None:
    assert faults({**WITHDRAWAL, "subject_ref": written}) == {"/subject_ref": "an_address"}


@each_of("reference", REFERENCES)
def test_what_is_no_address_stays_a_reference(reference: str) -> None:
    taken = read({**GRANT, "subject_ref": reference, "event_id": reference})
    assert (taken.subject_ref, taken.event_id) == (reference, reference)


@pytest.mark.parametrize("reference", ["2024-11-26-0012", "20241126 1234", "4711 0815", "1234 5678 9012"])
@pytest.mark.parametrize("region", ["DE", "AT", "GB", "BE"])
def test_nor_is_a_customers_number_in_groups_a_phone_number_of_another_region(region: str, reference: str) -> None:
    assert not shows_address(reference, region)


@pytest.mark.parametrize(
    ("written", "region"), [("030 1234 5678", "DE"), ("020 7946 0018", "GB"), ("49 30 12345678", "DE")]
)
def test_a_number_in_groups_is_one_in_each_region(written: str, region: str) -> None:
    assert shows_address(written, region)


@pytest.mark.parametrize(
    ("address", "reference"),
    [
        ("+33639980012", "33639980012"),
        ("+33639980012", "customer-6.39.98.00.12"),
        ("+33639980012", "6%2D39980012"),
        ("+33639980012", base64.b64encode(b"33639980012").decode()),
        ("jean.dupont@example.com", "jean_dupont_example_com"),
        ("jean.dupont@example.com", "jean dupont at example com"),
        ("jean.dupont@example.com", "CRM-JEANDUPONTEXAMPLECOM-1"),
    ],
)
def test_a_reference_does_not_hold_the_address_that_it_comes_with(address: str, reference: str) -> None:
    channel = "sms" if address.startswith("+") else "email"
    fields = {**GRANT, "channel": channel, "address": address, "subject_ref": reference, "event_id": reference}
    assert faults(fields) == {"/subject_ref": "an_address", "/event_id": "an_address"}
    with pytest.raises(SubmissionInvalidError):
        subject_reference(reference, RULES, addresses=["+447700900123", address])
    assert subject_reference(reference, RULES) == reference


@pytest.mark.long
@pytest.mark.parametrize(
    "piece", ["@", "a", "+1", "+1 ", "(", "tel:", "1 ", "1-", "%", "&#", "(at", "0-33-", "\u00e9", "\ufdfa"]
)
def test_reading_takes_time_in_proportion_to_the_text(piece: str) -> None:
    """A quadratic rule takes minutes for this much. U+FDFA is composed of 18 characters."""
    text = piece * (100_000 // len(unicodedata.normalize("NFKC", piece)))
    shows_address(text, "FR")
    same_address(text, "jean.dupont@example.com")
