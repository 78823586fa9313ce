"""What is read of a process: of that which it exports only what is shown, within bounds, whatever it sends. # R41"""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from status_page.errors import ScrapeFailedError
from status_page.samples import LONGEST_LINE, MOST_SAMPLES, STARTED, Sample, Samples, increases, parse

NAME = "consent_relay_things_total"


def counter(value: float, *, started: float = 1.0, **labels: str) -> Samples:
    return {NAME: [Sample(labels, value)], STARTED: [Sample({}, started)]}


def grown(before: Samples, now: Samples, seconds: float = 2.0) -> list[tuple[float, float]]:
    return [(each.grown, each.rate) for each in increases(before, now, seconds)[NAME]]


def test_only_what_is_asked_for_is_read_of_a_real_page() -> None:
    registry = CollectorRegistry()
    Counter(NAME, "h", ["a"], registry=registry).labels('x"\\\n').inc(3)
    Gauge("consent_relay_other", "h", registry=registry).set(1)
    found = parse(generate_latest(registry).decode(), {NAME})
    assert found == {NAME: [Sample({"a": 'x"\\\n'}, 3.0)]}


def test_what_is_no_number_is_not_known() -> None:
    assert parse("a NaN\nb +Inf\nc 1\n", {"a", "b", "c"}) == {"c": [Sample({}, 1.0)]}


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        ("a{x=1} 2\n", "unreadable"),
        ("a one\n", "unreadable"),
        ('a{x="', "unreadable"),
        ("a" + " " * LONGEST_LINE + "1\n", "too_large"),
        ("a 1\n" * (MOST_SAMPLES + 1), "too_large"),
    ],
)
def test_a_page_that_is_none_is_named(page: str, reason: str) -> None:
    with pytest.raises(ScrapeFailedError) as failed:
        parse(page, {"a"})
    assert failed.value.reason == reason


@given(st.text(alphabet='a{}="\\,\n 1e+-.#xNI\x00é', max_size=200))
def test_no_page_breaks_the_reader(page: str) -> None:
    with suppress(ScrapeFailedError):
        assert set(parse(page, {"a"})) <= {"a"}


def test_a_counter_grows_at_its_pace() -> None:
    assert grown(counter(10), counter(16)) == [(6, 3)]


def test_a_counter_that_is_lower_began_again() -> None:
    assert grown(counter(10), counter(4)) == [(4, 2)]


def test_a_counter_of_a_new_process_began_again_however_far_it_is() -> None:
    assert grown(counter(10), counter(40, started=2.0)) == [(40, 20)]


def test_a_series_that_is_new_has_grown_from_zero() -> None:
    assert grown({STARTED: [Sample({}, 1.0)]}, counter(3)) == [(3, 1.5)]
    assert grown(counter(3, a="x"), counter(5, a="y")) == [(5, 2.5)]


def test_a_gauge_does_not_grow() -> None:
    assert increases({"g": [Sample({}, 1)]}, {"g": [Sample({}, 5)]}, 1.0) == {}
