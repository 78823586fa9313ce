"""Brings a partition's local state to the end of its suppression topics.

Called after `init_transactions`: from then on nobody else can commit to these partitions, so the end that is read
here is the end until we write ourselves.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import TimeoutError as FuturesTimeout
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient

from consent_contracts.codec import Codec
from consent_contracts.errors import Unreadable

from .errors import Retriable, Stopped
from .expiry import may_expire, read_next_expiry
from .store import FORMAT, Bulk, Checkpoint, Position, Store, key_prefix

logger = logging.getLogger(__name__)
_BATCH = 10_000
_STALLED_SECONDS = 30.0
_ASK_SECONDS = 1.5
"""For one question to the broker: short, so that we hear soon when we are told to stop."""


class Foreign(NamedTuple):
    """A record on a suppression topic that is none of ours, as the dead letters want it."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]
    timestamp: int


@dataclass(kw_only=True, slots=True)
class Recovered:
    """How far the store goes now, how many records that took, and which of them were passed over."""

    positions: dict[str, Position]
    records: int = 0
    seconds: float = 0.0
    foreign: list[tuple[Foreign, Unreadable]] = field(default_factory=list)


class Recovery:
    """Reads `suppression.*` partition `partition` into a store, from its checkpoint where that can be trusted."""

    def __init__(
        self,
        *,
        make_consumer: Callable[[], Any],
        admin: AdminClient,
        codec: Codec,
        channels: Mapping[str, str],
        partition: int,
        partitions: int,
        stopping: threading.Event,
    ) -> None:
        """`make_consumer` gives one that reads committed records only and reports the ends of partitions.

        `channels` maps each suppression topic to its channel. `stopping` is looked at between batches.
        """
        self._make_consumer = make_consumer
        self._admin = admin
        self._codec = codec
        self._channels = channels
        self._partition = partition
        self._partitions = partitions
        self._stopping = stopping
        self._known_headers: dict[bytes, bool] = {}
        self._our_headers = frozenset(b"\0" + codec.schema_id(topic).to_bytes(4, "big") for topic in channels)

    def run(self, store: Store) -> Recovered:
        """Raises Retriable when the broker does not do its part, Stopped when told to stop."""
        began = time.monotonic()
        consumer = self._make_consumer()
        try:
            starts, ends = self._bounds(store, consumer)
            recovered = self._read(store, consumer, starts, ends)
        except KafkaException as error:
            raise Retriable(f"reading the suppression topics: {error.args[0].name()}") from error
        except FuturesTimeout as error:
            raise Retriable("describing the suppression topics: no answer") from error
        finally:
            consumer.close()
        recovered.seconds = time.monotonic() - began
        return recovered

    def _bounds(self, store: Store, consumer: Any) -> tuple[dict[str, Position], dict[str, int]]:
        """Where to begin and which end to reach; clears the store when it does not belong to these topics."""
        ids = self._ids()
        lows, ends = {}, {}
        for topic in self._channels:
            tp = TopicPartition(topic, self._partition)
            lows[topic], ends[topic] = consumer.get_watermark_offsets(tp, timeout=_ASK_SECONDS)
        starts = {topic: Position(ids[topic], lows[topic]) for topic in self._channels}
        checkpoint = store.checkpoint(partitions=self._partitions)
        reason = "there is none that can be used"
        if checkpoint is not None:
            known = {topic: checkpoint.positions[topic] for topic in starts if topic in checkpoint.positions}
            reason = ""
            for topic, position in known.items():
                if position.topic_id != ids[topic]:
                    reason = f"{topic} is another topic than the one it was read from"
                elif not lows[topic] <= position.offset <= ends[topic]:
                    reason = f"it ends at {position.offset} of {topic}, which holds {lows[topic]} to {ends[topic]}"
            if not reason:
                return starts | known, ends
        logger.info("rebuilding the local state of partition %d from the topics: %s", self._partition, reason)
        store.clear()
        return starts, ends

    def _ids(self) -> dict[str, str]:
        """The broker's id of each topic: one that was deleted and created again has another."""
        described = self._admin.describe_topics(TopicCollection(list(self._channels)), request_timeout=_ASK_SECONDS)
        try:
            return {topic: str(future.result(timeout=_ASK_SECONDS).topic_id) for topic, future in described.items()}
        finally:
            self._admin.poll(0)  # for its log lines

    def _read(self, store: Store, consumer: Any, starts: dict[str, Position], ends: dict[str, int]) -> Recovered:
        positions = dict(starts)
        recovered = Recovered(positions=positions)
        behind = {topic for topic, position in starts.items() if position.offset < ends[topic]}
        if not behind:
            return recovered
        consumer.assign([TopicPartition(t, self._partition, starts[t].offset) for t in behind])
        bulk = store.bulk()
        prefixes = {topic: key_prefix(channel) for topic, channel in self._channels.items()}
        progress = time.monotonic()
        while behind:
            if self._stopping.is_set():
                raise Stopped("told to stop during recovery")
            messages = consumer.consume(_BATCH, timeout=0.2)
            if messages:
                progress = time.monotonic()
            elif time.monotonic() - progress > _STALLED_SECONDS:
                raise Retriable(f"the broker gave nothing of {', '.join(sorted(behind))} for {_STALLED_SECONDS:.0f} s")
            last: dict[str, int] = {}
            for message in messages:
                error = message.error()
                if error is None:
                    topic = message.topic()
                    last[topic] = message.offset() + 1
                    self._take(bulk, prefixes[topic], message, recovered)
                elif error.code() == KafkaError._PARTITION_EOF:
                    # Its offset lies behind the transaction markers, where the last record + 1 does not.
                    last[message.topic()] = message.offset()
                    if message.offset() >= ends[message.topic()]:
                        behind.discard(message.topic())
                elif not error.retriable():
                    raise KafkaException(error)
            if last:
                for topic, offset in last.items():
                    positions[topic] = Position(positions[topic].topic_id, offset)
                recovered.records += len(messages)
                bulk.write(self.checkpoint(positions))
        bulk.finish()
        return recovered

    def checkpoint(self, positions: Mapping[str, Position]) -> Checkpoint:
        return Checkpoint(format=FORMAT, partitions=self._partitions, at=time.time(), positions=dict(positions))

    def _take(self, bulk: Bulk, prefix: bytes, message: Any, recovered: Recovered) -> None:
        key, value = message.key(), message.value()
        if value is None and key is not None:
            bulk.batch.delete(prefix + key)
            return
        wrong = None if key else Unreadable("not_framed", "the record has no key")
        if wrong is None and not self._known_headers.get(value[:5]):
            wrong = self._examine(message)
        if wrong is None:
            bulk.put(prefix + key, value, read_next_expiry(message.headers()) if self._may_end(value) else None)
        else:
            recovered.foreign.append((_foreign(message), wrong))
            if key:
                # It may have been ours, under a schema id that the registry has forgotten: what stood is lost, and
                # passing over it would let the next old permission stand alone.
                bulk.put(prefix + key, _LOST, None)

    def _may_end(self, value: bytes) -> bool:
        """Of values that are not laid out as ours are now, nothing is known without their headers."""
        return value[:5] not in self._our_headers or may_expire(value)

    def _examine(self, message: Any) -> Unreadable | None:
        """Decodes one record of a schema not met before; the bodies of the others are read when first needed."""
        try:
            self._codec.decode(message.topic(), message.value())
        except Unreadable as error:
            return error
        self._known_headers[message.value()[:5]] = True
        return None


_LOST = b"\x00\x00\x00\x00"
"""Stands for an entry that cannot be read: too short for Avro, so whoever touches it first finds it lost."""


def _foreign(message: Any) -> Foreign:
    return Foreign(
        topic=message.topic(),
        partition=message.partition(),
        offset=message.offset(),
        key=message.key(),
        value=message.value(),
        headers=message.headers() or [],
        timestamp=message.timestamp()[1],
    )
