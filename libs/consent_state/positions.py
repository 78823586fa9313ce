"""How far topics have been read, and why a store has to be restored from their beginning."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from consent_kafka.position import Position as Position


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}:{self.partition}"


class RebuildReason(StrEnum):
    """Why local state cannot be used; the values are metric labels."""

    ABSENT = "absent"
    CORRUPTED = "corrupted"
    LOCKED = "locked"
    FORMAT = "format"
    TOO_OLD = "too_old"
    TOPIC_RECREATED = "topic_recreated"
    OUT_OF_RANGE = "out_of_range"


class Rebuild(NamedTuple):
    """Why a store starts from nothing: the bounded reason, and a sentence for the log."""

    reason: RebuildReason
    detail: str
