"""Batches of records as they lie in a topic."""

from __future__ import annotations

from aiokafka.record.default_records import DefaultRecordBatchBuilder


def uncompressed(*values: bytes) -> bytes:
    """A batch that begins at offset 0, of a producer without an id."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=1 << 30,
    )
    for number, value in enumerate(values):
        builder.append(number, 1_760_000_000_000, b"key", value, [])
    return bytes(builder.build())
