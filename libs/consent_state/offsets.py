"""What the broker reports about topics: their ids, and where their partitions begin and end.

Every function waits 1.5 s at most for an answer, so that a caller soon notices that it shall stop, and raises
RestoreFailedError when there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar

import confluent_kafka
from confluent_kafka import IsolationLevel, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, OffsetSpec

from consent_kafka.offsets import answer_in, offset_in
from consent_state.errors import RestoreFailedError
from consent_state.positions import TopicPartition

REQUEST_SECONDS = 1.5

_spec: Any = OffsetSpec  # confluent-kafka leaves these functions without types

T = TypeVar("T")
R = TypeVar("R")


def topic_ids(admin: AdminClient, topics: Iterable[str]) -> dict[str, str]:
    """The broker's id of each topic: one that was deleted and created again has another."""
    described = admin.describe_topics(TopicCollection(sorted(set(topics))), request_timeout=REQUEST_SECONDS)
    found = _results(admin, described, "describing {}", answer_in)
    return {topic: str(description.topic_id) for topic, description in found.items()}


def low_watermarks(admin: AdminClient, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
    """The lowest offset that each partition still holds."""
    return _list_offsets(admin, partitions, _spec.earliest(), IsolationLevel.READ_UNCOMMITTED)


def high_watermarks(admin: AdminClient, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
    """The offset after the last replicated record of each partition, records of open transactions included."""
    return _list_offsets(admin, partitions, _spec.latest(), IsolationLevel.READ_UNCOMMITTED)


def last_stable_offsets(admin: AdminClient, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
    """The offset up to which a read_committed consumer reads; below the high watermark while a transaction is open.

    A read_committed consumer's `get_watermark_offsets` gives this one, not the high watermark.
    """
    return _list_offsets(admin, partitions, _spec.latest(), IsolationLevel.READ_COMMITTED)


def _list_offsets(
    admin: AdminClient, partitions: Iterable[TopicPartition], which: Any, isolation: IsolationLevel
) -> dict[TopicPartition, int]:
    asked = {confluent_kafka.TopicPartition(at.topic, at.partition): which for at in partitions}
    if not asked:
        return {}
    listed = admin.list_offsets(asked, isolation_level=isolation, request_timeout=REQUEST_SECONDS)
    found = _results(admin, listed, "asking for the offsets of {}", offset_in)
    return {TopicPartition(at.topic, at.partition): offset for at, offset in found.items()}


def _results(admin: AdminClient, futures: Mapping[T, Future[Any]], doing: str, read: Callable[..., R]) -> dict[T, R]:
    try:
        return {asked: _result(future, doing.format(_name(asked)), read) for asked, future in futures.items()}
    finally:
        admin.poll(0)  # for its log lines


def _result(future: Future[Any], doing: str, read: Callable[..., R]) -> R:
    try:
        return read(future, timeout=2 * REQUEST_SECONDS)
    except KafkaException as error:
        raise RestoreFailedError(f"{doing}: {error.args[0].name()}") from error


def _name(asked: Any) -> str:
    return asked if isinstance(asked, str) else f"{asked.topic}:{asked.partition}"
