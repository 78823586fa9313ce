"""The Kafka header of a suppression entry that was written for bulk changes alone, or for the end of a permission.

A reader may put such entries after the others: no person waits for them now. Without the header an entry is live.
"""

from __future__ import annotations

from collections.abc import Collection

NAME = "consent_relay_lane"
BULK = b"bulk"
BULK_HEADER = (NAME, BULK)


def is_bulk(headers: Collection[tuple[str, bytes | None]] | None) -> bool:
    """Whether a record's headers mark it as bulk."""
    return headers is not None and BULK_HEADER in headers
