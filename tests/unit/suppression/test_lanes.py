"""Whose records are merged next: live before bulk, and bulk never starved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from consent_kafka.transport import Chunk
from suppression.merge.lanes import LIVE_TURNS, MAX_RECORDS, Lane, LaneQueues, Slice

LIVE_RECORDS, BULK_RECORDS = MAX_RECORDS[Lane.LIVE], MAX_RECORDS[Lane.BULK]


def chunk(records: Sequence[Any]) -> Chunk:
    return Chunk("changes", 0, records, lambda _: None)


def taken(queues: LaneQueues) -> Slice:
    part = queues.next()
    assert part is not None
    return part


def test_nothing_waits() -> None:
    assert LaneQueues().next() is None


def test_live_records_go_before_bulk_ones_that_came_first() -> None:
    queues = LaneQueues()
    queues.add(Lane.BULK, chunk("b"))
    queues.add(Lane.LIVE, chunk("l"))
    assert [taken(queues).lane, taken(queues).lane] == [Lane.LIVE, Lane.BULK]


def test_a_bulk_chunk_is_cut_so_that_live_records_go_between_its_slices() -> None:
    queues = LaneQueues()
    bulk = chunk(range(2 * BULK_RECORDS + 1))
    queues.add(Lane.BULK, bulk)
    first = taken(queues)
    assert (first.lane, len(first.records), first.completed) == (Lane.BULK, BULK_RECORDS, ())
    queues.add(Lane.LIVE, chunk("l"))
    assert taken(queues).lane is Lane.LIVE
    second, third = taken(queues), taken(queues)
    assert [*first.records, *second.records, *third.records] == list(range(2 * BULK_RECORDS + 1))
    assert list(third.completed) == [bulk]
    assert queues.next() is None


def test_small_chunks_share_a_transaction_and_a_large_one_shares_with_none() -> None:
    queues = LaneQueues()
    for size in (1, 2, 997, 1, LIVE_RECORDS + 500, 1):
        queues.add(Lane.LIVE, chunk(range(size)))
    assert [len(taken(queues).records) for _ in range(4)] == [1_000, 1, 1_000, 501]


def test_bulk_gets_a_tenth_of_the_transactions_under_a_flood_of_live_records() -> None:
    queues = LaneQueues()
    for _ in range(4 * LIVE_TURNS):
        queues.add(Lane.LIVE, chunk(range(LIVE_RECORDS)))
    for _ in range(4):
        queues.add(Lane.BULK, chunk(range(BULK_RECORDS)))
    lanes = [taken(queues).lane for _ in range(4 * (LIVE_TURNS + 1))]
    assert lanes == ([Lane.LIVE] * LIVE_TURNS + [Lane.BULK]) * 4


def test_live_turns_count_only_while_bulk_waits() -> None:
    queues = LaneQueues()
    for _ in range(LIVE_TURNS):
        queues.add(Lane.LIVE, chunk(range(LIVE_RECORDS)))
        taken(queues)
    queues.add(Lane.BULK, chunk("b"))
    queues.add(Lane.LIVE, chunk("l"))
    assert taken(queues).lane is Lane.LIVE


@given(st.lists(st.tuples(st.sampled_from(Lane), st.integers(1, 2_500), st.integers(0, 3)), max_size=20))
def test_each_lane_keeps_its_order_and_every_chunk_is_completed_once_with_its_last_record(
    arrivals: list[tuple[Lane, int, int]],
) -> None:
    queues = LaneQueues()
    added: dict[Lane, list[Chunk]] = {lane: [] for lane in Lane}
    sent: dict[Lane, int] = dict.fromkeys(Lane, 0)
    read: dict[Lane, list[int]] = {lane: [] for lane in Lane}
    completed: dict[Lane, list[Chunk]] = {lane: [] for lane in Lane}

    def take() -> bool:
        part = queues.next()
        if part is None:
            return False
        assert 0 < len(part.records) <= MAX_RECORDS[part.lane]
        read[part.lane] += part.records
        completed[part.lane] += part.completed
        assert all(each.records[-1] <= read[part.lane][-1] for each in part.completed)
        return True

    for lane, size, turns in arrivals:
        added[lane].append(chunk(range(sent[lane], sent[lane] + size)))
        sent[lane] += size
        queues.add(lane, added[lane][-1])
        for _ in range(turns):
            take()
    while take():
        pass
    assert read == {lane: list(range(count)) for lane, count in sent.items()}
    assert completed == added
