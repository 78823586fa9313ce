"""Batches that a broker takes and no client of ours may, or can, unpack."""

from __future__ import annotations

import asyncio
import gzip
import struct

from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import TopicPartition
from confluent_kafka import Message, Producer

from consent_kafka.batches import HEADER, MAX_UNPACKED_BYTES
from tests.support.record_batches import uncompressed


def send_bomb(bootstrap: str, topic: str, partition: int, *, key: bytes = b"bomb", codec: str = "zstd") -> int:
    """Its offset. Broker and topic take it: to them it is small."""
    sent: list[Message] = []
    producer = Producer(
        {"bootstrap.servers": bootstrap, "compression.type": codec, "message.max.bytes": 2 * MAX_UNPACKED_BYTES}
    )
    producer.produce(
        topic,
        bytes(MAX_UNPACKED_BYTES + 1_000_000),
        key,
        partition=partition,
        on_delivery=lambda error, message: sent.append(message) if error is None else None,
    )
    assert producer.flush(60) == 0
    [message] = sent
    offset = message.offset()
    assert offset is not None
    return offset


def send_split(bootstrap: str, topic: str, partition: int) -> int:
    """The offset of two records in a batch of gzip whose first of two members ends within the first record."""
    return asyncio.run(_produce(bootstrap, topic, partition, _split_batch()))


def _split_batch() -> bytes:
    plain = uncompressed(b"value", b"value")
    content = plain[HEADER.size :]
    raw = bytearray(plain[: HEADER.size] + gzip.compress(content[:5]) + gzip.compress(content[5:]))
    struct.pack_into(">i", raw, 8, len(raw) - 12)
    struct.pack_into(">h", raw, 21, 1)
    struct.pack_into(">I", raw, 17, calc_crc32c(bytes(raw[21:])))
    return bytes(raw)


async def _produce(bootstrap: str, topic: str, partition: int, batch: bytes) -> int:
    client = AIOKafkaClient(bootstrap_servers=bootstrap)
    try:
        await client.bootstrap()
        await client.set_topics([topic])
        leader = client.cluster.leader_for_partition(TopicPartition(topic, partition))
        request = ProduceRequest(
            transactional_id=None, required_acks=-1, timeout=30_000, topics=[(topic, [(partition, batch)])]
        )
        response = await client.send(leader, request)
        [(_, [(_, error, offset, *_)])] = response.topics
        assert error == 0
        return int(offset)
    finally:
        await client.close()
