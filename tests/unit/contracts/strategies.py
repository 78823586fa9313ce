"""Decisions and entries for property tests: few values, so that ties and collisions are common."""

from collections.abc import Sequence
from typing import Any

import msgspec
from hypothesis import strategies as st

from consent_contracts import STATUSES, AddressEntry, Decision, entry_from_avro, entry_to_avro
from consent_contracts.decisions import DELIVERY, FINDINGS

SECOND = 1_000_000
purposes = st.sampled_from(["newsletter", "survey", "*"])


@st.composite
def decisions(draw: Any, statuses: Sequence[str] = tuple(sorted(STATUSES))) -> Decision:
    at = draw(st.sampled_from([0, 1, SECOND, 2 * SECOND, 2 * SECOND + 1, 3 * SECOND, 10 * SECOND]))
    return Decision(
        decision_id=draw(st.sampled_from(["d1", "d2", "d3", "d4"])),
        subject_ref=draw(st.sampled_from([None, "ann", "bob"])),
        purpose=draw(purposes),
        status=draw(st.sampled_from(list(statuses))),
        effective_at=at,
        recorded_at=at + draw(st.sampled_from([0, 1])),
        expires_at=draw(st.sampled_from([None, 5 * SECOND, 20 * SECOND])),
        bulk=draw(st.booleans()),
    )


@st.composite
def findings(draw: Any) -> Decision:
    """A bounce or a delivery."""
    return msgspec.structs.replace(
        draw(decisions(statuses=tuple(sorted(FINDINGS)))), purpose=DELIVERY, subject_ref=None, expires_at=None
    )


@st.composite
def entries(draw: Any) -> AddressEntry:
    """An entry of one decision, as it is read: every larger entry is a join of these."""
    sealed = draw(st.sampled_from([None, b"", b"s1:a", b"s1:b", b"s2:a", b"\0", b"\xff" * 8]) | st.binary(max_size=8))
    entry = AddressEntry(
        tenant="acme",
        channel="sms",
        address_key="k1.q83v",
        sealed_address=sealed,
        decisions=(draw(decisions() | findings()),),
        erased_at=draw(st.sampled_from([None, None, None, SECOND, 3 * SECOND])),
    )
    return entry_from_avro(entry_to_avro(entry, written_at=0))
