"""What is read of an entry's bytes without decoding them is what decoding gives."""

from __future__ import annotations

from functools import reduce

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from consent_contracts import AddressEntry, Codec, Topics, entry_to_avro
from consent_contracts import schemas as contracts
from consent_contracts.codec import ConfluentRegistry
from consent_contracts.entry_layout import UNREADABLE, erased_at
from consent_contracts.join import join
from consent_contracts.records import LONGEST_SEAL
from consent_contracts.topics import subject
from tests.unit.contracts.strategies import entries

TOPIC = Topics().suppression("sms")
moments = st.none() | st.integers(0, 2**53)


def codec() -> Codec:
    registry = ConfluentRegistry("mock://entry-layout")
    registry.register(subject(TOPIC, "SuppressionEntry"), contracts.schema_text("SuppressionEntry"))
    return Codec(registry)


CODEC = codec()
states = st.lists(entries(), min_size=1, max_size=8).map(lambda parts: reduce(join, parts))


def encoded(entry: AddressEntry) -> bytes:
    return CODEC.encode(TOPIC, entry_to_avro(entry, written_at=0))


@given(states, st.none() | st.binary(max_size=LONGEST_SEAL), moments)
def test_the_moment_of_an_erasure_is_read_where_the_schema_has_it(
    state: AddressEntry, sealed: bytes | None, moment: int | None
) -> None:
    entry = msgspec.structs.replace(state, sealed_address=sealed, erased_at=moment)
    assert erased_at(encoded(entry), entry.address_key.encode()) == moment


@given(states)
def test_a_value_that_is_cut_short_or_of_another_address_counts_as_erased(state: AddressEntry) -> None:
    value, key = encoded(state), state.address_key.encode()
    assert erased_at(value[: value.index(key) + len(key)], key) == UNREADABLE
    assert erased_at(value, b"another key") == UNREADABLE
