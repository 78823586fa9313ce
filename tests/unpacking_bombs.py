"""A few kilobytes that unpack to more than any client of ours may unpack."""

from confluent_kafka import Message, Producer

from consent_runtime.batches import MAX_UNPACKED_BYTES


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
