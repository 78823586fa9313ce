"""When an entry has to be written again because a permission in it ends. Pure.

Readers compare `expires_at` themselves. A tool to which the permission was pushed cannot, and only a record makes the
propagator push. So the entry is written once more when a verdict ends: the same decisions, a later `written_at`.

The expiry time is in a header of the entry's record, so that a restore reads it without decoding the entry.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from consent_contracts.decisions import AddressEntry, choices
from consent_contracts.verdict import verdicts

NEXT_EXPIRY = "consent_relay_next_expiry"
"""The header: microseconds since the epoch, in ASCII digits. Absent: no verdict of this entry ends any more."""

UNREADABLE = 0
"""The expiry time of an entry whose header cannot be read: long past, so it is written again, with a good header."""


def next_expiry(entry: AddressEntry, datum: Mapping[str, Any], now: int) -> int | None:
    """The first moment after `now` at which one of the verdicts ends; `datum`: the entry's SuppressionEntry.

    Where the address takes no messages, at which one would end otherwise: choices alone are pushed to tools."""
    chosen = choices(entry.decisions)
    if chosen is entry.decisions:
        ends = [v["expires_at"] for v in datum["verdicts"].values() if v["permitted"] and v["expires_at"] is not None]
    else:
        ends = [v.expires_at for v in verdicts(chosen).values() if v.permitted and v.expires_at is not None]
    return min((end for end in ends if end > now), default=None) if ends else None


def next_expiry_header(due: int) -> tuple[str, bytes]:
    return NEXT_EXPIRY, b"%d" % due


def read_next_expiry(headers: Iterable[tuple[str, bytes | None]] | None) -> int | None:
    """The expiry time that a record's headers give; None without one."""
    for name, value in headers or ():
        if name == NEXT_EXPIRY:
            return int(value) if value is not None and _DATE.fullmatch(value) else UNREADABLE
    return None


_DATE = re.compile(rb"[0-9]{1,18}")

_ENDING: Callable[[bytes], object] = re.compile(
    rb"\x01"  # permitted
    rb"\x0agiven"  # reason
    rb"\x02[\x80-\xff]*[\x00-\x7f]"  # since, not null
    rb"\x02"  # expires_at, not null
    rb"|\x1aundeliverable"  # the reason of a verdict that may hide one
).search


def may_expire(value: bytes) -> bool:
    """Whether a record's value, as we write it, may hold a verdict that ends. False: surely not.

    Reading a record's headers costs several times what the rest of its restore does, and most permissions have no
    end. This searches for the first fields of such a verdict as Avro encodes them; a test holds it to the schema.
    """
    return _ENDING(value) is not None
