"""Batches that unpack to more than any process may hold."""

import gzip
import struct
from typing import Any

import cramjam
import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from consent_runtime.batches import HEADER
from consent_runtime.transport import unpacking
from consent_runtime.transport.unpacking import bounded, unfetchable_reason

CODECS = {"gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}


def batch(first: int, *values: bytes, codec: str = "") -> bytes:
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=CODECS.get(codec, 0),
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=1 << 30,
    )
    for number, value in enumerate(values):
        builder.append(number, 1_760_000_000_000, b"key", value, [])
    built = builder.build()
    struct.pack_into(">q", built, 0, first)
    return bytes(built)


def packed_as(codec: str, packed: bytes, raw: bytes) -> bytes:
    """The batch `raw`, which is not compressed, with `packed` in the place of its records."""
    header = bytearray(raw[: HEADER.size])
    struct.pack_into(">i", header, 8, HEADER.size - 12 + len(packed))
    struct.pack_into(">h", header, 21, CODECS[codec])
    return bytes(header) + packed


def records(raw: bytes) -> list[Any]:
    read = MemoryRecords(raw)
    found = []
    while read.has_next():
        each = read.next_batch()
        assert each is not None
        assert each.validate_crc()
        found += list(each)
    return found


@pytest.mark.parametrize("codec", ["", *CODECS])
def test_what_fits_is_handed_on_as_it_came(codec: str) -> None:
    raw = batch(5, b"one", b"two", codec=codec) + batch(9, b"three")

    assert bounded(raw) is raw


@pytest.mark.parametrize("codec", ["gzip", "lz4", "zstd"])
def test_a_batch_beyond_the_bound_becomes_one_record_at_its_last_offset(  # R16
    monkeypatch: pytest.MonkeyPatch, codec: str
) -> None:
    monkeypatch.setattr(unpacking, "MAX_UNPACKED_BYTES", 100_000)
    raw = batch(4, b"before") + batch(5, b"small", bytes(200_000), codec=codec) + batch(7, b"after", codec=codec)

    before, stand_in, after = records(bounded(raw))

    assert (before.offset, before.value, after.offset, after.value) == (4, b"before", 7, b"after")
    assert (stand_in.offset, stand_in.key, stand_in.value) == (6, None, None)
    assert stand_in.timestamp == 1_760_000_000_000
    reason = unfetchable_reason(stand_in.headers)
    assert reason is not None
    assert f"offsets 5 to 6 ({len(batch(5, b'small', bytes(200_000), codec=codec))} bytes, {codec}, 2 rec" in reason
    assert unfetchable_reason(after.headers) is None


def test_a_batch_of_too_many_records_is_beyond_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "MAX_RECORDS", 3)

    [stand_in] = records(bounded(batch(0, *[b""] * 4, codec="zstd")))

    assert stand_in.offset == 3


def test_a_batch_that_is_no_compressed_data_is_beyond_the_bound_too() -> None:
    raw = bytearray(batch(0, b"one", b"two"))
    for codec in (1, 3, 4):
        struct.pack_into(">h", raw, 21, codec)
        [stand_in] = records(bounded(bytes(raw)))
        assert stand_in.offset == 1


def test_of_several_gzip_members_each_counts(monkeypatch: pytest.MonkeyPatch) -> None:  # R16
    monkeypatch.setattr(unpacking, "MAX_UNPACKED_BYTES", 100_000)
    raw = batch(5, b"small", bytes(200_000))
    members = gzip.compress(raw[HEADER.size : 1_000]) + gzip.compress(raw[1_000:])

    [stand_in] = records(bounded(packed_as("gzip", members, raw)))

    assert unfetchable_reason(stand_in.headers) is not None


@pytest.mark.parametrize("codec", CODECS)
def test_bytes_behind_the_compressed_data_end_no_process(codec: str) -> None:
    # Java passes over them where it reads gzip or snappy, and so the broker takes them.
    raw = batch(5, b"one", codec=codec)

    [stand_in] = records(bounded(packed_as(codec, raw[HEADER.size :] + b"xy", raw)))

    assert (stand_in.offset, unfetchable_reason(stand_in.headers) is not None) == (5, True)


def test_a_codec_that_nobody_knows_is_beyond_the_bound() -> None:
    raw = bytearray(batch(0, b"one"))
    struct.pack_into(">h", raw, 21, 6)

    [stand_in] = records(bounded(bytes(raw)))

    assert "6, 1 records" in (unfetchable_reason(stand_in.headers) or "")


def test_a_batch_that_was_cut_short_is_left_to_the_next_fetch() -> None:
    raw = batch(0, b"one") + batch(1, bytes(1_000))[:-5]

    assert bounded(raw) is raw
    assert bounded(b"") == b""


def test_the_bound_is_above_what_a_batch_of_the_largest_records_unpacks_to() -> None:
    assert len(gzip.decompress(gzip.compress(bytes(2 << 20)))) < unpacking.MAX_UNPACKED_BYTES
    assert len(bytes(cramjam.zstd.decompress(cramjam.zstd.compress(bytes(2 << 20))))) < unpacking.MAX_UNPACKED_BYTES
