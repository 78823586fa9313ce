"""The merge stage's rule: what changes come to, however they are ordered, repeated and cut into chunks (R5)."""

from functools import reduce
from itertools import chain, repeat
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from consent_contracts import AddressEntry, Decision
from consent_contracts.join import join
from consent_contracts.verdict import verdict
from consent_kafka.transport import Chunk
from suppression.merge.lanes import Lane, LaneQueues
from suppression.merge.rule import EntryKey, fail_closed_entry, merge
from tests.unit.contracts.strategies import entries

SECOND = 1_000_000
somewhere = st.sampled_from(["k1.a", "k1.b", "k1.c"])


def change(
    decision_id: str,
    *,
    status: str = "withdrawn",
    at: int = 10 * SECOND,
    purpose: str = "newsletter",
    tenant: str = "acme",
    address_key: str = "k1.a",
) -> AddressEntry:
    decision = Decision(
        decision_id=decision_id,
        subject_ref="ann",
        purpose=purpose,
        status=status,
        effective_at=at,
        recorded_at=at,
    )
    return AddressEntry(
        tenant=tenant, channel="sms", address_key=address_key, sealed_address=None, decisions=(decision,)
    )


@st.composite
def changes(draw: st.DrawFn) -> AddressEntry:
    entry = draw(entries())
    return AddressEntry(
        tenant=entry.tenant,
        channel=draw(st.sampled_from(["sms", "email"])),
        address_key=draw(somewhere),
        sealed_address=entry.sealed_address,
        decisions=entry.decisions,
    )


@given(st.lists(changes(), max_size=12), st.randoms(use_true_random=False))
def test_any_order_repetition_and_chunking_gives_the_same_entries(parts: list[AddressEntry], random: Random) -> None:
    expected: dict[EntryKey, AddressEntry] = {}
    for part in parts:
        place = (part.channel, part.address_key)
        expected[place] = join(expected.get(place), part)

    shuffled = parts + random.sample(parts, k=len(parts) // 2)
    random.shuffle(shuffled)
    state: dict[EntryKey, AddressEntry] = {}
    while shuffled:
        size = random.randint(1, len(shuffled))
        chunk, shuffled = shuffled[:size], shuffled[size:]
        state |= merge(state, chunk).entries
    assert state == expected


@given(
    st.lists(st.tuples(changes(), st.sampled_from(Lane)), max_size=12),
    st.lists(st.booleans(), max_size=24),
    st.randoms(use_true_random=False),
)
def test_either_lane_in_any_order_gives_the_same_entries(
    parts: list[tuple[AddressEntry, Lane]], merge_now: list[bool], random: Random
) -> None:
    """Chunks of both lanes arrive while others are merged, some of them twice and on the other lane."""
    expected: dict[EntryKey, AddressEntry] = {}
    for part, _ in parts:
        place = (part.channel, part.address_key)
        expected[place] = join(expected.get(place), part)

    arrivals = parts + [(part, random.choice(list(Lane))) for part, _ in random.sample(parts, k=len(parts) // 2)]
    random.shuffle(arrivals)
    queues, state = LaneQueues(), dict[EntryKey, AddressEntry]()

    def merge_next() -> bool:
        part = queues.next()
        if part is not None:
            state.update(merge(state, part.records).entries)
        return part is not None

    for (arrival, lane), now in zip(arrivals, chain(merge_now, repeat(False)), strict=False):
        queues.add(lane, Chunk("changes", 0, [arrival], lambda _: None))  # type: ignore[list-item]
        if now:
            merge_next()
    while merge_next():
        pass
    assert state == expected


@given(st.lists(changes(), max_size=8))
def test_a_repeated_chunk_writes_nothing(parts: list[AddressEntry]) -> None:
    state = dict(merge({}, parts).entries)
    again = merge(state, parts)
    assert again.entries == {}
    assert again.unchanged == len(parts)


def test_a_rewrite_writes_an_entry_to_which_it_adds_nothing() -> None:  # R64
    state = {("sms", "k1.a"): change("d1"), ("sms", "k1.b"): change("d2", address_key="k1.b")}
    again = merge(state, [change("d1"), change("d2", address_key="k1.b")], rewrites={1})
    assert again.entries == {("sms", "k1.b"): state["sms", "k1.b"]}
    assert (again.rewrites, again.unchanged) == ({("sms", "k1.b")}, 1)


def test_several_changes_to_one_address_are_written_once() -> None:
    chunk = [change(f"d{n}", purpose=purpose) for n, purpose in enumerate(("newsletter", "survey", "*"))]
    merged = merge({}, chunk)
    assert list(merged.entries.values()) == [reduce(join, chunk)]


def test_late_grant_does_not_lift_a_withdrawal() -> None:  # R5
    known = {("sms", "k1.a"): change("d2", at=20 * SECOND)}
    merged = merge(known, [change("d1", status="given", at=10 * SECOND)])
    assert merged.entries == {}
    assert merged.unchanged == 1


def test_change_of_another_tenant_is_named_and_changes_nothing() -> None:  # R45
    known = {("sms", "k1.a"): change("d1")}
    merged = merge(known, [change("d2", tenant="umbrella", at=30 * SECOND), change("d3", at=40 * SECOND)])
    assert merged.tenant_mismatches == [0]
    assert merged.entries == {("sms", "k1.a"): change("d3", at=40 * SECOND)}


def test_a_rewrite_replaces_an_entry_that_names_another_tenant() -> None:  # R64
    wrong = {("sms", "k1.a"): change("d1", tenant="umbrella", status="given")}
    merged = merge(wrong, [change("d2"), change("d3"), change("d4", tenant="umbrella")], rewrites={1})
    assert merged.tenant_mismatches == [0, 2]
    assert merged.entries == {("sms", "k1.a"): change("d3")}


def test_lost_entry_voids_older_permissions_and_a_newer_one_counts_again() -> None:  # R4
    old_grant = change("d1", status="given", at=10 * SECOND)
    base = fail_closed_entry(old_grant, lost=b"\0garbage", now=100 * SECOND)
    assert not verdict(join(base, old_grant).decisions, "newsletter").permitted
    new_grant = change("d2", status="given", at=200 * SECOND)
    assert verdict(join(base, new_grant).decisions, "newsletter").permitted
