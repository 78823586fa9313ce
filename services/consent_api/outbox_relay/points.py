"""What a turn has found, and which finding holds for a partition now. Pure. Times in microseconds since the epoch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """No row that was visible at `resolved_at` has an id above `highest_outbox_id`.

    `inbound_resolved_at`: the append time up to which ingest had recorded the lane's inbound topic then; None where no
    ingest is configured.
    """

    turn: int
    resolved_at: int
    highest_outbox_id: int
    inbound_resolved_at: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class PartitionProgress:
    """What the ledger keeps of one partition of a lane's changes topic.

    `last_offset`: of the last record of ours that was acknowledged there, None before the first. `loss`: how often
    Kafka was found to have gone back. `resolved_at`: of the last ConsentResolved.
    """

    topic_id: str
    last_offset: int | None
    loss: int
    resolved_at: int | None


def newest_resolved(points: Iterable[Point], *, lowest_pending_id: int | None) -> Point | None:
    """The newest point up to whose id no row is left, given the lowest id of a row that is (None: no row is left)."""
    resolved = [each for each in points if lowest_pending_id is None or each.highest_outbox_id < lowest_pending_id]
    return max(resolved, key=lambda each: each.resolved_at, default=None)


def publishable(
    points: Sequence[Point], *, partitions: Mapping[int, PartitionProgress], lowest_pending: Mapping[int, int]
) -> dict[int, Point]:
    """By partition, the point to publish now: newer than what its last ConsentResolved stated."""
    found = {}
    for partition, progress in partitions.items():
        point = newest_resolved(points, lowest_pending_id=lowest_pending.get(partition))
        if point is not None and (progress.resolved_at is None or point.resolved_at > progress.resolved_at):
            found[partition] = point
    return found


def has_gone_back(*, lowest_new_offset: int, last_known_offset: int | None) -> bool:
    """Whether Kafka lost records: a record landed at or below an offset that was acknowledged before it was sent."""
    return last_known_offset is not None and lowest_new_offset <= last_known_offset
