"""One month, and two more, as the calendar has them."""

from __future__ import annotations

from datetime import datetime

import pytest

from consent_api.rights import due_dates
from consent_api.rights.due_dates import Urgency


def micros(text: str) -> int:
    return round(datetime.fromisoformat(f"{text}+00:00").timestamp()) * 1_000_000


@pytest.mark.parametrize(
    ("opened", "due"),
    [
        ("2026-01-15T10:00:00", "2026-02-15T10:00:00"),
        ("2026-01-31T10:00:00", "2026-02-28T10:00:00"),
        ("2028-01-31T23:59:59", "2028-02-29T23:59:59"),
        ("2026-03-31T00:00:00", "2026-04-30T00:00:00"),
        ("2026-11-30T08:00:00", "2026-12-30T08:00:00"),
        ("2026-12-31T23:00:00", "2027-01-31T23:00:00"),
        ("2028-02-29T12:00:00", "2028-03-29T12:00:00"),
    ],
)
def test_a_month_ends_on_the_same_day_or_the_last_one(opened: str, due: str) -> None:
    assert due_dates.due_at(micros(opened)) == micros(due)


@pytest.mark.parametrize(
    ("due", "later"),
    [
        ("2026-02-15T10:00:00", "2026-04-15T10:00:00"),
        ("2026-12-31T10:00:00", "2027-02-28T10:00:00"),
        ("2027-12-31T10:00:00", "2028-02-29T10:00:00"),
    ],
)
def test_an_extension_is_two_more_months(due: str, later: str) -> None:
    assert due_dates.extended(micros(due)) == micros(later)


@pytest.mark.parametrize(
    ("now", "urgency"),
    [
        ("2026-02-04T10:00:00", Urgency.IN_TIME),
        ("2026-02-05T10:00:00", Urgency.SOON),
        ("2026-02-15T10:00:00", Urgency.SOON),
        ("2026-02-15T10:00:01", Urgency.LATE),
    ],
)
def test_the_last_ten_days_are_soon_and_what_comes_after_is_late(now: str, urgency: Urgency) -> None:
    assert due_dates.urgency(micros("2026-02-15T10:00:00"), micros(now)) is urgency
