"""CloudEvents 1.0 headers in Kafka's binary content mode."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=256)
def rfc3339(micros: int) -> str:
    """Microseconds since the epoch as RFC 3339 in UTC, with a ``Z``. Records of a batch often have the same."""
    return (_EPOCH + timedelta(microseconds=micros)).isoformat().replace("+00:00", "Z")


def rfc3339_or_none(micros: int | None) -> str | None:
    """The same of a moment that may be missing."""
    return None if micros is None else rfc3339(micros)


def headers(*, event_id: str, event_type: str, source: str, time_micros: int) -> list[tuple[str, bytes]]:
    """``event_type`` is the record's full name, ``source`` a URI reference such as ``/consent-relay/relay``."""
    return [
        ("ce_specversion", b"1.0"),
        ("ce_id", event_id.encode()),
        ("ce_type", event_type.encode()),
        ("ce_source", source.encode()),
        ("ce_time", rfc3339(time_micros).encode()),
        ("content-type", b"application/avro"),
    ]
