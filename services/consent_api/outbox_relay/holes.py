"""Which holes the merge stage reports, and which of them need a repair. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Hole:
    """What a partition of the suppression lists lacks; `channel` None: of every channel."""

    hole_id: str
    partition: int
    channel: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportedHole:
    """A hole that is open, and how far the merge had read the bulk topic when it reported that."""

    hole: Hole
    bulk_topic_id: str | None
    bulk_offset: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Repair:
    """A repair as the ledger keeps it. `cursor`: of the pass, None before its first page. `marker_offset`: where the
    marker was acknowledged in the topic with `topic_id`, None while the repair is under way."""

    hole_id: str
    topic_id: str
    cursor: dict[str, Any] | None
    events: int
    marker_offset: int | None


def reported_holes(record: Mapping[str, Any], *, bulk_topic: str) -> list[ReportedHole]:
    """The open holes of one ListResolved."""
    [*inputs] = [each for each in record["inputs"] if each["topic"] == bulk_topic]
    topic_id, offset = (inputs[0]["topic_id"], inputs[0]["offset"]) if inputs else (None, 0)
    partition = record["partition"]
    holes = [
        Hole(hole_id=each, partition=partition, channel=channel) for channel, each in record["channel_holes"].items()
    ]
    if record["hole"] is not None:
        holes.append(Hole(hole_id=record["hole"], partition=partition, channel=None))
    return [ReportedHole(hole=each, bulk_topic_id=topic_id, bulk_offset=offset) for each in holes]


def marker_is_lost(reported: ReportedHole, repair: Repair, *, topic_id: str | None, end: int | None) -> bool:
    """Whether a finished repair has to be repeated: the hole is still open, and its marker will not be read any more.

    `topic_id`, `end`: of the bulk topic's partition now, None when the broker did not answer.
    """
    if repair.marker_offset is None:
        return False
    if topic_id is not None and topic_id != repair.topic_id:
        return True
    if end is not None and end <= repair.marker_offset:
        return True
    return reported.bulk_topic_id == repair.topic_id and reported.bulk_offset > repair.marker_offset


def covers(holes: Iterable[Hole], *, channel: str, partition: int) -> bool:
    """Whether what belongs to this channel and partition is part of any of the holes."""
    return any(each.partition == partition and each.channel in (None, channel) for each in holes)
