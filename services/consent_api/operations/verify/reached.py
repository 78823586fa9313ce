"""How far each partition of the lists has got: both lanes, as the merge states it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer

from consent_api.errors import ListUnreadableError, MergedUnknownError
from consent_api.operations.republish.merged import newest_records
from consent_contracts.checks import decode_resolved
from consent_contracts.codec import Codec
from consent_contracts.errors import ContractError
from consent_service.clock import is_ahead, now_micros


@dataclass(frozen=True, kw_only=True, slots=True)
class Reached:
    """Every decision recorded before `until` (micros), in either lane, is below the offset `end` of the list."""

    until: int
    end: int


class ReachedReader:
    """Reads suppression.resolved.v1. Its times are the database's."""

    def __init__(self, consumer: Consumer, codec: Codec, topic: str, *, partitions: int) -> None:
        self._consumer = consumer
        self._codec = codec
        self._topic = topic
        self._partitions = partitions

    def read(self, list_topic: str, channel: str) -> dict[int, Reached]:
        """By partition; without those that state nothing yet, have a hole, or state what a fast clock has given.

        Raises ListUnreadableError."""
        try:
            newest = newest_records(self._consumer, self._topic, self._partitions)
            data = [
                decode_resolved(self._codec, self._topic, value, partition=partition)
                for partition, value in newest.items()
            ]
        except (ContractError, MergedUnknownError) as error:
            raise ListUnreadableError(f"{self._topic}: {error}") from error
        return reached(data, list_topic, channel, now=now_micros())

    def close(self) -> None:
        self._consumer.close()


def reached(data: Iterable[Mapping[str, Any]], list_topic: str, channel: str, *, now: int) -> dict[int, Reached]:
    """What these ListResolved records state of a list. Pure."""
    found = {}
    for datum in data:
        times = (datum["resolved_at"], datum["bulk_resolved_at"])
        ends = [each["end_offset"] for each in datum["lists"] if each["topic"] == list_topic]
        if None in times or not ends or is_ahead(max(times), clock=now):
            continue
        if datum["hole"] is None and channel not in datum["channel_holes"]:
            found[datum["partition"]] = Reached(until=min(times), end=ends[0])
    return found
