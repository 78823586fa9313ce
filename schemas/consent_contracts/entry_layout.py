"""What is read of a SuppressionEntry without decoding it, where millions of them are restored. Pure."""

from __future__ import annotations

UNREADABLE = 0
"""The moment of an erasure where the value is laid out otherwise than this version writes it: there may be one."""

_NULL, _PRESENT = 0, 2
"""The branches of a nullable field, as Avro encodes them: the indices 0 and 1, each in a zigzag varint."""
_LONGEST_VARINT = 10
"""Bytes."""


def erased_at(value: bytes, address_key: bytes) -> int | None:
    """``erased_at`` (micros) of an entry as Avro has it, framed or not; None where no erasure concerned it.

    The field follows the sealed address, which follows the key of the address, the key of the entry's record. To be
    asked of values with the schema of this version alone; a test holds it to that. Costs a thirtieth of decoding.
    """
    found = value.find(address_key)
    if found < 0:
        return UNREADABLE
    at = found + len(address_key)
    try:
        if value[at] == _PRESENT:
            size, at = _long(value, at + 1)
            at += size
        elif value[at] == _NULL:
            at += 1
        else:
            return UNREADABLE
        if value[at] == _NULL:
            return None
        return _long(value, at + 1)[0] if value[at] == _PRESENT else UNREADABLE
    except (IndexError, ValueError):
        return UNREADABLE


def _long(value: bytes, at: int) -> tuple[int, int]:
    """An Avro long and the offset after it. IndexError and ValueError for what is none."""
    number = 0
    for shift in range(0, _LONGEST_VARINT * 7, 7):
        byte = value[at]
        number |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1), at
    raise ValueError("an Avro long has ten bytes at most")
