"""Compressed batches, of which aiokafka gets none."""

import struct
from typing import Any

import pytest
from aiokafka.record.memory_records import MemoryRecords

from consent_kafka.transport.compressed_batches import unfetchable_reason, without_compressed
from tests.support.record_batches import uncompressed

CODECS = {"gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4, "6": 6}


def batch(first: int, *values: bytes, codec: str = "") -> bytes:
    built = bytearray(uncompressed(*values))
    struct.pack_into(">q", built, 0, first)
    if codec:  # What is in it does not matter.
        struct.pack_into(">h", built, 21, CODECS[codec])
    return bytes(built)


def records(raw: bytes) -> list[Any]:
    read = MemoryRecords(raw)
    found = []
    while read.has_next():
        each = read.next_batch()
        assert each is not None
        assert each.validate_crc()
        found += list(each)
    return found


def test_what_is_not_compressed_is_handed_on_as_it_came() -> None:
    raw = batch(5, b"one", b"two") + batch(9, b"three")

    assert without_compressed(raw) is raw


@pytest.mark.parametrize("codec", CODECS)
def test_a_compressed_batch_becomes_one_record_at_its_last_offset(codec: str) -> None:  # R16
    compressed = batch(5, b"small", b"large" * 100, codec=codec)
    raw = batch(4, b"before") + compressed + batch(7, b"after")

    before, placeholder, after = records(without_compressed(raw))

    assert (before.offset, before.value, after.offset, after.value) == (4, b"before", 7, b"after")
    assert (placeholder.offset, placeholder.key, placeholder.value) == (6, None, None)
    assert placeholder.timestamp == 1_760_000_000_000
    reason = unfetchable_reason(placeholder.headers)
    assert reason is not None
    assert f"offsets 5 to 6 ({len(compressed)} bytes, {codec}, 2 records)" in reason
    assert unfetchable_reason(after.headers) is None


def test_a_batch_that_was_cut_short_is_left_to_the_next_fetch() -> None:
    raw = batch(0, b"one") + batch(1, bytes(1_000))[:-5]

    assert without_compressed(raw) is raw
    assert without_compressed(b"") == b""
