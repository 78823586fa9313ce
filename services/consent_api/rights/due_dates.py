"""Until when a request has to be answered (GDPR, article 12(3)). Pure; times in micros, UTC.

A month ends on the same day of the next one, or on its last day where it has no such day (31 January: 28 or 29
February). Regulation 1182/71 lets a period that ends on a holiday end a working day later; these dates do not, and are
never later than the law's.
"""

from __future__ import annotations

import calendar
from datetime import UTC, datetime, timedelta
from enum import StrEnum

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICRO = timedelta(microseconds=1)
_DAY_MICROS = 86_400_000_000
MONTHS = 1
EXTENSION_MONTHS = 2
SOON_DAYS = 10


class Urgency(StrEnum):
    """Of an open request."""

    IN_TIME = "in_time"
    SOON = "soon"
    """SOON_DAYS are left, or fewer."""
    LATE = "late"


def urgency(due: int, now: int) -> Urgency:
    if due < now:
        return Urgency.LATE
    return Urgency.SOON if due - now <= SOON_DAYS * _DAY_MICROS else Urgency.IN_TIME


def due_at(opened_at: int) -> int:
    """One month after the request was received."""
    return _months_later(opened_at, MONTHS)


def extended(due: int) -> int:
    """Two further months, once, where requests are complex or many."""
    return _months_later(due, EXTENSION_MONTHS)


def _months_later(micros: int, months: int) -> int:
    begin = _EPOCH + timedelta(microseconds=micros)
    years, month = divmod(begin.month - 1 + months, 12)
    year, month = begin.year + years, month + 1
    day = min(begin.day, calendar.monthrange(year, month)[1])
    return (begin.replace(year=year, month=month, day=day) - _EPOCH) // _MICRO
