"""Decides from where topics are read into a store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from confluent_kafka.admin import AdminClient

from consent_state.errors import RestoreFailedError
from consent_state.offsets import high_watermarks, low_watermarks, topic_ids
from consent_state.positions import Position, Rebuild, RebuildReason, TopicPartition
from consent_state.store import StateStore


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """Where to begin, and what did not fit: `misfits` is not empty exactly when the store was cleared for it."""

    positions: Mapping[TopicPartition, Position]
    misfits: Mapping[TopicPartition, Rebuild]


def start_positions(store: StateStore, admin: AdminClient, partitions: Iterable[TopicPartition]) -> Start:
    """Where to begin to read these partitions into `store`.

    The store's positions where they fit the topics, and the beginning of a partition that the store has none of. If
    one does not fit, the store is cleared and all begin at their low watermark, because rows of several topics may
    depend on each other. Raises RestoreFailedError.
    """
    wanted = list(partitions)
    ids = topic_ids(admin, (at.topic for at in wanted))
    lows = low_watermarks(admin, wanted)
    misfits = find_misfits(admin, {at: store.positions[at] for at in wanted if at in store.positions})
    if topic_ids(admin, ids) != ids:
        raise RestoreFailedError("a topic was created again while its offsets were asked for")
    beginnings = {at: Position(ids[at.topic], lows[at]) for at in wanted}
    if misfits:
        store.clear(next(iter(misfits.values())))
        return Start(positions=beginnings, misfits=misfits)
    return Start(positions={at: store.positions.get(at, beginnings[at]) for at in wanted}, misfits={})


def find_misfits(admin: AdminClient, positions: Mapping[TopicPartition, Position]) -> dict[TopicPartition, Rebuild]:
    """Which positions do not fit their topics: another topic id, or an offset outside of what the topic holds.

    The upper bound is the high watermark: while a transaction is open, the last stable offset is lower than positions
    that are right. Raises RestoreFailedError, also for a topic that does not exist.
    """
    if not positions:
        return {}
    ids = topic_ids(admin, (at.topic for at in positions))
    lows, ends = low_watermarks(admin, positions), high_watermarks(admin, positions)
    misfits = {}
    for at, position in positions.items():
        if position.topic_id != ids[at.topic]:
            detail = f"{at.topic} is another topic than the one it was read from"
            misfits[at] = Rebuild(RebuildReason.TOPIC_RECREATED, detail)
        elif not lows[at] <= position.offset <= ends[at]:
            detail = f"it was read up to {position.offset} of {at}, which holds {lows[at]} to {ends[at]}"
            misfits[at] = Rebuild(RebuildReason.OUT_OF_RANGE, detail)
    return misfits
