"""Asks the broker what the positions of a partition are compared with."""

from __future__ import annotations

from confluent_kafka.admin import AdminClient

from consent_state import RestoreFailedError, TopicPartition, high_watermarks, low_watermarks, topic_ids
from suppression.resolved.list_state import Facts, ListTopics


class BrokerFacts:
    """Blocks for some milliseconds, or for seconds while the broker does not answer: not for the loop's thread."""

    def __init__(self, admin: AdminClient, topics: ListTopics, partition: int) -> None:
        self._admin = admin
        self._topics = topics
        self._partition = partition

    def __call__(self) -> Facts:
        """Raises RestoreFailedError when the broker does not answer, or a topic was created again meanwhile."""
        partitions = [TopicPartition(topic, self._partition) for topic in self._topics.all]
        ids = topic_ids(self._admin, self._topics.all)
        lows = low_watermarks(self._admin, partitions)
        ends = high_watermarks(self._admin, partitions)
        if topic_ids(self._admin, self._topics.all) != ids:
            raise RestoreFailedError("a topic was created again while its offsets were asked for")
        return Facts(
            ids=ids,
            lows={at.topic: offset for at, offset in lows.items()},
            ends={at.topic: offset for at, offset in ends.items()},
        )
