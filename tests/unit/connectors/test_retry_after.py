"""When a provider that throttles is to be called again, in every form that providers give. # R26"""

from __future__ import annotations

import email.utils
import time

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from propagator.connectors.http import HttpResponse
from propagator.connectors.responses import raise_for_status, retry_after
from propagator.errors import DestinationDownError, ThrottledError
from tests.support.tables import each_of

NAMES = [
    "Retry-After",
    "retry-after",
    "X-RateLimit-Reset",
    "x-ratelimit-reset",
    "RateLimit-Reset",
    "inin-ratelimit-reset",
]


def read(**headers: str) -> float | None:
    return retry_after(CIMultiDictProxy(CIMultiDict({name.replace("_", "-"): each for name, each in headers.items()})))


@each_of("name", NAMES)
@each_of("given", ["1", "0.5", "30", "3600", " 30 "])
def test_small_numbers_are_seconds_to_go(name: str, given: str) -> None:
    assert read(**{name: given}) == float(given)


@each_of("name", NAMES)
@each_of("unit", [1, 1_000, 1_000_000, 1_000_000_000])
def test_large_numbers_are_moments_in_the_unit_that_makes_them_one(name: str, unit: int) -> None:
    """The clock goes on while this runs."""
    seconds = read(**{name: str(int((time.time() + 1_800) * unit))})
    assert seconds is not None
    assert 900 < seconds <= 1_800
    assert read(**{name: str(int((time.time() - 5) * unit))}) is None


@pytest.mark.parametrize("name", NAMES)
def test_dates_are_read_and_those_that_have_passed_ask_for_nothing(name: str) -> None:
    for moment in (time.time() + 1_800, time.time() - 60, 0.0):
        for written in (
            email.utils.formatdate(moment, usegmt=True),
            email.utils.formatdate(moment),
            time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment)),
        ):
            seconds = read(**{name: written})
            assert (seconds is None) is (moment < time.time())
            assert seconds is None or 900 < seconds <= 1_800


@each_of("name", NAMES)
@each_of(
    "given",
    ["", "0", "00", "0.0", "-1", "-30", "soon", "nan", "inf", "-inf", "1e9", "\u0663\u0660", "30s", ".",
     "Wed, 21 Oct 2015",
     "Wed, 21 Oct 99999 07:28:00 GMT", "0001-01-01", "\x00"],
)  # fmt: skip
def test_what_asks_for_no_wait_or_cannot_be_read_leaves_it_to_our_schedule(name: str, given: str) -> None:
    assert read(**{name: given}) is None


@each_of("name", NAMES)
@each_of("given", ["3601", "999999999", "9" * 16, "9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_nothing_is_waited_for_longer_than_an_hour(name: str, given: str) -> None:
    assert read(**{name: given}) == 3_600.0


def test_the_first_header_that_asks_for_a_wait_counts() -> None:
    assert read(Retry_After="0", X_RateLimit_Reset="30") == 30.0
    assert read(Retry_After="7", X_RateLimit_Reset="30") == 7.0


def test_a_503_that_asks_for_no_wait_is_an_outage() -> None:
    for given, error in (("0", DestinationDownError), ("3", ThrottledError)):
        with pytest.raises(error):
            raise_for_status(HttpResponse(status=503, headers={"Retry-After": given}, body=b""))
