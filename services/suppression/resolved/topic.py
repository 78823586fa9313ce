"""suppression.resolved.v1: the last record of a partition is read when it is opened, new ones follow the commits."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable

from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient

from consent_contracts import cloudevents
from consent_contracts.checks import decode_resolved
from consent_contracts.codec import Codec
from consent_contracts.errors import InvalidRecordError, UnreadableError
from consent_contracts.schemas import NAMESPACE
from consent_contracts.topics import Topics
from consent_kafka.clients import AsyncProducer
from consent_state import Position, TableReader, TopicPartition, high_watermarks, low_watermarks, topic_ids
from suppression.errors import StoppedError
from suppression.resolved.list_state import ListState, ListTopics, from_datum, to_datum

log = logging.getLogger(__name__)

_EVENT_TYPE = f"{NAMESPACE}.ListResolved"
_POLL_SECONDS = 0.5


class ResolvedTopic:
    """One partition of the topic; its only key is the partition's number."""

    def __init__(
        self,
        *,
        make_consumer: Callable[[], Consumer],
        admin: AdminClient,
        producer: AsyncProducer,
        codec: Codec,
        topics: Topics,
        list_topics: ListTopics,
        partition: int,
    ) -> None:
        """`make_consumer` gives a `consent_state.table_consumer` that reads uncommitted records: these are written
        without transactions, and one that another client left open must not hold up the start."""
        self._make_consumer = make_consumer
        self._admin = admin
        self._producer = producer
        self._codec = codec
        self._topic = topics.resolved
        self._list_topics = list_topics
        self._partition = partition
        self._source = f"/consent-relay/suppression/{partition}"

    def last(self, stopping: threading.Event) -> ListState | None:
        """What the last readable record holds; None when there is none. Blocks. Raises RestoreFailedError,
        StoppedError."""
        at = TopicPartition(self._topic, self._partition)
        ids = topic_ids(self._admin, [self._topic])
        start = {at: Position(ids[self._topic], low_watermarks(self._admin, [at])[at])}
        ends = high_watermarks(self._admin, [at])
        reader = TableReader(self._make_consumer, start)
        values: list[bytes | None] = []
        try:
            while reader.remaining(ends):
                if stopping.is_set():
                    raise StoppedError(f"stopped while reading {at}")
                for batch in reader.poll(_POLL_SECONDS):
                    values += (message.value() for message in batch.messages)
        finally:
            reader.close()
        read_at = time.monotonic()
        for value in reversed(values):
            try:
                return from_datum(
                    decode_resolved(self._codec, self._topic, value, partition=self._partition, read_at=read_at)
                )
            except (UnreadableError, InvalidRecordError) as error:
                log.warning(
                    "a record cannot be read; the one before it counts", extra={"at": str(at), "reason": error.reason}
                )
        return None

    async def write(self, state: ListState, now: int) -> int | None:
        """When the broker has appended the record, micros, once it is acknowledged. Raises DeliveryFailedError."""
        value = self._codec.encode(self._topic, to_datum(state, self._list_topics, self._partition, now))
        headers = cloudevents.headers(
            event_id=uuid.uuid4().hex, event_type=_EVENT_TYPE, source=self._source, time_micros=now
        )
        sent = await self._producer.send(self._topic, b"%d" % self._partition, value, headers, self._partition)
        return sent.append_time
