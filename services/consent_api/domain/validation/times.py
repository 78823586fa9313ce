"""Moments as JSON and Avro carry them, in microseconds since 1970-01-01T00:00:00Z.

A moment that is readable can still be wrong: milliseconds sent where microseconds are read give a day in January 1970.
A refusal dated then would lose against every permission, so the oldest plausible choice is a setting.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

from consent_api.errors import InvalidValueError

ReadTime = Callable[[object], int | None]
"""One way in's form of a time to microseconds; None stays None. ValueError, with the cure, for what is no moment."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
DEFAULT_OLDEST_CHOICE = (datetime(2000, 1, 1, tzinfo=UTC) - _EPOCH) // _MICROSECOND
_LAST_MOMENT = (datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC) - _EPOCH) // _MICROSECOND
"""The last that RFC 3339 can write."""
_LIKELY_UNTIL = (datetime(2100, 1, 1, tzinfo=UTC) - _EPOCH) // _MICROSECOND

# What systems write as a moment, with no doubt about which: RFC 3339; ISO 8601 without seconds, with a comma, with an
# offset in basic format or of hours alone; "UTC" or "GMT"; a time zone's name after the offset (RFC 9557).
_MOMENT = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d)[Tt ](?P<minute>\d\d:\d\d)(?:(?P<second>:\d\d)(?:[.,](?P<fraction>\d{1,9}))?)?"
    r" ?(?:(?P<utc>[Zz]|UTC|GMT)|(?P<hours>[+-]\d\d)(?::?(?P<minutes>\d\d))?)(?:\[[\w/+-]{1,64}\])?",
    re.ASCII,
)
_RFC3339_CURE = "send a time with its offset as in RFC 3339, such as 2026-03-01T09:30:00Z"
_MICROS_CURE = "send microseconds since 1970-01-01T00:00:00Z"


def midnight(day: date) -> int:
    """When a day begins, in UTC."""
    return (datetime(day.year, day.month, day.day, tzinfo=UTC) - _EPOCH) // _MICROSECOND


def micros(value: object) -> int | None:
    """A time as Avro carries it."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(_MICROS_CURE)
    if not 0 <= value <= _LAST_MOMENT:
        raise ValueError(_MICROS_CURE + _likely_unit(value))
    return value


def rfc3339(value: object) -> int | None:
    """A time as JSON carries it. More than six decimals are cut off."""
    if value is None:
        return None
    parts = _MOMENT.fullmatch(value.strip()) if isinstance(value, str) else None
    if parts is None:
        raise ValueError(_RFC3339_CURE)
    offset = "+00:00" if parts["utc"] else f"{parts['hours']}:{parts['minutes'] or '00'}"
    try:
        moment = datetime.fromisoformat(f"{parts['day']}T{parts['minute']}{parts['second'] or ':00'}{offset}")
        found = (moment - _EPOCH) // _MICROSECOND + int((parts["fraction"] or "")[:6].ljust(6, "0"))
    except (ValueError, OverflowError):
        raise ValueError(_RFC3339_CURE) from None
    if not 0 <= found <= _LAST_MOMENT:
        raise ValueError("send a time between 1970 and 9999")
    return found


def plausible(moment: int, *, oldest: int, latest: int) -> int:
    """A moment at which a person can have chosen. InvalidValueError names the unit that was probably sent."""
    if moment < oldest:
        day = (_EPOCH + oldest * _MICROSECOND).date()
        cure = f"send when the person chose: a choice before {day} is taken for an error"
        raise InvalidValueError("too_old", cure + _likely_unit(moment))
    if moment > latest:
        cure = "send when the person chose: that has been"
        raise InvalidValueError("in_the_future", cure + _likely_unit(moment))
    return moment


def later_than(moment: int, began: int) -> int:
    """An end that comes after its beginning."""
    if moment <= began:
        raise InvalidValueError("before_it_began", "send an expiry later than occurred_at" + _likely_unit(moment))
    return moment


def _likely_unit(value: int) -> str:
    """The unit in which ``value`` would be a moment of this century, as the end of a cure; empty if there is none."""
    for unit, share, in_micros in (
        ("milliseconds", "a thousandth of", value * 1_000),
        ("seconds", "a millionth of", value * 1_000_000),
        ("nanoseconds", "a thousand times", value // 1_000),
    ):
        if DEFAULT_OLDEST_CHOICE <= in_micros < _LIKELY_UNTIL:
            return f" (it is {share} a likely time: probably {unit} were sent for microseconds)"
    return ""
