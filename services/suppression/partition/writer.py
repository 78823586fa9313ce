"""The fenced writer: one transactional producer per input partition, one transaction a chunk.

The last write wins in a compacted topic, so a worker that was frozen past its session timeout and then resumes
must not be able to write. Opening a writer makes every older one with the same transactional id fail as _FENCED.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Producer

from consent_kafka.clients import unauthorized
from suppression.errors import MergeError, RetriableError, StoppedError, TransactionAbortedError, WriterFencedError

_WAIT_SECONDS = 1.0
"""One wait for the broker; whether to stop is checked between two of them."""
_OPEN_WAITS = 10


class Row(NamedTuple):
    """One entry on its way out."""

    topic: str
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


class FencedWriter:
    """Writes rows to one partition number of several topics, all or none of a call. Used by one thread at a time."""

    def __init__(
        self,
        make_producer: Callable[[], Producer],
        partition: int,
        *,
        stopping: threading.Event,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        """`beat` is called while the broker does not answer, several times in each session time-out."""
        self._make_producer = make_producer
        self._partition = partition
        self._stopping = stopping
        self._beat = beat
        self._producer: Any = None

    def open(self) -> None:
        """Take over the partition: fence any other writer, abort what it left open. Raises RetriableError, and
        LinkRefusedError where the transactional id is not ours to use."""
        self._producer = None
        producer = self._make_producer()
        waits = 0
        while True:
            try:
                # Returns once the markers of a transaction left open are written: the end read after it is final.
                producer.init_transactions(_WAIT_SECONDS)
            except KafkaException as error:
                waits += 1
                if waits == _OPEN_WAITS or not error.args[0].retriable():
                    refusal = unauthorized(error.args[0], f"the writer of partition {self._partition}")
                    raise refusal or RetriableError(f"opening the writer: {_name(error)}") from error
                self._raise_if_stopping()
            else:
                self._producer = producer
                return

    @property
    def is_open(self) -> bool:
        """Whether `write` may be called; after WriterFencedError or StoppedError only once `open` succeeded again."""
        return self._producer is not None

    def write(self, rows: Sequence[Row]) -> dict[str, int]:
        """Commit `rows` in one transaction; the offset after the last one, by topic.

        Raises TransactionAbortedError (nothing was written), WriterFencedError, or StoppedError during a wait for the
        broker; after the latter two the outcome is unknown and only a new writer, after a restore, may go on.
        """
        producer = self._producer
        if producer is None:
            raise WriterFencedError("the writer is not open")
        ends: dict[str, int] = {}

        def delivered(error: KafkaError | None, message: Any) -> None:
            if error is None:
                ends[message.topic()] = message.offset() + 1

        last_of_topic = {row.topic: position for position, row in enumerate(rows)}
        try:
            producer.begin_transaction()
            for position, row in enumerate(rows):
                # One partition and an idempotent producer: the last record of a topic has its highest offset.
                report = {"on_delivery": delivered} if last_of_topic[row.topic] == position else {}
                self._produce(producer, row, report)
            self._commit(producer)
        except KafkaException as error:
            self._fail(producer, error)
        if ends.keys() != last_of_topic.keys():
            raise MergeError("a transaction was committed without the delivery reports of all its records")
        return ends

    def close(self) -> None:
        """Abandon: the broker aborts what is open when the next writer takes over, or on its timeout."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.purge()

    def _produce(self, producer: Any, row: Row, report: dict[str, Any]) -> None:
        while True:
            try:
                producer.produce(row.topic, row.value, row.key, self._partition, headers=row.headers, **report)
            except BufferError:
                producer.poll(0.1)
                self._raise_if_stopping()
            else:
                return

    def _commit(self, producer: Any) -> None:
        while True:
            try:
                producer.commit_transaction(_WAIT_SECONDS)
            except KafkaException as error:
                if not error.args[0].retriable():
                    raise
                self._raise_if_stopping()
            else:
                return

    def _fail(self, producer: Any, error: KafkaException) -> None:
        """Turns a failure of the transaction into one of our errors, aborting it where that is possible."""
        kafka_error = error.args[0]
        if kafka_error.fatal() or kafka_error.code() in (KafkaError._FENCED, KafkaError._STATE):
            self.close()
            raise WriterFencedError(f"the writer can write no more: {_name(error)}") from error
        while True:
            try:
                producer.abort_transaction(_WAIT_SECONDS)
            except KafkaException as abort_error:
                if not abort_error.args[0].retriable():
                    self.close()
                    raise WriterFencedError(f"the writer can write no more: {_name(abort_error)}") from abort_error
                self._raise_if_stopping()
            else:
                raise TransactionAbortedError(f"the transaction was aborted: {_name(error)}") from error

    def _raise_if_stopping(self) -> None:
        self._beat()
        if self._stopping.is_set():
            self.close()
            raise StoppedError("stopped while the broker does not answer")


def _name(error: KafkaException) -> str:
    return str(error.args[0].name())
