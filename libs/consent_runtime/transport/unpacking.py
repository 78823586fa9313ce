"""Bounds what aiokafka unpacks of what a broker sends."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Any

import cramjam
from aiokafka.codec import snappy_decode
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from consent_runtime.batches import HEADER, MAX_UNPACKED_BYTES, RecordBatch, described, whole_batches

MAX_RECORDS = 250_000
"""In one batch: more do not fit into what a topic takes unless they are compressed and next to empty."""

_TRANSACTIONAL, _CONTROL = 0x10, 0x20
UNFETCHABLE_HEADER = "consent-relay-unfetchable"
"""Says why a record has no content: it stands for what cannot be read."""


def bounded(raw: bytes) -> bytes:
    """What a broker sent of one partition, each batch that must not be unpacked replaced by a record at its last offset
    that holds nothing, and of which `unfetchable_reason` says why."""
    parts: list[bytes] = []
    kept = 0
    for start, end, header in whole_batches(raw):
        batch = described(header)
        if batch.codec != "none" and not header[5] & _CONTROL and not _fits(batch, raw[start + HEADER.size : end]):
            parts += [raw[kept:start], _stand_in(batch, header)]
            kept = end
    return b"".join([*parts, raw[kept:]]) if parts else raw


def unfetchable_reason(headers: Sequence[tuple[str, bytes | None]]) -> str | None:
    """Why the record stands in for a batch, if it does."""
    for name, value in headers or ():
        if name == UNFETCHABLE_HEADER:
            return (value or b"").decode("utf-8", "replace")[:500]
    return None


def _fits(batch: RecordBatch, packed: bytes) -> bool:
    """Whether it unpacks within the bounds, and as aiokafka unpacks it: brokers take some data that it fails with."""
    if batch.records > MAX_RECORDS:
        return False
    if batch.codec == "gzip":
        unpacking = zlib.decompressobj(wbits=31)
        try:
            unpacked = unpacking.decompress(packed, MAX_UNPACKED_BYTES)
        except zlib.error:
            return False
        # Behind its end another member could begin, which would not be bounded, or what is none.
        return unpacking.eof and not unpacking.unused_data and len(unpacked) <= MAX_UNPACKED_BYTES
    if batch.codec == "snappy":  # Saves a twentieth at most, and so needs no bound.
        try:
            snappy_decode(packed)
        except (cramjam.DecompressionError, struct.error):
            return False
        return True
    if batch.codec in ("lz4", "zstd"):
        codec = cramjam.lz4 if batch.codec == "lz4" else cramjam.zstd
        try:
            codec.decompress_into(packed, bytearray(MAX_UNPACKED_BYTES))
        except cramjam.DecompressionError:
            return False
        return True
    return False


def _stand_in(batch: RecordBatch, header: tuple[Any, ...]) -> bytes:
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=int(bool(header[5] & _TRANSACTIONAL)),
        producer_id=header[9],
        producer_epoch=header[10],
        base_sequence=header[11],
        batch_size=1 << 20,
    )
    headers: list[tuple[str, bytes | None]] = [(UNFETCHABLE_HEADER, batch.description.encode())]
    builder.append(batch.last - batch.first, batch.timestamp, None, None, headers)
    built = builder.build()
    struct.pack_into(">q", built, 0, batch.first)  # Not part of what the checksum covers.
    return bytes(built)
