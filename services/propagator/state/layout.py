"""The keys and small values of a partition's database.

| prefix | key after it                                             | value                                       |
|--------|----------------------------------------------------------|---------------------------------------------|
| e      | channel, NUL, address key                                | offset, append time, reported, trace; the record |
| d      | destination, NUL, address key (empty: its own row)       | the record of the state topic               |
| p      | destination, NUL, kind, class, target, NUL, then as follows |                                         |
| ..r    | since, address key: a push that may go at once           | empty                                       |
| ..w    | since, address key: one that waits for its not_before    | empty                                       |
| ..d    | not_before, address key: the same once more, by due time | since                                       |
| k      | destination, NUL, address key                            | the keys under `p` that it has now          |
| f      | destination                                              | the fingerprint of the last complete scan   |
| r      |                                                          | append time; the newest ListResolved record |
| u      | channel, NUL, address key                                | empty: a bulk entry that is to be planned   |

Pending rows (`p`) are in order within destination, kind, class (0 live, 1 bulk) and target: by age those that may go
and those that wait, and these by due time too, so that a search for what may go does not read past them. Kafka's values
are kept as they are and decoded when they are needed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

import msgspec

from propagator.sending.ports import Kind, PendingPush

FORMAT_VERSION = 4
"""Of all this; another one makes every replica restore its tables."""

RESOLVED_KEY = b"r"

_KIND_BYTES: dict[Kind, bytes] = {"suppress": b"s", "permit": b"p", "record": b"r", "forget": b"f", "impossible": b"i"}
_KINDS: dict[bytes, Kind] = {byte: kind for kind, byte in _KIND_BYTES.items()}
READY, WAITING, DUE = b"r", b"w", b"d"
_INT64 = struct.Struct(">Q")
_ENTRY_HEADER = struct.Struct(">QQ?B")
_MAX_INT64 = 2**63 - 1
NEVER = _MAX_INT64
"""The `not_before` of a push that is not to be found by time: its address has to be planned first."""
_encode_keys = msgspec.msgpack.Encoder().encode
_decode_keys = msgspec.msgpack.Decoder(list[bytes]).decode


class StoredEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A record of a list topic. `append_time` in micros; `reported`: it is in the dead letters already."""

    offset: int
    append_time: int
    value: bytes
    reported: bool = False
    traceparent: str | None = None
    """Of the change that brought it."""


class PendingKey(msgspec.Struct, frozen=True, kw_only=True):
    """Under which a pending push is counted."""

    destination: str
    live: bool
    kind: Kind
    target: str


def entry_prefix(channel: str) -> bytes:
    return b"e" + channel.encode() + b"\0"


def entry_key(channel: str, address_key: str) -> bytes:
    return entry_prefix(channel) + address_key.encode()


def is_entry(key: bytes) -> bool:
    return key.startswith(b"e")


def parse_entry_key(key: bytes) -> tuple[str, bytes]:
    """Channel and address key of an entry's key."""
    channel, _, address_key = key[1:].partition(b"\0")
    return channel.decode(), address_key


def pack_entry_fields(offset: int, append_time: int, value: bytes, traceparent: str | None = None) -> bytes:
    """`traceparent`: of version 00."""
    trace = b"" if traceparent is None else bytes.fromhex(traceparent.replace("-", ""))
    return _ENTRY_HEADER.pack(offset, append_time, False, len(trace)) + trace + value


def pack_reported(stored: bytes) -> bytes:
    """The same entry, marked as being in the dead letters."""
    offset, append_time, _, trace_bytes = _ENTRY_HEADER.unpack_from(stored)
    return _ENTRY_HEADER.pack(offset, append_time, True, trace_bytes) + stored[_ENTRY_HEADER.size :]


def unpack_entry(data: bytes) -> StoredEntry:
    offset, append_time, reported, trace_bytes = _ENTRY_HEADER.unpack_from(data)
    end = _ENTRY_HEADER.size + trace_bytes
    trace = data[_ENTRY_HEADER.size : end].hex()
    return StoredEntry(
        offset=offset,
        append_time=append_time,
        reported=reported,
        traceparent=f"{trace[:2]}-{trace[2:34]}-{trace[34:50]}-{trace[50:]}" if trace else None,
        value=bytes(data[end:]),
    )


def entry_value(data: bytes) -> bytes:
    """The record of an entry alone."""
    return data[_ENTRY_HEADER.size + _ENTRY_HEADER.unpack_from(data)[3] :]


