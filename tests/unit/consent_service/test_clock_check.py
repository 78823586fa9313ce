"""A host whose clock differs from the brokers' notices, whichever way it differs. # R63"""

from __future__ import annotations

import math

import pytest

from consent_service.clock_check import ClockCheck

SECOND = 1_000_000
NOON = 1_800_000_000 * SECOND


class Host:
    """A host whose clock is `offset` seconds ahead of the broker's."""

    def __init__(self, offset: float = 0.0) -> None:
        self.offset = offset
        self.elapsed = 5_000 * SECOND
        self.broker_offset = 0.0
        self.check = ClockCheck(clock=lambda: self.broker() + int(self.offset * SECOND), elapsed=lambda: self.elapsed)

    def broker(self) -> int:
        return NOON + self.elapsed

    def append_time(self) -> int:
        return self.broker() + int(self.broker_offset * SECOND)

    def read(self, *, late: float = 0.0, source: int = 0) -> None:
        """A record that was appended `late` seconds ago is read."""
        self.check.observe(source, self.append_time() - int(late * SECOND))

    def write(self, *, seconds: float = 0.01, source: int = 0) -> None:
        """A record is sent and acknowledged."""
        sent = self.elapsed
        self.wait(seconds)
        self.check.observe(source, self.append_time() - int(seconds / 2 * SECOND), not_before=sent)

    def wait(self, seconds: float) -> None:
        self.elapsed += int(seconds * SECOND)


@pytest.mark.parametrize("offset", [0.0, 1.9, -1.9])
def test_clocks_that_agree_are_no_fault(offset: float) -> None:
    host = Host(offset)
    for late in (0.0, 3_600.0, 0.2):
        host.read(late=late)
        host.write()
        host.wait(1)
    assert host.check.readiness() is True


def test_nothing_is_said_before_anything_was_read() -> None:
    assert math.isnan(Host(3_600).check.offset_seconds())
    assert Host(3_600).check.readiness() is True


def test_a_record_from_the_future_shows_that_the_clock_is_behind() -> None:
    host = Host(-3_600)
    host.read(late=7_200)
    assert host.check.readiness() is True  # It is old by nature.
    host.read(late=0.5)
    assert host.check.readiness() == "the clock here is 3599.5 s behind Kafka's: synchronise both hosts (NTP)"


def test_only_a_record_of_known_age_shows_that_the_clock_is_ahead() -> None:
    host = Host(3_600)
    host.read()
    assert host.check.readiness() is True
    host.write()
    assert host.check.readiness() == "the clock here is 3600.0 s ahead of Kafka's: synchronise both hosts (NTP)"


def test_an_acknowledgement_that_comes_late_proves_nothing() -> None:
    host = Host(0)
    host.write(seconds=120)
    assert host.check.readiness() is True


@pytest.mark.parametrize("step", [3_600.0, -3_600.0])
def test_a_step_of_the_own_clock_shows_at_once_and_so_does_its_correction(step: float) -> None:
    host = Host()
    host.write()
    host.offset = step
    assert "3600.0 s" in str(host.check.readiness())
    host.offset = 0.0
    assert host.check.readiness() is True


@pytest.mark.parametrize("wrong", [3_600.0, -3_600.0])
def test_a_broker_whose_clock_is_corrected_is_compared_again(wrong: float) -> None:
    host = Host()
    host.broker_offset = wrong
    host.write()
    assert "3600.0 s" in str(host.check.readiness())
    host.broker_offset = 0.0
    host.wait(61)
    host.write()
    assert host.check.readiness() is True


def test_of_several_brokers_the_one_that_differs_most_counts() -> None:
    host = Host()
    host.write(source=1)
    host.broker_offset = 30.0
    host.write(source=2)
    host.broker_offset = 0.0
    host.write(source=1)
    assert host.check.readiness() == "the clock here is 30.0 s behind Kafka's: synchronise both hosts (NTP)"
