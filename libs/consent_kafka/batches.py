"""Batches of records that no client of ours may unpack: where they end, and how librdkafka goes on after them.

A few kilobytes can unpack to gigabytes, and a client that cannot unpack a batch asks for it again for ever. So what is
unpacked is bounded, and a batch beyond that is passed over, known by its place alone. (aiokafka is given nothing to
unpack: `transport.compressed_batches`.) No producer of ours compresses: such a batch is always a foreign client's.
"""

from __future__ import annotations

import asyncio
import logging
import struct
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

log = logging.getLogger(__name__)

MAX_UNPACKED_BYTES = 64 * 1024 * 1024
"""Of one batch. What our own topics take is 1 to 2 MiB, and a producer fills a batch by its size before compression."""
MAX_VALUE_BYTES = 8 * 1024 * 1024
"""Of a record's value: several times what any topic of ours takes."""
UNFETCHABLE = "unfetchable"
"""The reason of a dead letter that holds a place and no record."""

HEADER = struct.Struct(">qiibIhiqqqhii")
"""Of a batch: first offset, length, leader epoch, format, checksum, attributes, offset delta, two times, three numbers
of the producer, count."""
_AFTER_LENGTH = 12
_CODEC = 0x07
_CODECS = ("none", "gzip", "snappy", "lz4", "zstd")

_TRIES, _NEXT_TRIES = 3, 60
"""A batch is passed over once the client has failed with it so often: the first failure may be the network's. Where the
broker does not say what it is, it is asked again only after so many more: each time other partitions wait for it."""
SILENT_SECONDS = 15.0
"""For which reading makes no progress, although there is more, before the next batch is examined."""
_ANSWER_SECONDS = 5.0
_ONE_BATCH = 1  # byte: a broker answers with one whole batch however little was asked for
_HOPELESS = frozenset({KafkaError._BAD_COMPRESSION, KafkaError._BAD_MSG, KafkaError._NOT_IMPLEMENTED})


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordBatch:
    """The header of a batch as it lies in the topic: its offsets, both included; `timestamp`, the latest in it, in
    milliseconds; `size` in bytes, as compressed."""

    first: int
    last: int
    codec: str
    size: int
    records: int
    timestamp: int
    is_awaited: bool = False
    """Whether librdkafka would wait for the rest of it for ever, without an error."""

    @property
    def summary(self) -> str:
        contents = f"{self.size} bytes, {self.codec}, {self.records} records"
        return f"the batch of offsets {self.first} to {self.last} ({contents})"

    @property
    def description(self) -> str:
        return (
            f"{self.summary} cannot be unpacked, or not within {MAX_UNPACKED_BYTES // 2**20} MiB: have its producer"
            " send again what it held"
        )


ReadBatch = Callable[[str, int, int], RecordBatch | None]
"""The batch that holds an offset of a partition; None when the broker does not say."""

OnUnfetchable = Callable[[str, int, RecordBatch], None]
"""Called with topic, partition and batch when one was passed over, in the thread that polls."""


def whole_batches(raw: bytes) -> Iterator[tuple[int, int, tuple[Any, ...]]]:
    """Where each begins and ends, and its `HEADER`. Batches of the formats before Kafka 0.11 end it: brokers have
    converted them."""
    at = 0
    while at + HEADER.size <= len(raw):
        header = HEADER.unpack_from(raw, at)
        end = at + _AFTER_LENGTH + header[1]
        if header[3] != 2 or not at + HEADER.size <= end <= len(raw):
            return
        yield at, end, header
        at = end


def is_one_gzip_member(packed: bytes, most: int) -> bool:
    """Whether it is gzip of at most ``most`` bytes and nothing else. Kafka takes several members, and bytes behind
    them; librdkafka reads the first alone and waits for the rest for ever, aiokafka unpacks all of them or fails."""
    unpacking = zlib.decompressobj(wbits=31)
    try:
        unpacking.decompress(packed, most)
    except zlib.error:
        return False
    return unpacking.eof and not unpacking.unused_data


def described(header: tuple[Any, ...]) -> RecordBatch:
    first, length, codec = header[0], header[1], header[5] & _CODEC
    return RecordBatch(
        first=first,
        last=first + header[6],
        codec=_CODECS[codec] if codec < len(_CODECS) else str(codec),
        size=_AFTER_LENGTH + length,
        records=header[12],
        timestamp=header[8],
    )


