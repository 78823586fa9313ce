"""What "accepted to acknowledged" is measured from, also for what was never accepted as such."""

from __future__ import annotations

from msgspec.structs import replace

from propagator.desired.latency import INHERITED_AFTER_MICROS, latency_starts_at
from propagator.desired.model import SUPPRESS, TargetState

SECOND = 1_000_000
DAY = 86_400 * SECOND
START = 1_760_000_000 * SECOND
REFUSAL = TargetState(
    target="n",
    action=SUPPRESS,
    purposes=("newsletter",),
    reason="withdrawn",
    decision_ids=("d1",),
    occurred_at=START - 5 * SECOND,
    recorded_at=START,
)


def test_a_decision_is_measured_from_its_acceptance() -> None:
    assert latency_starts_at(REFUSAL, START + 2 * SECOND) == START
    assert latency_starts_at(REFUSAL, START + INHERITED_AFTER_MICROS) == START
    assert latency_starts_at(REFUSAL, START - SECOND) == START, "the merge's clock may be slow"


def test_an_inherited_refusal_is_measured_from_the_entry_that_brought_it() -> None:
    assert latency_starts_at(REFUSAL, START + DAY) == START + DAY


def test_a_permission_that_ended_is_measured_from_its_end() -> None:
    ended = replace(REFUSAL, reason="expired", occurred_at=START + 30 * DAY)
    assert latency_starts_at(ended, START + SECOND) == START + 30 * DAY
    assert latency_starts_at(ended, START + 31 * DAY) == START + 30 * DAY, "a slow sweep counts"


def test_an_end_that_was_submitted_is_measured_from_its_acceptance() -> None:
    assert latency_starts_at(replace(REFUSAL, reason="expired"), START + SECOND) == START
