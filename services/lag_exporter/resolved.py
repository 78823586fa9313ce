"""How far the ledger is in the list, as a reader of suppression.resolved.v1 sees it: a dead merge is visible here.

A lane's age grows with the clock, not with what arrives, so that it grows while nothing does.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, Message, TopicPartition

from consent_contracts.checks import decode_resolved
from consent_contracts.codec import Codec
from consent_contracts.errors import ContractError, RegistryUnavailableError
from consent_kafka.clients import append_time
from consent_service.clock_check import ClockCheck
from lag_exporter.errors import BrokerUnavailableError
from lag_exporter.lag import Partition

log = logging.getLogger(__name__)

_BATCH = 10_000
_POLL_SECONDS = 0.1
_LANES = {"live": "resolved_at", "bulk": "bulk_resolved_at", "inbound_live": "inbound_resolved_at"}


@dataclass(frozen=True, kw_only=True, slots=True)
class PartitionResolved:
    """The content of the newest record of a partition. Moments in micros since the epoch; a lane is absent while its
    moment is not known, or its partition has a hole. `holes`: by scope, all or a channel."""

    resolved_at: Mapping[str, int]
    holes: Mapping[str, str]

    @classmethod
    def of(cls, datum: Mapping[str, Any], *, appended_at: int) -> PartitionResolved:
        """No moment is later than the append of the record that states it."""
        stated = {lane: datum[field] for lane, field in _LANES.items()}
        return cls(
            resolved_at={lane: min(at, appended_at) for lane, at in stated.items() if at is not None},
            holes={**({"all": datum["hole"]} if datum["hole"] else {}), **datum["channel_holes"]},
        )


class ResolvedReader:
    """Reads the topic without a group, committed records only, as every reader of the list does."""

    def __init__(self, *, consumer: Any, codec: Codec, topic: str, clock_check: ClockCheck) -> None:
        self.partitions: dict[int, PartitionResolved] = {}
        self._consumer = consumer
        self._codec = codec
        self._topic = topic
        self._clock_check = clock_check
        self._assigned: frozenset[int] = frozenset()
        self._unread: set[int] = set()
        self._newest: dict[int, Message] = {}
        self._end_asked: dict[int, tuple[int, int]] = {}

    def expect_from(self, asked_at: int, ends: Mapping[Partition, int]) -> None:
        """A record at or above these ends was appended after `asked_at`, of the elapsed clock."""
        for place, end in ends.items():
            if place.topic == self._topic:
                self._end_asked[place.partition] = asked_at, end

    def poll(self) -> None:
        """Read what has arrived. Raises BrokerUnavailableError."""
        try:
            known = self._consumer.list_topics(self._topic, timeout=5.0).topics.get(self._topic)
            self._assign(frozenset(known.partitions) if known is not None and known.error is None else frozenset())
            more = True
            while more:
                received = self._consumer.consume(_BATCH, _POLL_SECONDS)
                for message in received:
                    self._take(message)
                more = len(received) == _BATCH
        except KafkaException as error:
            raise BrokerUnavailableError(error.args[0].name()) from error
        self._decode()

    def close(self) -> None:
        self._consumer.close()

    def _assign(self, partitions: frozenset[int]) -> None:
        if partitions != self._assigned:
            self._unread = set(partitions)
            self._consumer.assign([TopicPartition(self._topic, each, OFFSET_BEGINNING) for each in partitions])
            self.partitions = {each: known for each, known in self.partitions.items() if each in partitions}
            self._assigned = partitions

    def _take(self, message: Message) -> None:
        partition, error = message.partition(), message.error()
        if partition is None:
            return
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF:
                self._unread.discard(partition)
            elif not error.retriable():
                raise BrokerUnavailableError(error.name())
            return
        self._newest[partition] = message
        appended_at, offset = append_time(message), message.offset()
        if appended_at is not None and offset is not None:
            asked_at, end = self._end_asked.get(partition, (0, offset + 1))
            self._clock_check.observe(partition, appended_at, not_before=asked_at if offset >= end else None)

    def _decode(self) -> None:
        """The newest record of a partition counts, once the partition was read to its end: older ones may name holes
        that are closed. While the registry is unavailable it is kept for the next time."""
        for partition in self._newest.keys() - self._unread:
            message = self._newest[partition]
            value = message.value()
            try:
                datum = decode_resolved(
                    self._codec, self._topic, value if isinstance(value, bytes) else None, partition=partition
                )
            except RegistryUnavailableError as error:
                log.warning("the resolved topic cannot be decoded yet", extra={"error": str(error)})
                return
            except ContractError as error:
                log.warning(
                    "a record of the resolved topic cannot be read",
                    extra={"partition": partition, "error": str(error)},
                )
            else:
                appended_at = message.timestamp()[1] * 1_000
                self.partitions = {**self.partitions, partition: PartitionResolved.of(datum, appended_at=appended_at)}
            del self._newest[partition]


def ages(partitions: Mapping[int, PartitionResolved], now: int) -> dict[tuple[str, ...], float]:
    """Seconds at `now` (micros since the epoch), by partition and lane."""
    return {
        (str(partition), lane): max(0, now - at) / 1_000_000
        for partition, known in partitions.items()
        for lane, at in known.resolved_at.items()
    }


def holes(partitions: Mapping[int, PartitionResolved]) -> set[tuple[str, ...]]:
    """The partition and scope of each open hole."""
    return {(str(partition), scope) for partition, known in partitions.items() for scope in known.holes}