def rows_of_others(table: bytes, channels: Iterable[str]) -> Iterator[tuple[bytes, bytes]]:
    """Ranges of the rows of a table (`e`, `u`) that belong to none of these channels."""
    start = table
    for prefix in sorted(table + channel.encode() + b"\0" for channel in channels):
        yield start, prefix
        start = after(prefix)
    yield start, after(table)


def unplanned_prefix(channel: str) -> bytes:
    return b"u" + channel.encode() + b"\0"


def unplanned_key(channel: str, address_key: str) -> bytes:
    return unplanned_prefix(channel) + address_key.encode()


def delivered_prefix(destination: str) -> bytes:
    return b"d" + destination.encode() + b"\0"


def delivered_key(destination: str, address_key: str) -> bytes:
    return delivered_prefix(destination) + address_key.encode()


def pending_keys_prefix(destination: str) -> bytes:
    return b"k" + destination.encode() + b"\0"


def pending_keys_key(destination: str, address_key: str) -> bytes:
    return pending_keys_prefix(destination) + address_key.encode()


def pack_pending_keys(keys: list[bytes]) -> bytes:
    return _encode_keys(keys)


def unpack_pending_keys(data: bytes | None) -> list[bytes]:
    return [] if data is None else _decode_keys(data)


def fingerprint_key(destination: str) -> bytes:
    return b"f" + destination.encode()


def pending_prefix(key: PendingKey) -> bytes:
    return b"".join(
        (
            b"p",
            key.destination.encode(),
            b"\0",
            _KIND_BYTES[key.kind],
            b"\0" if key.live else b"\1",
            key.target.encode(),
            b"\0",
        )
    )


def pending_rows(destination: str, push: PendingPush) -> list[tuple[bytes, bytes]]:
    """Keys and values of a push in the pending index. A time that cannot be ordered becomes the nearest that can."""
    prefix = pending_prefix(PendingKey(destination=destination, live=push.live, kind=push.kind, target=push.target))
    since, address_key = _pack_time(push.since), push.address_key.encode()
    if push.not_before <= 0:
        return [(prefix + READY + since + address_key, b"")]
    return [
        (prefix + WAITING + since + address_key, b""),
        (prefix + DUE + _pack_time(push.not_before) + address_key, since),
    ]


def due_until(prefix: bytes, time: int) -> bytes:
    """The first key of rows under `prefix` (it ends with DUE) that are due after `time`, in micros."""
    return prefix + _pack_time(time + 1)


def counted_key(key: bytes) -> PendingKey | None:
    """Under which a row of the pending index is counted; None for one that only orders another by due time."""
    destination, rest = key[1:].split(b"\0", 1)
    end = rest.index(b"\0", 2)
    if rest[end + 1 : end + 2] == DUE:
        return None
    return PendingKey(
        destination=destination.decode(),
        kind=_KINDS[rest[:1]],
        live=rest[1:2] == b"\0",
        target=rest[2:end].decode(),
    )


def pending_push(counted: PendingKey, prefix_length: int, key: bytes, value: bytes) -> PendingPush:
    """The push of a row; `prefix_length` is that of `pending_prefix(counted)`. That of a WAITING row does not know when
    it is due."""
    time = _INT64.unpack_from(key, prefix_length + 1)[0]
    due = key[prefix_length : prefix_length + 1] == DUE
    return PendingPush(
        address_key=key[prefix_length + 9 :].decode(),
        target=counted.target,
        kind=counted.kind,
        live=counted.live,
        since=_INT64.unpack(value)[0] if due else time,
        not_before=time if due else 0,
    )


def live_revocations(keys: Iterable[bytes], *, after: int) -> dict[str, int]:
    """Of the keys that an address has in the pending index: by target, since when (micros) a live revocation is pending
    there. Those from `after` on."""
    found: dict[str, int] = {}
    for key in keys:
        counted = counted_key(key)
        if counted is not None and counted.live and counted.kind == "suppress":
            since = pending_push(counted, len(pending_prefix(counted)), key, b"").since
            if since > after:
                found[counted.target] = since
    return found


def _pack_time(micros: int) -> bytes:
    return _INT64.pack(min(max(micros, 0), _MAX_INT64))


def pack_resolved(append_time: int, value: bytes) -> bytes:
    return _INT64.pack(append_time) + value


def unpack_resolved(data: bytes) -> tuple[int, bytes]:
    return _INT64.unpack_from(data)[0], bytes(data[8:])


def after(prefix: bytes) -> bytes:
    """The first key after all that begin with `prefix`."""
    return prefix[:-1] + bytes([prefix[-1] + 1])
