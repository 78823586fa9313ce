"""Up to when the ledger is in the suppression topics: what their merge has stated last, partition by partition."""

from __future__ import annotations

import time
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

from consent_api.errors import MergedUnknownError
from consent_contracts.checks import decode_resolved
from consent_contracts.codec import Codec
from consent_contracts.errors import ContractError
from consent_service.clock import is_ahead

# Uncommitted records too: the merge writes these without transactions, and another's open one must not hide them.
CONSUMER: dict[str, Any] = {"enable_partition_eof": True, "isolation_level": "read_uncommitted"}
READ_SECONDS = 10.0
_BATCH = 1_000
_TIMES = ("resolved_at", "bulk_resolved_at")


def merged_until(consumer: Consumer, codec: Codec, topic: str, partitions: int, *, now: int) -> int | None:
    """Every decision that was published before this moment (micros), in either lane, is in the suppression topics.

    None: of some partition that is not known, as its merge has not stated it yet, has a hole, or states a time ahead of
    `now` (micros), which a clock gave that was fast. Raises MergedUnknownError, also when `topic` cannot be read to its
    end within READ_SECONDS.
    """
    newest = newest_records(consumer, topic, partitions)
    found = [_time_of(codec, topic, partition, value, now=now) for partition, value in newest.items()]
    known = [each for each in found if each is not None]
    return min(known) if len(known) == partitions else None


def newest_records(consumer: Consumer, topic: str, partitions: int) -> dict[int, bytes]:
    """The last record of each partition that has one. Raises MergedUnknownError."""
    newest: dict[int, bytes] = {}
    unread = set(range(partitions))
    consumer.assign([TopicPartition(topic, each, OFFSET_BEGINNING) for each in unread])
    deadline = time.monotonic() + READ_SECONDS
    while unread:
        if time.monotonic() > deadline:
            raise MergedUnknownError(f"{topic} could not be read to its end within {READ_SECONDS:.0f} s")
        for message in consumer.consume(_BATCH, 0.5):
            partition, error, value = message.partition(), message.error(), message.value()
            if partition is None:
                continue
            if error is None:
                newest[partition] = value or b""
            elif error.code() == KafkaError._PARTITION_EOF:
                unread.discard(partition)
    return newest


def _time_of(codec: Codec, topic: str, partition: int, value: bytes, *, now: int) -> int | None:
    try:
        datum = decode_resolved(codec, topic, value, partition=partition)
    except ContractError as error:
        raise MergedUnknownError(f"a record of {topic} cannot be read: {error}") from error
    times = [datum[name] for name in _TIMES]
    if None in times or is_ahead(max(times), clock=now) or datum["hole"] or datum["channel_holes"]:
        return None
    until: int = min(times)
    return until
