"""Texts from outside take time in proportion to their length: quadratic time would be minutes here (R43, R45)."""

import contextlib
import time
from collections.abc import Callable

import msgspec
import pytest

from consent_api.domain.validation import clear_addresses, evidence, references
from consent_api.errors import InvalidValueError
from consent_http import request_body
from consent_http.errors import ProblemError
from consent_privacy import phones
from consent_privacy.addresses import canonical
from consent_privacy.errors import InvalidAddressError
from consent_service import json_logs
from tests.support.tables import each_of

pytestmark = pytest.mark.long

LONG = 100_000
PROCESSOR_SECONDS = 10.0
"""Linear: milliseconds. Quadratic: a hundred seconds and more."""


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    channel: str = ""
    nested: list["Asked"] = []


def decode(body: str) -> None:
    request_body.decode(body.encode(), msgspec.json.Decoder(Asked))


def email(text: str) -> None:
    canonical("email", text, default_region="FR")


def sms(text: str) -> None:
    canonical("sms", text, default_region="FR")


def push(text: str) -> None:
    canonical("push", text, default_region="FR")


def shows(text: str) -> None:
    clear_addresses.shows_address(text, "FR")


def held(text: str) -> None:
    evidence.holds_address("actor", text, raw=text, address="+33639980001", region="FR")


@each_of(
    ("read", "text"),
    [
        (json_logs.redact, "a" * LONG),
        (json_logs.redact, "+1 " * LONG),
        (json_logs.E_MAIL.search, "a" * LONG),
        (json_logs.E_MAIL.search, "%4" * LONG),
        (json_logs.NUMBER.search, "+1 " * LONG),
        (json_logs.NUMBER.search, "1" * LONG),
        (shows, "a" * LONG),
        (shows, "a@" * LONG),
        (shows, "a@" + "b" * LONG),
        (shows, "+1 " * LONG),
        (shows, "+1" + " " * LONG),
        (shows, "0" * LONG),
        (held, "a" * LONG),
        (held, "\u0663" * LONG),
        (phones.WRITTEN.fullmatch, " (" * LONG + "x"),
        (phones.WRITTEN.fullmatch, " " * LONG + "x"),
        (sms, " (" * LONG),
        (email, "=?" * LONG),
        (email, "\u00e9" * LONG + "@x.fr"),
        (email, "<" * LONG),
        (push, "a\u0301\u0316" * LONG),
        (references.reference, "{{" * LONG),
        (references.PUNCTUATION_AROUND.search, "." * LONG + "a" + "." * LONG + "b"),
        (references.TEMPLATE.search, "*|a" * LONG),
        (references.TEMPLATE.search, "%%" + "a" * LONG),
        (references.MISSING_PART.fullmatch, "_null" * LONG + "x"),
        (decode, '{"' + "a" * LONG + '": 1}'),
        (decode, '{"nested": [{"' + " - at `$" * LONG + '": 1}]}'),
        (decode, '{"channel": "' + "\\\\" * LONG + "\\ud83d"),
        (decode, '{"channel": "' + "\\n" * LONG + "\\ud83d"),
        (decode, '{"channel": "' + "\\ud83d" * LONG),
    ],
)
def test_no_text_from_outside_takes_quadratic_time(read: Callable[[str], object], text: str) -> None:
    began = time.process_time()
    with contextlib.suppress(InvalidAddressError, InvalidValueError, ProblemError):
        read(text)
    assert time.process_time() - began < PROCESSOR_SECONDS


@pytest.mark.long
def test_what_is_refused_of_an_address_costs_little() -> None:
    """Three thousand of the dearest that can be sent: they cost 3.8 s, and 41 ms each where they expand."""
    began = time.process_time()
    for text in ("a@" + "\u00e9." * 126, "\ufdfa" * 500 + "@x.fr"):
        for _ in range(500):
            with pytest.raises(InvalidAddressError):
                email(text)
    assert time.process_time() - began < PROCESSOR_SECONDS


def test_a_label_that_no_domain_has_costs_little() -> None:
    """Each digit was compared with each other."""
    began = time.process_time()
    for _ in range(500):
        with pytest.raises(InvalidAddressError, match="invalid_domain"):
            email("a@" + "\u0660" * 252)
    assert time.process_time() - began < PROCESSOR_SECONDS / 5


def test_a_domain_of_many_scripts_is_still_read() -> None:
    assert canonical("email", "a@b\u00fccher.caf\u00e9.example.com", default_region="FR").endswith(".example.com")
    with pytest.raises(InvalidAddressError, match="too_long"):
        email("a@" + "\u00e9." * 60 + "fr")


@pytest.mark.parametrize("name", ["a" * 24_000, "jean.dupont@example.com", "0639980001", "x` - at `$0639980001"])
def test_the_name_of_an_unknown_member_is_shown_only_as_a_plain_word(name: str) -> None:  # R13
    with pytest.raises(ProblemError) as caught:
        decode(msgspec.json.encode({"nested": [{name: 1}]}).decode())
    body = msgspec.json.encode(caught.value.document()).decode()
    assert len(body) < 1_000
    assert "dupont" not in body
    assert "0639980001" not in body
    with pytest.raises(ProblemError, match="`chanel`"):
        decode('{"chanel": 1}')


def test_a_long_text_is_cut_in_the_log() -> None:
    assert len(json_logs.redact("x" * 1_000_000)) < 20_000
    assert "bob" not in json_logs.redact("+33 6 39 98 00 01bob@example.com")
