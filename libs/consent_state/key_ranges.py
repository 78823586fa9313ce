"""Ranges of keys that are to be compacted, few enough to be stored with every position. Pure."""

from __future__ import annotations

from collections.abc import Iterable

KeyRange = tuple[bytes, bytes]
"""First key, and the first after the last."""

MOST_RANGES = 16
"""More become one range: address keys are hashes, so that so many lie in most of the files anyway."""


def joined(ranges: Iterable[KeyRange], more: Iterable[KeyRange]) -> tuple[KeyRange, ...]:
    """All of these without those within another; one range where they would be more than MOST_RANGES."""
    found = list(ranges)
    for start, stop in more:
        if any(first <= start and stop <= last for first, last in found):
            continue
        found.append((start, stop))
        if len(found) > MOST_RANGES:
            found = [(min(first for first, _ in found), max(last for _, last in found))]
    return tuple(found)
