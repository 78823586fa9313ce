"""Checks of decoded records, for every reader: an Avro schema bounds no value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from consent_contracts.errors import InvalidRecordError

if TYPE_CHECKING:
    from consent_contracts.codec import Codec

CHANNEL = re.compile(r"[a-z][a-z0-9_-]{0,31}")
HOLE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
LAST_MOMENT = 253_402_300_799_999_999
"""The end of the year 9999: RFC 3339, Python and PostgreSQL's clients can write no later time."""
MAX_LOSS = 2**53
"""Far above any real number of losses, and sums of two still fit into a long."""
_RESOLVED_TIMES = ("resolved_at", "bulk_resolved_at", "inbound_resolved_at", "written_at")


def check_moments(datum: Mapping[str, Any], *names: str) -> None:
    """Raises InvalidRecordError for one of these times that no calendar holds: it could be neither shown nor sent."""
    for name in names:
        moment = datum[name]
        if moment is not None and not 0 <= moment <= LAST_MOMENT:
            raise InvalidRecordError(name, "must be a time between 1970 and 9999, in microseconds")


def decode_resolved(
    codec: Codec, topic: str, value: bytes | None, *, partition: int | None, read_at: float | None = None
) -> dict[str, Any]:
    """A ListResolved that the merge has written to this partition; `read_at` as for `Codec.decode`.

    Raises as that does, and InvalidRecordError for one that no merge has written."""
    datum = codec.decode(topic, value, read_at=read_at)
    check_resolved(datum, partition)
    return datum


def check_resolved(datum: Mapping[str, Any], partition: int | None) -> None:
    """Raises InvalidRecordError for a ListResolved in this partition that no merge has written."""
    if datum["partition"] != partition:
        raise InvalidRecordError("partition", "must be the record's partition")
    check_moments(datum, *_RESOLVED_TIMES)
    if not 0 <= datum["bulk_loss"] <= datum["loss"] <= MAX_LOSS:
        raise InvalidRecordError("loss", "must be a number of losses, and not lower than bulk_loss")
    ends = (offset for each in datum["lists"] for offset in (each["start_offset"], each["end_offset"]))
    if any(offset < 0 for offset in (*ends, *(each["offset"] for each in datum["inputs"]))):
        raise InvalidRecordError("offset", "must not be negative")
    if not all(CHANNEL.fullmatch(channel) for channel in datum["channel_holes"]):
        raise InvalidRecordError("channel_holes", "must name channels")
    for hole in (datum["hole"], *datum["channel_holes"].values()):
        if hole is not None and not HOLE_ID.fullmatch(hole):
            raise InvalidRecordError("hole", "must be the id of a hole")
