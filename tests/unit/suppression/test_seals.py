"""Which sealed address of two is kept: a forged one prevents no delivery (R13, R28)."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from consent_contracts.decisions import AddressEntry, Decision
from consent_contracts.join import join, well_formed
from consent_privacy.keyring import Key, Keyring
from suppression.merge.rule import merge
from suppression.merge.seals import seal_rank

ADDRESS_KEY = "h1." + "A" * 43


def keyring(*ids: str) -> Keyring:
    hash_key = Key(id="h1", secret=bytes(32), primary=True)
    return Keyring(seal_keys=[Key(id=each, secret=each.encode() * 16) for each in ids], hash_keys={"acme": [hash_key]})


KEYRING = keyring("s1", "s2")
GENUINE = KEYRING.seal(ADDRESS_KEY, "+33639980001")
OLDER = keyring("s1").seal(ADDRESS_KEY, "+33639980001")
NEWER = keyring("s9").seal(ADDRESS_KEY, "+33639980001")
UNDER_A_KNOWN_KEY = bytes([2]) + b"s2" + b"\xff" * 60
UNDER_AN_INVENTED_KEY = bytes([16]) + b"z" * 16 + b"\xff" * 60
ANOTHER_S = KEYRING.seal("h1." + "B" * 43, "+33639980002")
FORGED = [
    b"\xff",
    b"\xff" * 40,
    b"\xff" * 400,
    b"\x00" * 60,
    UNDER_A_KNOWN_KEY,
    UNDER_AN_INVENTED_KEY,
    ANOTHER_S,
    bytes([2]) + b"s2",
]


def change(sealed: bytes | None, decision_id: str = "d1") -> AddressEntry:
    decision = Decision(
        decision_id=decision_id,
        subject_ref="ann",
        purpose="newsletter",
        status="withdrawn",
        effective_at=1,
        recorded_at=1,
    )
    return AddressEntry(
        tenant="acme", channel="sms", address_key=ADDRESS_KEY, sealed_address=sealed, decisions=(decision,)
    )


def kept(*sealed: bytes | None) -> bytes | None:
    """In chunks of one."""
    state: dict[tuple[str, str], AddressEntry] = {}
    for each in sealed:
        state |= merge(state, [change(each)], rank=seal_rank(lambda: KEYRING)).entries
    return state["sms", ADDRESS_KEY].sealed_address


@pytest.mark.parametrize("forged", FORGED)
def test_a_forged_seal_gives_way_to_the_genuine_one_whichever_comes_first(forged: bytes) -> None:
    assert kept(forged, GENUINE) == GENUINE
    assert kept(GENUINE, forged) == GENUINE
    assert kept(forged, GENUINE, forged, None) == GENUINE


def test_a_republish_heals_a_forged_one() -> None:
    held = change(UNDER_AN_INVENTED_KEY)
    merged = merge({("sms", ADDRESS_KEY): held}, [change(GENUINE)], rewrites={0}, rank=seal_rank(lambda: KEYRING))
    assert merged.entries["sms", ADDRESS_KEY] == msgspec.structs.replace(held, sealed_address=GENUINE)


def test_the_newest_key_of_two_that_open_is_kept_and_one_that_is_not_here_yet_is_kept() -> None:
    assert kept(OLDER, GENUINE) == kept(GENUINE, OLDER) == GENUINE
    assert kept(None, NEWER, UNDER_A_KNOWN_KEY) == NEWER
    assert kept(NEWER, OLDER) == OLDER


def test_order_repetition_and_chunking_make_no_difference() -> None:
    few = [None, OLDER, GENUINE, NEWER, UNDER_A_KNOWN_KEY, UNDER_AN_INVENTED_KEY, b"\xff" * 40]
    for three in itertools.combinations(few, 3):
        found = {kept(*order, *order) for order in itertools.permutations(three)}
        found.add(
            merge({}, map(change, three), rank=seal_rank(lambda: KEYRING)).entries["sms", ADDRESS_KEY].sealed_address
        )
        assert len(found) == 1


def test_only_well_formed_seals_compete_where_there_are_no_keys() -> None:
    assert well_formed(GENUINE)
    for forged in (b"", b"\xff", b"\xff" * 400, b"\x00" * 60, bytes([2]) + b"s2", bytes([2]) + b"S2" + bytes(40)):
        assert not well_formed(forged)
        for one, other in itertools.permutations([change(forged), change(GENUINE)]):
            assert join(one, other).sealed_address == GENUINE
