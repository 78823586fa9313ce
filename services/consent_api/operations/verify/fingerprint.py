"""What an entry holds, as one small number: to compare a million entries with the ledger in little memory. Pure.

The number is made of the bytes as Avro encodes them: everything but the sealed address and the time of writing. Of an
entry on the list they are taken from its value without decoding it, of one that the ledger expects they are written
here, in a third of the time that the codec takes. A test holds both to the codec and its schema.

Two entries with one number are the same; two with different numbers may still be, as another version may write the same
entry in other bytes. So a difference is only a reason to decode and compare.
"""

from __future__ import annotations

from functools import lru_cache

from consent_contracts.decisions import AddressEntry, Decision
from consent_contracts.verdict import Verdict, verdicts

NO_ENTRY = -1
"""Not the fingerprint of any entry: the bytes are too short, or what they hold is in doubt."""
BITS = 52
"""An integer with eight more bits still takes 32 bytes of memory."""

_HEADER = 5
_MASK = (1 << BITS) - 1
_MORE = 0x80
_MAX_SHIFT = 63
"""Of Avro's longest numbers. Each further byte would cost time in proportion to all before it."""
_NULL, _PRESENT = b"\0", b"\2"
"""The branches of Avro's union [null, ...], zigzag encoded."""
_END = b"\0"
"""Of an array or a map: a block without items."""
_FALSE, _TRUE = b"\0", b"\1"


def fingerprint(value: bytes) -> int:
    """Of a SuppressionEntry in Confluent framing. Two calls agree within one process only (Python's hash is keyed)."""
    try:
        at = _HEADER
        for _ in range(3):  # Three texts, each after its length. Lengths of one byte are by far the most common.
            length = value[at]
            at = _after_bytes(value, at) if length & _MORE else at + 1 + (length >> 1)
        content_from = at + 1 if value[at] == 0 else _after_bytes(value, at + 1)
        # The last field is one number, and the byte before it ends the map of verdicts: it is zero.
        content_to = len(value) - 1
        while value[content_to - 1] & _MORE:
            content_to -= 1
    except IndexError:
        return NO_ENTRY
    return hash(value[:at] + value[content_from:content_to]) & _MASK


def expected_fingerprint(header: bytes, entry: AddressEntry) -> int:
    """Of this entry as the codec writes it with the framing `header`."""
    decisions = entry.decisions
    parts = [header, _text(entry.tenant), _text(entry.channel), _bytes(entry.address_key.encode())]
    parts.append(_NULL if entry.erased_at is None else _PRESENT + _number(entry.erased_at))
    if decisions:
        parts.append(_number(len(decisions)))
        for decision in decisions:
            _add_decision(parts, decision)
    parts.append(_END)
    following = verdicts(decisions)
    parts.append(_number(len(following)))
    for purpose, verdict in following.items():
        parts.append(_text(purpose))
        _add_verdict(parts, verdict)
    parts.append(_END)
    return hash(b"".join(parts)) & _MASK


def tenant_of(value: bytes) -> bytes:
    """The tenant that a SuppressionEntry names, in UTF-8; anything, or nothing, for other bytes."""
    try:
        end = _after_bytes(value, _HEADER)
    except IndexError:
        return b""
    return value[_HEADER + (1 if value[_HEADER] < _MORE else 2) : end]


def _add_decision(parts: list[bytes], decision: Decision) -> None:
    parts += (
        _bytes(decision.decision_id.encode()),
        _NULL if decision.subject_ref is None else _PRESENT + _bytes(decision.subject_ref.encode()),
        _text(decision.purpose),
        _text(decision.status),
        _number(decision.effective_at),
        _number(decision.recorded_at),
        _NULL if decision.expires_at is None else _PRESENT + _number(decision.expires_at),
        _TRUE if decision.bulk else _FALSE,
    )


def _add_verdict(parts: list[bytes], verdict: Verdict) -> None:
    parts += (
        _TRUE if verdict.permitted else _FALSE,
        _text(verdict.reason),
        _NULL if verdict.since is None else _PRESENT + _number(verdict.since),
        _NULL if verdict.expires_at is None else _PRESENT + _number(verdict.expires_at),
        _NULL if verdict.decision_id is None else _PRESENT + _bytes(verdict.decision_id.encode()),
    )


def _bytes(data: bytes) -> bytes:
    return _number(len(data)) + data


@lru_cache(4096)
def _text(text: str) -> bytes:
    """Of names that come again and again: tenants, channels, purposes, statuses."""
    return _bytes(text.encode())


@lru_cache(4096)
def _number(number: int) -> bytes:
    """Zigzag, then groups of seven bits, the lowest first; all but the last are marked."""
    left = number << 1 if number >= 0 else (-number << 1) - 1
    groups = bytearray()
    while left > _MORE - 1:
        groups.append(left & (_MORE - 1) | _MORE)
        left >>= 7
    groups.append(left)
    return bytes(groups)


def _after_bytes(value: bytes, at: int) -> int:
    """The offset after a string or bytes: a length, zigzag encoded in groups of seven bits, and so many bytes."""
    length, shift = 0, 0
    while True:
        group = value[at]
        at += 1
        length |= (group & (_MORE - 1)) << shift
        if not group & _MORE:
            return at + (length >> 1)
        shift += 7
        if shift > _MAX_SHIFT:
            raise IndexError("no length of an entry takes so many bytes")
