"""Addresses, references, times, evidence and JSON bodies: what people and their systems write."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent_api.domain.validation import (
    EVIDENCE,
    FIELDS,
    LONGEST_REFERENCE,
    Purposes,
    ValidationRules,
    micros,
    named_address,
    readable_event,
    rfc3339,
    subject_reference,
    validate,
)
from consent_api.domain.validation.evidence import holds_address
from consent_api.domain.validation.references import reference
from consent_api.errors import FieldViolation, InvalidValueError, SubmissionInvalidError
from consent_api.http import models
from consent_contracts.decisions import STATUSES
from consent_http import api_keys, request_body
from consent_http.errors import ProblemError
from consent_http.ssrf import is_public, url_error
from consent_privacy import phones
from consent_privacy.addresses import aliases, canonical
from consent_privacy.errors import InvalidAddressError
from consent_service.json_logs import JsonLines, redact
from suppression.gate.contract import REQUEST
from tests.fuzz.budget import fuzzed
from tests.fuzz.hostile import broken_texts, mutated, raw, texts, values
from tests.fuzz.outcome import value_or

CHANNELS = ("sms", "email", "voice", "post")
RULES = ValidationRules(channels=CHANNELS, default_region="FR")
DECLARED = ValidationRules(
    channels=CHANNELS, default_region="GB", purposes=Purposes(declared=frozenset({"newsletter", "survey"}))
)
NOW = 1_760_000_000_000_000
LAST = 253_402_300_799_999_999
LONGEST_ADDRESS = 254
MAX_FAULTS = 100

phone_like = st.text(st.sampled_from("0123456789+() .-/٣০６\u200b\u2212＋x#,;tel:"), max_size=40)
mail_like = st.builds(
    lambda local, domain: f"{local}@{domain}",
    st.text(st.sampled_from("abÉßıİ.+'\"()é\u0301\u200dａ%?"), max_size=70),
    st.text(st.sampled_from("ab.-éß\u200d\u0301xn1ａ。"), max_size=260),
)
addresses = st.one_of(phone_like, mail_like, broken_texts)


@pytest.mark.parametrize("channel", CHANNELS)
def test_an_address_has_one_spelling_or_is_invalid(channel: str) -> None:  # R10, R11
    @fuzzed(share=2)
    @given(addresses, st.sampled_from(["FR", "GB", "US", "AR"]))
    def holds(address: str, region: str) -> None:
        with value_or(InvalidAddressError):
            found = canonical(channel, address, default_region=region)
            assert 0 < len(found) <= LONGEST_ADDRESS
            assert canonical(channel, found, default_region=region) == found
            found.encode()
            for other in aliases(channel, found):
                assert canonical(channel, other, default_region=region) == other

    holds()


@fuzzed(share=2)
@given(addresses, st.sampled_from(["FR", "GB", "US"]))
def test_a_text_is_searched_for_numbers_and_stays_what_it_is(text: str, region: str) -> None:  # R13
    with value_or():
        phones.contains_phone_number(text, region)
        assert phones.digits(text).isdecimal() or not phones.digits(text)
        assert phones.fast_e164(text, region) is None or phones.fast_e164(text, region) == phones.e164(text, region)


@fuzzed(share=2)
@given(st.one_of(addresses, values))
def test_a_reference_is_kept_in_one_spelling_or_refused(value: object) -> None:
    with value_or(InvalidValueError):
        found = reference(value, ("walk-in",))
        assert 0 < len(found) <= LONGEST_REFERENCE
        assert reference(found, ("walk-in",)) == found
        found.encode()
    if isinstance(value, str):
        with value_or(SubmissionInvalidError):
            kept = subject_reference(value, RULES)
            assert subject_reference(kept, RULES) == kept
        with value_or(SubmissionInvalidError):
            named_address("email", value, RULES)


moments = st.one_of(
    st.datetimes().map(lambda moment: moment.isoformat() + "Z"),
    st.text(st.sampled_from("0123456789-:.,TtZz+ []/UGMC٣"), max_size=45),
    st.from_regex(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d([.,]\d{1,12})?)?( ?(Z|UTC|[+-]\d\d(:?\d\d)?))?", fullmatch=True),
)


@fuzzed(share=3)
@given(st.one_of(moments, values))
def test_a_time_is_a_moment_that_can_be_written_or_no_time(value: object) -> None:
    for read in (rfc3339, micros):
        with value_or(ValueError, longest=300):
            found = read(value)
            assert found is None or 0 <= found <= LAST


evidence_texts = st.one_of(broken_texts, addresses, st.text(min_size=1_900, max_size=2_100))


@fuzzed(share=2)
@given(st.sampled_from(EVIDENCE), texts.map(lambda text: text[:2_000]), st.one_of(st.none(), broken_texts, values))
def test_evidence_is_searched_for_addresses(name: str, text: str, sent: object) -> None:  # R13
    for address in (None, "+33639980001", "a@example.com"):
        with value_or():
            holds_address(name, text, raw=sent, address=address, region="FR")


hopeful = st.fixed_dictionaries(
    {},
    optional={
        "channel": st.one_of(st.sampled_from(CHANNELS), values),
        "purpose": st.one_of(st.sampled_from(["newsletter", "*"]), values, texts),
        "status": st.one_of(st.sampled_from(sorted(STATUSES)), values),
        "subject_ref": st.one_of(st.just("customer-1"), values, addresses),
        "address": st.one_of(st.just("+33639980001"), values, addresses),
        "event_id": st.one_of(st.just("e-1"), values, broken_texts),
        "occurred_at": st.one_of(moments, values),
        "expires_at": st.one_of(moments, values),
        "evidence": st.one_of(
            st.dictionaries(st.one_of(st.sampled_from(EVIDENCE), broken_texts), st.one_of(evidence_texts, values)),
            values,
        ),
    },
)
submissions = st.one_of(
    hopeful,
    st.builds(lambda known, more: {**more, **known}, hopeful, st.dictionaries(broken_texts, values, max_size=5)),
)


@pytest.mark.parametrize("read_time", [rfc3339, micros])
def test_a_submission_is_accepted_or_every_fault_is_named(read_time: Any) -> None:  # R6, R7
    @fuzzed(share=5)
    @given(submissions, st.sampled_from([RULES, DECLARED]))
    def holds(fields: dict[str, Any], rules: ValidationRules) -> None:
        faults: tuple[FieldViolation, ...] = ()
        with value_or():
            try:
                accepted = validate(fields, tenant="acme", rules=rules, now=NOW, read_time=read_time)
            except SubmissionInvalidError as error:
                faults = error.faults
                assert faults
                for text in readable_event(fields, rules=rules):
                    assert text is None or ("\0" not in text and len(text.encode()) <= 8_000)
            else:
                faults = accepted.dropped
                assert accepted.effective_at <= NOW
                for text in (accepted.subject_ref, accepted.event_id, accepted.address, *accepted.evidence.values()):
                    assert text is None or ("\0" not in text and len(text.encode()) <= 8_000)
        assert len(faults) <= MAX_FAULTS
        for each in faults:
            assert len(each.pointer) <= 100
            assert len(each.cure) <= 700
            each.pointer.encode()

    holds()


JSON = st.one_of(raw, values.map(json.dumps).map(str.encode), mutated(submissions.map(json.dumps).map(str.encode)))
DECODERS: dict[str, msgspec.json.Decoder[Any]] = {
    "check": REQUEST,
    "explain": msgspec.json.Decoder(models.ExplainRequest),
    "addresses": msgspec.json.Decoder(models.SubmittedAddresses),
    "object": msgspec.json.Decoder(dict[str, Any]),
}


@pytest.mark.parametrize("name", DECODERS)
def test_a_body_is_decoded_or_a_problem_that_can_be_sent(name: str) -> None:  # R15
    @fuzzed(share=2)
    @given(JSON)
    def holds(body: bytes) -> None:
        refused = None
        with value_or():
            try:
                request_body.decode(body, DECODERS[name])
            except ProblemError as problem:
                refused = problem
        if refused is not None:
            assert refused.status in (400, 422)
            assert len(msgspec.json.encode(refused.document())) <= 2_000

    holds()


@fuzzed(share=2)
@given(broken_texts)
def test_credentials_of_any_form_are_a_key_of_ours_or_none(text: str) -> None:  # R15
    with value_or():
        api_keys.parse(text)
        api_keys.parse(api_keys.bearer(f"Bearer {text}") or "")
        api_keys.bearer(text)


@fuzzed(share=2)
@given(broken_texts, values)
def test_a_log_line_is_one_line_of_json(text: str, value: object) -> None:
    with value_or():
        assert len(redact(text)) <= 11 * max(1, len(text))
        record = logging.LogRecord("x", logging.INFO, "", 0, text.replace("%", "%%"), (), None)
        record.__dict__["given"] = value
        try:
            raise ValueError(text)
        except ValueError:
            record.exc_info = sys.exc_info()
        line = JsonLines("api").format(record)
        assert "\n" not in line
        assert json.loads(line)["service"] == "api"


@fuzzed(share=3)
@given(st.one_of(texts, st.ip_addresses().map(str), st.ip_addresses(v=6).map("[{}]".format)), st.booleans())
def test_a_url_may_be_called_or_has_a_fault(host: str, allow_private: bool) -> None:
    for url in (host, f"https://{host}/path", f"http://user@{host}:80/#x"):
        with value_or():
            fault = url_error(url, allow_private=allow_private)
            assert fault is None or len(fault) <= 200


@fuzzed(share=2)
@given(st.ip_addresses())
def test_every_address_is_public_or_not(address: object) -> None:
    with value_or():
        is_public(str(address))


def test_the_fields_that_are_drawn_are_those_that_there_are() -> None:
    drawn = {
        "channel",
        "purpose",
        "status",
        "subject_ref",
        "address",
        "event_id",
        "occurred_at",
        "expires_at",
        "evidence",
    }
    assert drawn == FIELDS