class BoundedConsumer(Consumer):
    """librdkafka's consumer, which reports a batch that it cannot unpack again and again, or waits for the rest of it
    without a word. Here it is passed over and logged, and its errors are not given to the caller. One that is not
    compressed is not passed over."""

    def __init__(
        self, config: Mapping[str, Any], *, read_batch: ReadBatch, on_unfetchable: OnUnfetchable, **arguments: Any
    ) -> None:
        super().__init__(dict(config), **arguments)
        self._read_batch = read_batch
        self._on_unfetchable = on_unfetchable
        self._failures: dict[tuple[str, int], tuple[int, int]] = {}
        self._look_at = time.monotonic() + SILENT_SECONDS
        self._still: dict[tuple[str, int], tuple[int, bool]] = {}
        """By partition, the position at the last check, and whether the batch there is known to be none that is
        waited for."""

    def poll(self, timeout: float = -1) -> Message | None:
        self._pass_awaited()
        deadline = time.monotonic() + timeout
        while (message := super().poll(timeout)) is not None and self._passed(message):
            if timeout >= 0:
                timeout = max(0.0, deadline - time.monotonic())
        return message

    def consume(self, num_messages: int = 1, timeout: float = -1) -> list[Message]:
        self._pass_awaited()
        received = super().consume(num_messages, timeout)
        return [each for each in received if each.error() is None or not self._passed(each)]

    def _passed(self, message: Message) -> bool:
        """Whether `message` is such an error. The client tries a few times more before the batch is passed over."""
        error, topic, partition, offset = message.error(), message.topic(), message.partition(), message.offset()
        if error is None or error.code() not in _HOPELESS or topic is None or partition is None or offset is None:
            return False
        failed_at, times = self._failures.get((topic, partition), (offset, 0))
        times = times + 1 if failed_at == offset else 1
        self._failures[topic, partition] = offset, times
        asks = times >= _TRIES and (times - _TRIES) % _NEXT_TRIES == 0
        batch = self._read_batch(topic, partition, offset) if asks else None
        if batch is not None and batch.codec == "none":
            return False  # It may be ours and damaged: skipping it, a list would lack refusals without a sign.
        if batch is not None:
            self._pass_over(topic, partition, offset, batch)
        return True

    def _pass_awaited(self) -> None:
        """Pass over batches of which the client waits for the rest. Looks now and then, and at each offset once."""
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + SILENT_SECONDS
        before, self._still = self._still, {}
        with suppress(KafkaException):
            for each in self.assignment():
                place, offset = (each.topic, each.partition), self._next(each)
                _, end = self.get_watermark_offsets(each, cached=True)
                if offset is None or offset >= end:
                    continue
                was_at, known = before.get(place, (None, False))
                if was_at != offset or known:
                    self._still[place] = offset, was_at == offset
                    continue
                batch = self._read_batch(*place, offset)
                if batch is not None and batch.is_awaited:
                    self._pass_over(*place, offset, batch)
                else:
                    self._still[place] = offset, batch is not None

    def _next(self, at: TopicPartition) -> int | None:
        """The offset that is read next; None where that is not known."""
        [position] = self.position([at])
        if position.offset >= 0:
            return position.offset
        if at.offset >= 0:
            return at.offset
        [committed] = self.committed([at], timeout=_ANSWER_SECONDS) if at.offset != OFFSET_BEGINNING else [at]
        if committed.offset >= 0:
            return committed.offset
        low, _ = self.get_watermark_offsets(at, cached=True)
        return low if low >= 0 else None

    def _pass_over(self, topic: str, partition: int, offset: int, batch: RecordBatch) -> None:
        with suppress(KafkaException):  # The partition was revoked meanwhile: its next owner meets the batch.
            self.seek(TopicPartition(topic, partition, batch.last + 1))
            where = {"topic": topic, "partition": partition, "offset": offset}
            log.error("a batch cannot be read; reading goes on after it", extra={**where, "batch": batch.description})
            self._on_unfetchable(topic, partition, batch)


def batch_reader(bootstrap: str, security: Callable[[], Mapping[str, Any]]) -> ReadBatch:
    """Reads headers and unpacks nothing; `security` as aiokafka names it. For a thread that runs no event loop."""

    def read(topic: str, partition: int, offset: int) -> RecordBatch | None:
        try:
            return asyncio.run(_read(bootstrap, security(), topic, partition, offset))
        except Exception as error:
            # Also settings of a tool that only librdkafka understands: then the partition waits, and no thread ends.
            where = {"topic": topic, "partition": partition, "offset": offset}
            log.warning("a batch cannot be looked at", extra={**where, "error": repr(error)})
            return None

    return read


async def _read(
    bootstrap: str, security: Mapping[str, Any], topic: str, partition: int, offset: int
) -> RecordBatch | None:
    from aiokafka.client import AIOKafkaClient
    from aiokafka.protocol.fetch import FetchRequest
    from aiokafka.structs import TopicPartition as Place

    client = AIOKafkaClient(bootstrap_servers=bootstrap, request_timeout_ms=int(_ANSWER_SECONDS * 1_000), **security)
    try:
        async with asyncio.timeout(2 * _ANSWER_SECONDS):
            await client.bootstrap()
            await client.set_topics([topic])
            leader = client.cluster.leader_for_partition(Place(topic, partition))
            if leader is None or leader < 0:
                return None
            asked = [(topic, [(partition, offset, _ONE_BATCH)])]
            response = await client.send(leader, FetchRequest(0, 0, _ONE_BATCH, 0, asked))
            for _, partitions in response.topics:
                for _, error_code, *_, raw in partitions:
                    found = next(whole_batches(raw or b""), None) if error_code == 0 else None
                    if found is not None:
                        start, end, header = found
                        batch = described(header)
                        packed = raw[start + HEADER.size : end]
                        awaited = batch.codec == "gzip" and not is_one_gzip_member(packed, MAX_UNPACKED_BYTES)
                        return replace(batch, is_awaited=awaited)
            return None
    finally:
        await client.close()
