"""What a consumer does about a batch that the client cannot unpack. # R16"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from confluent_kafka import KafkaError, TopicPartition

from consent_kafka.batches import BoundedConsumer, RecordBatch


@dataclass(frozen=True, kw_only=True)
class Failure:
    """The client's report that it failed with the batch at an offset."""

    code: int
    at: int = 7

    def error(self) -> KafkaError:
        return KafkaError(self.code)

    def topic(self) -> str:
        return "list"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self.at


class Consumer(BoundedConsumer):
    """Without a broker."""

    def __init__(self, codec: str) -> None:
        self.passed_over: list[RecordBatch] = []
        self.sought: list[int] = []
        batch = RecordBatch(first=7, last=9, codec=codec, size=100, records=3, timestamp=0)
        super().__init__(
            {"bootstrap.servers": "127.0.0.1:1", "group.id": "g", "log_level": 0},
            read_batch=lambda *_: batch,
            on_unfetchable=lambda _topic, _partition, found: self.passed_over.append(found),
        )

    def seek(self, partition: TopicPartition) -> None:
        self.sought.append(partition.offset)

    def hears(self, failure: Failure) -> bool:
        """Whether it keeps the failure to itself."""
        found: Any = self._passed(failure)  # type: ignore[arg-type]
        return bool(found)


@pytest.mark.parametrize("code", [KafkaError._BAD_COMPRESSION, KafkaError._BAD_MSG])
def test_a_compressed_batch_is_passed_over_after_the_third_failure(code: int) -> None:
    consumer = Consumer("zstd")
    assert [consumer.hears(Failure(code=code)) for _ in range(3)] == [True, True, True]
    assert consumer.sought == [10]
    assert [batch.first for batch in consumer.passed_over] == [7]
    consumer.close()


def test_a_batch_that_may_be_ours_is_never_passed_over() -> None:
    consumer = Consumer("none")
    assert [consumer.hears(Failure(code=KafkaError._BAD_MSG)) for _ in range(5)] == [True, True, False, True, True]
    assert consumer.sought == []
    assert consumer.passed_over == []
    consumer.close()


def test_other_failures_are_the_callers() -> None:
    consumer = Consumer("zstd")
    assert not any(consumer.hears(Failure(code=KafkaError._ALL_BROKERS_DOWN)) for _ in range(5))
    consumer.close()
