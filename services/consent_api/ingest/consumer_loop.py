"""One Kafka consumer's loop: records in batches, each handed over until it is done, its offsets stored only then.

The order of things is the promise: effects (database commit, acknowledged dead letters), then offsets.
A crash in between repeats a batch, and every handler recognises what it has seen.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from consent_api.errors import ConsumerFencedError
from consent_api.ingest.deleted_records import DeletedRecords, Partition
from consent_api.ingest.metrics import FENCED, TOO_MANY_LEFT, IngestMetrics
from consent_api.ingest.positions import RecordedPositions
from consent_api.ingest.record import Consumed
from consent_api.ingest.stall_detectors import StallDetectors
from consent_kafka.batches import RecordBatch
from consent_kafka.instance_watch import WATCH_SECONDS, InstanceWatch
from consent_service.health import Health
from consent_service.retry import Backoff
from consent_service.stall_timer import STALLED_SECONDS

log = logging.getLogger(__name__)

# How the consumer has to be set up for this loop, on top of consent_kafka.clients's settings.
CONSUMER: dict[str, Any] = {
    # librdkafka commits the stored offsets twice a second, at revocation and at close.
    "enable_auto_commit": True,
    "auto_commit_interval_ms": 500,
    # Revocation hands over all partitions at once, so a batch is dropped or kept as simply as can be.
    "partition_assignment_strategy": "range",
    # A batch of the largest records must fit in memory; the default prefetches 64 MB.
    "queued_max_messages_kbytes": 16_384,
    "fetch_wait_max_ms": 100,
    # An event where a partition ends, after control records too, so it has the broker's own end offset.
    "enable_partition_eof": True,
}

_IDLE = 0.5
_TRY_LEFT = 0.1
"""Those that are not done are tried again after so long, where nothing else arrives."""
_BACKOFF = Backoff((0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0))

# A partition that gave nothing for so long is compared with the broker's end, and the answer awaited so long.
_CHECK_SECONDS, _REQUEST_SECONDS = 5.0, 2.0

LEFT_TOO_LONG_SECONDS = 8.0
"""A record that was not done for so long, while others were, makes the loop unready."""

Handle = Callable[[Sequence[Consumed]], Sequence[Consumed]]
"""Returns those that are not done, in their order: they come again at the head of the next batch."""


class ConsumerLoop:
    """Consumes `topic` and calls `handle` with each batch, in order within a partition. What it has not done joins the
    next batch, and no offset is stored beyond it.

    An exception of `transient`, which names the cause of each, means "not now": the partitions are paused, the consumer
    stays in its group, and the same batch is tried again until it succeeds, its partition is revoked, or the loop is
    stopped. Any other exception is a bug and leaves `run`, with nothing of the batch stored.

    A consumer that librdkafka declares fenced is replaced. Where that happens again soon, the group is watched first:
    another process under the same identity ends `run` with DuplicateInstanceIdError; a member without a process (a
    broker that was killed leaves such) is waited for until the broker has removed it.

    A batch that the client cannot unpack is passed over (it calls `pass_over`): its last record is handled as
    `unfetchable`.

    A partition that holds more than was read of it, and gives nothing for `stalled_after` seconds although nothing
    holds the loop up, makes the loop unready: stopped by mistake, or by a client that has lost its way.
    """

    def __init__(
        self,
        *,
        name: str,
        topic: str,
        open_consumer: Callable[[], Consumer],
        handle: Handle,
        transient: Mapping[type[Exception], str],
        health: Health,
        metrics: IngestMetrics,
        instance: InstanceWatch,
        high_watermarks: Callable[[Collection[Partition]], Mapping[Partition, int]],
        positions: RecordedPositions | None = None,
        batch_size: int = 1_000,
        stalled_after: float = STALLED_SECONDS,
        longest_batch: float = 0.0,
    ) -> None:
        """`positions` is kept up to date with what has been handled. `high_watermarks` asks the broker, and leaves out
        the partitions that it got no answer for. `longest_batch`: seconds that `handle` may take, where that is longer
        than `health` allows."""
        self._name = name
        self._topic = topic
        self._open_consumer = open_consumer
        self._consumer = open_consumer()
        self._handle = handle
        self._transient = transient
        self._health = health
        self._metrics = metrics
        self._instance = instance
        self._high_watermarks = high_watermarks
        self._passed_over: list[Consumed] = []
        self._size = batch_size
        self._batch: list[Consumed] = []
        self._handled: dict[Partition, int] = {}
        self._oldest_left: tuple[str, float] | None = None
        self._recorded = positions or RecordedPositions()
        self._ends: dict[Partition, int] = {}
        self._paused = False
        self._stalled_after = stalled_after
        self._longest_batch = longest_batch
        self._stalls = self._new_stall_detectors()
        self._deleted = self._new_deleted_records()
        self._check_at = 0.0

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set. A batch in the database is finished first; one that waits is abandoned.

        Raises DuplicateInstanceIdError."""
        try:
            while True:
                try:
                    self._consume(stop)
                    return
                except ConsumerFencedError as dead:
                    self._abandon(dead)
                if not self._wait_to_join(stop):
                    return
                self._consumer = self._open_consumer()
        finally:
            self._health.unregister(self._name)

    def _abandon(self, dead: ConsumerFencedError) -> None:
        """Let go of what the consumer gave. None of it is committed: it comes again."""
        log.warning("consumer replaced", extra={"loop": self._name, "error": str(dead)})
        self._metrics.retries.labels(self._topic, FENCED).inc()
        self._batch = []
        self._passed_over = []
        self._handled = {}
        self._note_left()
        self._ends = {}
        self._end_pause()
        self._instance.replaced()

    def _wait_to_join(self, stop: threading.Event) -> bool:
        """False when `stop` comes first. Raises DuplicateInstanceIdError."""
        while not stop.is_set():
            self._health.heartbeat(self._name)
            if self._instance.may_join():
                return True
            self._health.set_ready(self._name, self._instance.waiting or True)
            stop.wait(WATCH_SECONDS)
        return False

    def _consume(self, stop: threading.Event) -> None:
        self._consumer.subscribe(
            [self._topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked
        )
        self._stalls = self._new_stall_detectors()
        self._deleted = self._new_deleted_records()
        self._report()
        try:
            while not stop.is_set():
                self._health.heartbeat(self._name)
                self._fetch(_TRY_LEFT if self._batch else _IDLE)
                if self._batch:
                    self._finish(stop)
                self._note_ends()
                self._check_progress()
        finally:
            self._consumer.close()

    def _fetch(self, timeout: float) -> None:
        """Adds what has arrived: waits for a first record only, so that a lone revocation is not held up."""
        first = self._consumer.poll(timeout)
        if first is not None:
            self._take([first])
            if not self._paused:
                self._take(self._consumer.consume(max(self._size - len(self._batch), 1), 0))
        while self._passed_over:
            self._add(self._passed_over.pop(0))

    def pass_over(self, topic: str, partition: int, batch: RecordBatch) -> None:
        """The consumer, in a poll, has gone on after a batch that it cannot unpack."""
        self._passed_over.append(Consumed.last_of(topic, partition, batch))

    def _take(self, messages: Sequence[Message]) -> None:
        for message in messages:
            error = message.error()
            if error is None:
                self._add(Consumed.of(message))
            elif error.fatal() or error.code() in _FENCED_CODES:
                raise ConsumerFencedError(error.str())
            elif error.code() == KafkaError._PARTITION_EOF:
                self._ended(message)
            else:
                log.warning("consumer error", extra={"loop": self._name, "error": error.str()})

    def _add(self, record: Consumed) -> None:
        place = record.topic, record.partition
        self._reached(place, record.first, then=record.offset + 1)
        self._ends.pop(place, None)  # It has not ended there any more.
        self._batch.append(record)

    def _ended(self, message: Message) -> None:
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        if topic is not None and partition is not None and offset is not None:
            self._reached((topic, partition), offset, then=offset)
            self._ends[topic, partition] = offset
            self._stalls.position((topic, partition), offset)

    def _reached(self, place: Partition, offset: int, *, then: int) -> None:
        """The next record is at `offset`, then reading goes on at `then`. Logs records that were deleted unread."""
        topic, partition = place
        try:
            lost = self._deleted.before(place, offset, then=then)
        except KafkaException as error:
            what = "could not determine whether records were deleted before being read"
            log.warning(what, extra={"topic": topic, "partition": partition, "offset": offset, "error": str(error)})
            return
        if lost:
            self._log_deleted("records were deleted before they were read", place, offset, lost)
        if deleted := self._deleted.before_first_start(place):
            what = "this group has never read the partition, and records were deleted before its first start"
            self._log_deleted(what, place, offset, deleted)
            # All before it is gone or read, so that the next start is not the first one.
            with suppress(KafkaException):
                self._consumer.store_offsets(offsets=[TopicPartition(topic, partition, offset)])

    def _log_deleted(self, what: str, place: Partition, offset: int, records: int) -> None:
        topic, partition = place
        self._metrics.skipped.labels(topic).inc(records)
        log.error(what, extra={"topic": topic, "partition": partition, "offset": offset, "records": records})

    def _finish(self, stop: threading.Event) -> None:
        failures = 0
        while self._batch and not stop.is_set():
            busy = f"{len(self._batch)} records of {self._places()}"
            self._health.heartbeat(self._name, busy, within=self._longest_batch)
            try:
                with self._metrics.batch(self._topic):
                    left = self._handle(self._batch)
            except tuple(self._transient) as error:
                cause = next(cause for kind, cause in self._transient.items() if isinstance(error, kind))
            else:
                self._store(left)
                self._batch = list(left)
                self._note_left()
                if len(left) < self._size:
                    break
                cause = TOO_MANY_LEFT
            self._pause(cause)
            failures += 1
            self._wait(_BACKOFF.seconds(failures), stop)
        if self._paused and not stop.is_set():
            self._resume()

    def _note_left(self) -> None:
        """Since when the first of the records that are not done has waited."""
        self._metrics.waiting.labels(self._topic).set(len(self._batch))
        if not self._batch:
            self._oldest_left = None
        elif self._oldest_left is None or self._oldest_left[0] != self._batch[0].coordinates:
            self._oldest_left = self._batch[0].coordinates, time.monotonic()

    def _store(self, left: Sequence[Consumed]) -> None:
        """The offsets of what has been handled, below those that are `left`, may be committed from now on."""
        bounds: dict[Partition, int] = {}
        for record in left:
            bounds.setdefault((record.topic, record.partition), record.offset)
        times: dict[Partition, int] = {}
        for record in self._batch:
            place = record.topic, record.partition
            self._handled[place] = max(record.offset + 1, self._handled.get(place, 0))
            if record.offset < bounds.get(place, record.offset + 1):
                times[place] = record.timestamp * 1_000
        ends = {place: bounds.get(place, self._handled[place]) for place in times}
        self._handled = {place: end for place, end in self._handled.items() if place in bounds}
        for place, end in ends.items():
            self._recorded.recorded(place, next_offset=end, append_time=times[place])
        offsets = [TopicPartition(topic, partition, end) for (topic, partition), end in ends.items()]
        try:
            self._consumer.store_offsets(offsets=offsets)
        except KafkaException as error:
            # The group has revoked the partitions meanwhile, and the notice waits in the next poll:
            # their new owner repeats the batch and recognises it.
            if error.args[0].fatal() or error.args[0].code() in _FENCED_CODES:
                raise ConsumerFencedError(error.args[0].str()) from error
            if error.args[0].code() != KafkaError._STATE:
                raise

    def _note_ends(self) -> None:
        """Where a partition ended when everything read of it has been handled: what lies before is no record."""
        unfinished = {(each.topic, each.partition) for each in self._batch}
        for partition, offset in self._ends.items():
            if partition not in unfinished:
                self._recorded.recorded(partition, next_offset=offset, append_time=None)
        self._ends = {partition: end for partition, end in self._ends.items() if partition in unfinished}

    def _pause(self, cause: str) -> None:
        self._metrics.retries.labels(self._topic, cause).inc()
        if self._paused:
            return
        self._paused = True
        self._metrics.paused.labels(self._topic).set(1)
        self._health.set_ready(self._name, f"paused, waiting for a dependency: {cause}")
        self._consumer.pause(self._consumer.assignment())
        log.warning("ingest paused", extra={"loop": self._name, "cause": cause, "records": len(self._batch)})

    def _wait(self, seconds: float, stop: threading.Event) -> None:
        """Keeps polling, which keeps the place in the group. What still arrives joins the batch, in its order."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0 and not stop.is_set():
            self._health.heartbeat(self._name)
            self._fetch(min(left, _IDLE))

    def _end_pause(self) -> None:
        self._paused = False
        self._metrics.paused.labels(self._topic).set(0)

    def _resume(self) -> None:
        self._end_pause()
        self._stalls.waiting_on_purpose()
        self._report()
        self._consumer.resume(self._consumer.assignment())
        log.info("ingest resumed", extra={"loop": self._name})

    def _check_progress(self) -> None:
        """Bring the readiness up to date. The broker is asked about partitions that gave nothing since the last look:
        half a millisecond each."""
        now = time.monotonic()
        if now >= self._check_at:
            self._check_at = now + min(_CHECK_SECONDS, self._stalled_after / 2)
            positions = self._consumer.position(self._consumer.assignment())
            quiet = [at for at in positions if not self._stalls.position((at.topic, at.partition), at.offset)]
            ends = self._high_watermarks([(at.topic, at.partition) for at in quiet]) if quiet else {}
            for at in quiet:
                try:
                    # Of a reader of committed records these are the beginning and the last stable offset.
                    _, stable = self._consumer.get_watermark_offsets(at, timeout=_REQUEST_SECONDS)
                except KafkaException:
                    break  # No answer: the stall detectors report it if that lasts.
                if (end := ends.get((at.topic, at.partition))) is not None:
                    self._stalls.end_offset((at.topic, at.partition), end, stable=stable)
        self._report()

    def _report(self) -> None:
        if not self._paused:
            self._health.set_ready(self._name, self._waiting_too_long() or self._stalls.readiness())

    def _waiting_too_long(self) -> str | None:
        if self._oldest_left is None:
            return None
        coordinates, since = self._oldest_left
        seconds = time.monotonic() - since
        too_long = seconds > min(LEFT_TOO_LONG_SECONDS, self._stalled_after)
        return f"{coordinates} has waited for {seconds:.0f} s" if too_long else None

    def _places(self) -> str:
        return ", ".join(sorted({f"{each.topic}:{each.partition}" for each in self._batch}))

    def _new_deleted_records(self) -> DeletedRecords:
        return DeletedRecords(committed=self._committed, begins=self._begins)

    def _committed(self, place: Partition) -> int | None:
        [found] = self._consumer.committed([TopicPartition(*place)], timeout=_REQUEST_SECONDS)
        if found.error is not None:
            raise KafkaException(found.error)
        return found.offset if found.offset >= 0 else None

    def _begins(self, place: Partition) -> int:
        begins, _ = self._consumer.get_watermark_offsets(TopicPartition(*place), timeout=_REQUEST_SECONDS)
        return begins

    def _new_stall_detectors(self) -> StallDetectors:
        return StallDetectors(bound=self._stalled_after, clock=time.monotonic)

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        consumer.assign(partitions)
        self._deleted.forget((each.topic, each.partition) for each in partitions)
        self._stalls.assigned((each.topic, each.partition) for each in partitions)
        if self._paused:
            consumer.pause(partitions)
        else:
            # Librdkafka remembers a pause after the loss of a partition, which was not resumed then.
            consumer.resume(partitions)
        self._report()

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Called from within poll, so never in the middle of `handle`: the next owner repeats what is dropped."""
        gone = {(each.topic, each.partition) for each in partitions}
        self._stalls.lost(gone)
        self._recorded.forget(gone)
        self._ends = {partition: end for partition, end in self._ends.items() if partition not in gone}
        self._handled = {partition: end for partition, end in self._handled.items() if partition not in gone}
        self._batch = [each for each in self._batch if (each.topic, each.partition) not in gone]
        self._passed_over = [each for each in self._passed_over if (each.topic, each.partition) not in gone]
        self._note_left()


# Another process runs under our static identity, or librdkafka has come to believe so.
_FENCED_CODES = frozenset({KafkaError._FATAL, KafkaError.FENCED_INSTANCE_ID})
