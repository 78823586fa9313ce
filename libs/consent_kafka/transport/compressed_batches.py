"""Keeps aiokafka from unpacking anything: what it reads here is written by us alone, and we compress nothing.

It unpacks without a bound, and fails for good with data that a broker takes (gzip of several members, snappy that ends
early). So a compressed batch, which can only be a foreign client's, is known by its place alone.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from aiokafka.record.default_records import DefaultRecordBatchBuilder

from consent_kafka.batches import RecordBatch, described, whole_batches

_TRANSACTIONAL, _CONTROL = 0x10, 0x20
UNFETCHABLE_HEADER = "consent-relay-unfetchable"
"""Holds why a record is empty: it takes the place of a batch that must not be unpacked."""


def without_compressed(raw: bytes) -> bytes:
    """What a broker sent of one partition, each compressed batch replaced by a record at its last offset that holds
    nothing, and of which `unfetchable_reason` has the reason."""
    parts: list[bytes] = []
    kept = 0
    for start, end, header in whole_batches(raw):
        batch = described(header)
        if batch.codec != "none" and not header[5] & _CONTROL:
            parts += [raw[kept:start], _placeholder(batch, header)]
            kept = end
    return b"".join([*parts, raw[kept:]]) if parts else raw


def unfetchable_reason(headers: Sequence[tuple[str, bytes | None]]) -> str | None:
    """Why the record takes the place of a batch; None for any other record."""
    for name, value in headers or ():
        if name == UNFETCHABLE_HEADER:
            return (value or b"").decode("utf-8", "replace")[:500]
    return None


def _placeholder(batch: RecordBatch, header: tuple[Any, ...]) -> bytes:
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=int(bool(header[5] & _TRANSACTIONAL)),
        producer_id=header[9],
        producer_epoch=header[10],
        base_sequence=header[11],
        batch_size=1 << 20,
    )
    headers: list[tuple[str, bytes | None]] = [(UNFETCHABLE_HEADER, _reason(batch).encode())]
    builder.append(batch.last - batch.first, batch.timestamp, None, None, headers)
    built = builder.build()
    struct.pack_into(">q", built, 0, batch.first)  # Not part of what the checksum covers.
    return bytes(built)


def _reason(batch: RecordBatch) -> str:
    return f"{batch.summary} is not read, since only we write to this topic, and do not compress"
