"""What is recorded of a withdrawal spoken in a call: nothing is needed but the number. # R52"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from consent_api.domain import spoken
from consent_api.domain.validation import ValidationRules, validate
from consent_api.errors import NumberWithheldError, SubmissionInvalidError

RULES = ValidationRules(channels=("sms", "email", "voice"), default_region="FR")
NUMBER = "+33639980001"
NOW = 1_760_000_000_000_000


@pytest.mark.parametrize(
    "written",
    [
        NUMBER,
        "06 39 98 00 01",
        "06.39.98.00.01",
        " +33 (0)6 39 98 00 01 ",
        "0033639980001",
        "tel:+33639980001",
        "sip:+33639980001@pbx.example.com;user=phone",
        "sips:0639980001@192.0.2.1",
        "sip:%2B33639980001@192.0.2.1",
        "tel:+33-6-39-98-00-01;cpc=ordinary",
        "<tel:0639980001;phone-context=+33>",
        '"Someone" <sip:0639980001@pbx.example.com>;tag=4711',
        "\u202a06 39 98 00 01\u202c",
    ],
)
def test_a_number_is_read_however_it_is_written(written: str) -> None:
    assert spoken.read({"number": written}, RULES) == spoken.Spoken(number=NUMBER, everything=False, actor="agent")


@pytest.mark.parametrize(
    "shown",
    [
        *(
            "anonymous",
            "Anonymous",
            "ANONYMOUS",
            "private",
            "Private Number",
            "withheld",
            "restricted",
            "Unknown",
            "",
            " ",
        ),
        *("Numéro masqué", "numéro privé", "Inconnu", "sip:anonymous@anonymous.invalid", "+266696687", "7378742833"),
        '"Anonymous" <sip:anonymous@anonymous.invalid>;tag=1',
    ],
)
def test_a_withheld_number_is_named_as_such(shown: str) -> None:
    with pytest.raises(NumberWithheldError):
        spoken.read({"number": shown}, RULES)


@pytest.mark.parametrize(
    "number", [None, 33639980001, True, ["x"], "12", "someone@example.com", "x" * 5_000, "06" * 90]
)
def test_a_number_that_cannot_be_read_is_refused_with_the_reason(number: object) -> None:
    with pytest.raises(SubmissionInvalidError) as refused:
        spoken.read({"number": number}, RULES)
    (fault,) = refused.value.faults
    assert fault.pointer == "/number"
    assert fault.cure


@pytest.mark.parametrize(
    ("more", "everything", "actor", "dropped"),
    [
        ({}, False, "agent", []),
        ({"call_id": "call-1", "agent": "agent 12"}, False, "agent 12, call call-1", []),
        ({"call_id": 4711}, False, "agent, call 4711", []),
        ({"everything": True}, True, "agent", []),
        ({"everything": None, "agent": None, "call_id": ""}, False, "agent", []),
        # A refusal is taken in the wider sense.
        ({"everything": "yes"}, True, "agent", ["/everything"]),
        ({"call_id": "06 39 98 00 01"}, False, "agent", ["/call_id"]),
        ({"call_id": "call-33639980001-7"}, False, "agent", ["/call_id"]),
        ({"agent": "someone@example.com"}, False, "agent", ["/agent"]),
        ({"agent": "a\0b"}, False, "agent", ["/agent"]),
        ({"agent": "x" * 201, "call_id": {"a": 1}}, False, "agent", ["/agent", "/call_id"]),
        ({"note": "please", "06 39": 1}, False, "agent", [""]),
    ],
)
def test_whatever_else_cannot_be_read_is_left_out(
    more: Mapping[str, Any], everything: bool, actor: str, dropped: list[str]
) -> None:
    found = spoken.read({"number": NUMBER, **more}, RULES)
    assert (found.everything, found.actor) == (everything, actor)
    assert [each.pointer for each in found.dropped] == dropped


@pytest.mark.parametrize(
    ("everything", "persons", "recorded", "left"),
    [
        (False, [], ["voice number"], {}),
        (False, ["a"], ["voice number"], {}),
        (True, [], ["sms number", "voice number"], {"email": "unknown_person"}),
        (True, ["a"], ["sms number", "sms a", "email a", "voice number", "voice a"], {}),
        # It is not known which of them has spoken.
        (True, ["a", "b"], ["sms number", "voice number"], {"email": "shared_number"}),
    ],
)
def test_what_reaches_beyond_the_number_is_of_the_person_it_belongs_to(
    everything: bool, persons: list[str], recorded: list[str], left: dict[str, str]
) -> None:
    asked = spoken.Spoken(number=NUMBER, everything=everything, actor="agent 12, call 7", occurred_at="yesterday")
    found = spoken.plan(asked, persons, RULES)
    assert [f"{each['channel']} {each.get('subject_ref', 'number')}" for each in found.decisions] == recorded
    assert found.left == left
    for each in found.decisions:
        accepted = validate(each, tenant="acme", rules=RULES, now=NOW)
        assert (accepted.status, accepted.purpose, accepted.effective_at) == ("withdrawn", "*", NOW)
        assert accepted.evidence == {"capture_method": "spoken", "source_system": "call", "actor": "agent 12, call 7"}
