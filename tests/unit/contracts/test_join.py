"""The merge is a join (R5): order and duplicates cannot matter, and at a tie the person is left alone."""

import base64
from functools import reduce
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent_contracts import AddressEntry, Decision, permits, precedence, verdicts
from consent_contracts.join import join
from consent_contracts.truth_table import vectors
from tests.unit.contracts.strategies import SECOND, decisions, entries

CASES = vectors("join")
states = st.lists(entries(), min_size=1, max_size=6).map(lambda parts: reduce(join, parts[1:], parts[0]))


def _entry(datum: dict[str, Any]) -> AddressEntry:
    sealed = datum["sealed_address"]
    return AddressEntry(
        tenant=datum["tenant"],
        channel=datum["channel"],
        address_key=datum["address_key"],
        sealed_address=None if sealed is None else base64.b64decode(sealed),
        decisions=tuple(Decision(**each) for each in datum["decisions"]),
        erased_at=datum.get("erased_at"),
    )


@pytest.mark.parametrize("case", CASES, ids=[case["title"] for case in CASES])
def test_vectors(case: dict[str, Any]) -> None:
    a, b, expected = _entry(case["a"]), _entry(case["b"]), _entry(case["expect"])
    assert join(a, b) == expected
    assert join(b, a) == expected


@given(states, states)
def test_join_is_commutative(a: AddressEntry, b: AddressEntry) -> None:
    assert join(a, b) == join(b, a)


@given(states, states, states)
def test_join_is_associative(a: AddressEntry, b: AddressEntry, c: AddressEntry) -> None:
    assert join(join(a, b), c) == join(a, join(b, c))


@given(states, states)
def test_join_is_idempotent_and_says_so_by_identity(a: AddressEntry, b: AddressEntry) -> None:
    joined = join(a, b)
    assert join(joined, b) is joined
    assert join(joined, a) is joined
    assert join(a, a) is a


@given(st.lists(entries(), min_size=1, max_size=8), st.randoms())
def test_any_permutation_with_duplicates_gives_one_state_and_one_verdict(
    parts: list[AddressEntry], random: Any
) -> None:
    other = parts + random.sample(parts, k=len(parts) // 2)
    random.shuffle(other)
    state, again = reduce(join, parts[1:], parts[0]), reduce(join, other[1:], other[0])
    assert state == again
    assert verdicts(state.decisions) == verdicts(again.decisions)


@given(decisions(statuses=("given",)), decisions(statuses=("refused", "withdrawn", "objected")))
def test_a_near_tie_is_a_refusal(grant: Decision, refusal: Decision) -> None:
    near = msgspec.structs.replace(grant, effective_at=refusal.effective_at + 2 * SECOND)
    assert precedence(refusal) > precedence(near)
    clear = msgspec.structs.replace(grant, effective_at=refusal.effective_at + 2 * SECOND + 1)
    assert precedence(clear) > precedence(refusal)
    assert permits(clear)


def test_two_addresses_are_never_joined() -> None:
    one = AddressEntry(tenant="acme", channel="sms", address_key="k1.a", sealed_address=None, decisions=())
    with pytest.raises(ValueError, match="different addresses"):
        join(one, msgspec.structs.replace(one, address_key="k1.b"))
