"""What the broker knows of one topic: its id, and where its partitions end."""

from __future__ import annotations

from confluent_kafka import KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from consent_kafka.offsets import offset_in

_REQUEST_SECONDS = 2.0


class TopicInfo:
    """Safe to share between threads. Blocks for two seconds at most."""

    def __init__(self, admin: AdminClient, topic: str) -> None:
        self._admin = admin
        self._topic = topic

    def topic_id(self) -> str | None:
        """The broker's id of the topic, another one after it was deleted and created again; None: no answer."""
        self._admin.poll(0)  # for its log lines
        try:
            described = self._admin.describe_topics(TopicCollection([self._topic]), request_timeout=_REQUEST_SECONDS)
            return str(described[self._topic].result().topic_id)
        except KafkaException:
            return None

    def end_offset(self, partition: int) -> int | None:
        """The offset of the next record of the partition; None: no answer."""
        place = TopicPartition(self._topic, partition)
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        try:
            listed = self._admin.list_offsets({place: latest}, request_timeout=_REQUEST_SECONDS)
            return offset_in(listed[place])
        except KafkaException:
            return None
