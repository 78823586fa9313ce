"""Fingerprints of encoded entries: equal for equal content, whatever the sealed address and the time of writing."""

from __future__ import annotations

import time
from typing import Any

import fastavro
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from consent_api.operations.verify.fingerprint import NO_ENTRY, expected_fingerprint, fingerprint, tenant_of
from consent_contracts import AddressEntry, Decision, entry_to_avro, schemas
from consent_contracts.codec import Codec
from consent_contracts.join import join
from tests.unit.contracts.strategies import decisions

TOPIC = "suppression.sms.v1"
times = st.integers(0, 2**62)


class OneId:
    def id_of(self, subject: str, schema_text: str) -> int:
        return 7

    def schemas_of(self, subject: str) -> dict[int, str]:
        return {}


CODEC = Codec(OneId())


@st.composite
def held(draw: Any) -> AddressEntry:
    empty = AddressEntry(
        tenant=draw(st.text(min_size=1, max_size=100)),
        channel="sms",
        address_key=draw(st.sampled_from(["h1.a", "h1." + "b" * 43, "h1." + "c" * 9_000])),
        sealed_address=None,
        decisions=(),
    )
    found: list[Decision] = draw(st.lists(decisions(), max_size=4))
    fields = {name: getattr(empty, name) for name in empty.__struct_fields__}
    return join(empty, AddressEntry(**{**fields, "decisions": tuple(found)}))


def encoded(entry: AddressEntry, written_at: int, sealed: bytes | None) -> bytes:
    return CODEC.encode(TOPIC, {**entry_to_avro(entry, written_at), "sealed_address": sealed})


sealed_addresses = st.sampled_from([None, b"", b"s1:x", b"s2:" + bytes(70), bytes(9_000)])


def test_a_text_of_more_than_63_bytes_is_passed_over() -> None:
    entry = AddressEntry(
        tenant="0" * 12 + "\x80" * 13 + "\U00010000" * 7,
        channel="sms",
        address_key="h1.a",
        sealed_address=None,
        decisions=(),
    )
    assert fingerprint(encoded(entry, 0, None)) == expected_fingerprint(b"\0\0\0\0\7", entry) >= 0


@given(held(), times, times, sealed_addresses, sealed_addresses)
def test_neither_the_sealed_address_nor_the_time_of_writing_counts(
    entry: AddressEntry, one: int, other: int, sealed: bytes | None, other_sealed: bytes | None
) -> None:
    print_ = fingerprint(encoded(entry, one, sealed))
    assert print_ == fingerprint(encoded(entry, other, other_sealed)) >= 0
    assert expected_fingerprint(b"\0\0\0\0\7", entry) == print_
    assert tenant_of(encoded(entry, one, sealed)) == entry.tenant.encode()


@given(held(), held(), times)
def test_other_content_has_another_fingerprint(entry: AddressEntry, other: AddressEntry, written_at: int) -> None:
    assume(entry != other)
    assert fingerprint(encoded(entry, written_at, b"s1:x")) != fingerprint(encoded(other, written_at, b"s1:x"))


@given(held(), times)
def test_other_verdicts_have_another_fingerprint(entry: AddressEntry, written_at: int) -> None:
    datum = entry_to_avro(entry, written_at)
    before = fingerprint(CODEC.encode(TOPIC, datum))
    datum["verdicts"]["*"]["permitted"] = not datum["verdicts"]["*"]["permitted"]
    assert fingerprint(CODEC.encode(TOPIC, datum)) != before


@given(st.binary(max_size=200))
def test_any_bytes_have_a_fingerprint_or_none(value: bytes) -> None:
    assert fingerprint(value) >= NO_ENTRY
    tenant_of(value)


def test_the_last_field_of_an_entry_is_the_time_of_writing_after_a_map() -> None:
    """What `fingerprint` takes for granted of the schema."""
    fields = fastavro.parse_schema(schemas.current_schema("SuppressionEntry"))["fields"]
    names = ["tenant", "channel", "address_key", "sealed_address", "erased_at", "decisions", "verdicts", "written_at"]
    assert [each["name"] for each in fields] == names
    assert (fields[-2]["type"]["type"], fields[-1]["type"]["type"]) == ("map", "long")


_FRAMING = b"\0\0\0\0\1"


@pytest.mark.parametrize("value", [_FRAMING + b"\xff" * 2_000_000, _FRAMING + b"\xff" * 9 + b"\x7f"], ids=len)
def test_bytes_that_are_no_entry_take_no_time(value: bytes) -> None:  # R16
    began = time.monotonic()
    assert fingerprint(value) == NO_ENTRY
    assert len(tenant_of(value)) < 20
    assert time.monotonic() - began < 30, "it took minutes while the length grew with the bytes"
