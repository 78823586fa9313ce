"""One reading of a topic from its beginning, by plain assignment: no group, nothing committed."""

from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from confluent_kafka import (
    OFFSET_BEGINNING,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import OffsetSpec

from consent_client.errors import RestartRequiredError
from consent_client.freshness import Freshness
from consent_kafka import clients
from consent_kafka.offsets import offset_in
from consent_kafka.position import Position
from consent_kafka.refusals import kafka_refusal

_ANSWER_SECONDS = 3.0
_BATCH = 1_000
_ERRORS = 50
_LATEST = OffsetSpec.latest()  # type: ignore[no-untyped-call]
_DESCRIPTION = -1  # among the answers of a probe, which otherwise go by partition
_LOST_ITS_PLACE = frozenset(
    {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._UNKNOWN_PARTITION}
)


class TopicReader:
    """Reads every partition and keeps account of how far. For one thread, except for `position`."""

    def __init__(
        self,
        topic: str,
        *,
        bootstrap: str,
        group: str,
        client_config: Mapping[str, Any],
        probe_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        """Raises RestartRequiredError when the broker does not answer or the topic is not there; its cause is a
        LinkRefusedError when the broker refuses us, or we the broker."""
        self._errors: deque[KafkaError] = deque(maxlen=_ERRORS)
        self._topic = topic
        self._probe_seconds = probe_seconds
        self._clock = clock
        self._next_probe = clock()
        self._asked: dict[int, Future[Any]] = {}
        self._admin = clients.admin(bootstrap, {"error_cb": self._errors.append, **client_config})
        # The group is never joined; librdkafka requires a name. Positions past the last record (transaction
        # markers count as records) are known only from the event at the end of a partition. Should our place be
        # gone we start again, rather than go on from another place and miss what lay between.
        self._consumer = clients.consumer(
            bootstrap,
            group,
            client_config,
            enable_partition_eof=True,
            auto_offset_reset="error",
            # Small fetches. Large ones load no faster, but leave 80 MB of torn memory behind.
            max_partition_fetch_bytes=256 * 1024,
            queued_max_messages_kbytes=2_048,
            queued_min_messages=2_000,
            # A full queue is looked at again after this long. Librdkafka's second would be most of the loading time.
            fetch_queue_backoff_ms=10,
        )
        try:
            # The id before the first record: what is read is of that topic, or of a later one, which a probe will show.
            self._topic_id, self.partitions = self._describe()
            self._consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in range(self.partitions)])
        except KafkaException as error:
            self._admin.poll(0)  # For the errors.
            self.close()
            refusal = kafka_refusal(bootstrap, client_config, self._errors) or clients.unauthorized(
                error.args[0], f"reading {topic}"
            )
            raise RestartRequiredError(str(refusal or error.args[0].name())) from refusal
        self.freshness = Freshness(self.partitions)

    def read(self, seconds: float) -> list[Message]:
        """What has come, waiting up to `seconds` for the first of it: records (without `error()`) and ends of
        partitions, in order. The reader calls `done` for each, once a record is in the view. Raises
        RestartRequiredError."""
        self._probe()
        first = self._consumer.poll(seconds)
        if first is None:
            return []
        return [each for each in (first, *self._consumer.consume(_BATCH, 0)) if _counts(each)]

    def done(self, message: Message) -> None:
        """`message`, and all before it in its partition, is in the view."""
        partition, offset = message.partition(), message.offset()
        if partition is None or offset is None:
            raise RuntimeError("librdkafka gave a message without its place")
        self.freshness.advance_to(partition, offset + 1 if message.error() is None else offset)

    def position(self, partition: int) -> Position:
        """Up to where the partition is in the view. From any thread."""
        return Position(self._topic_id, self.freshness.position(partition))

    def close(self) -> None:
        self._consumer.close()
        self._admin.close()

    def _describe(self) -> tuple[str, int]:
        """The id of the topic and the number of its partitions."""
        described = self._admin.describe_topics(TopicCollection([self._topic]), request_timeout=_ANSWER_SECONDS)
        description = described[self._topic].result()
        return str(description.topic_id), len(description.partitions)

    def _probe(self) -> None:
        """Ask now and then for the ends of the partitions, never waiting for the answer."""
        self._admin.poll(0)  # for its log lines
        if self._asked:
            self._collect()
        now = self._clock()
        if self._asked or now < self._next_probe:
            return
        self._next_probe = now + self._probe_seconds
        self.freshness.asked(now)
        partitions = {TopicPartition(self._topic, p): _LATEST for p in range(self.partitions)}
        self._asked = {
            **{
                asked.partition: future
                for asked, future in self._admin.list_offsets(
                    partitions, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=_ANSWER_SECONDS
                ).items()
            },
            _DESCRIPTION: self._admin.describe_topics(TopicCollection([self._topic]), request_timeout=_ANSWER_SECONDS)[
                self._topic
            ],
        }

    def _collect(self) -> None:
        if not all(future.done() for future in self._asked.values()):
            return
        answers, self._asked = self._asked, {}
        try:
            description = answers.pop(_DESCRIPTION).result()
            # Before the ends: of a topic that was recreated, this client may never be given one.
            if len(description.partitions) != self.partitions:
                raise RestartRequiredError("the number of partitions has changed")
            if self._topic_id != str(description.topic_id):
                raise RestartRequiredError("the topic was deleted and created again")
            ends = {partition: offset_in(answer) for partition, answer in answers.items()}
        except KafkaException:
            return  # No answer this time: the view ages until there is one.
        self.freshness.answered(ends)
        if self.freshness.truncated:
            raise RestartRequiredError("the topic ends before what was read of it")


def record_coordinates(message: Message) -> dict[str, Any]:
    """A record's coordinates, for the log."""
    return {"topic": message.topic(), "partition": message.partition(), "offset": message.offset()}


def _counts(message: Message) -> bool:
    """Whether `message` is a record or the end of a partition. Raises RestartRequiredError when the place is lost."""
    error = message.error()
    if error is None or error.code() == KafkaError._PARTITION_EOF:
        return True
    if error.fatal() or error.code() in _LOST_ITS_PLACE:
        raise RestartRequiredError(error.name())
    # All else librdkafka tries again by itself. Where that does not help, no probe is answered, or none is
    # satisfied, and the view goes stale.
    return False
