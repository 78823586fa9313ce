"""What comes of a decision: it takes effect, or another one decides in its place."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent_api.domain.effects import (
    BEFORE_ANY_CHOICE,
    Effect,
    Outcome,
    counts_from,
    forbids,
    lifts_nothing_from,
    of_permission,
    of_refusal,
)
from consent_contracts.decisions import EVERY_PURPOSE, GIVEN, Decision
from consent_contracts.join import SKEW_MICROS, precedence
from consent_contracts.verdict import effective_verdict, verdict, verdicts

SECOND = 1_000_000
NOW = 1_000 * SECOND


def made(name: str, status: str = "withdrawn", at: float = 0, **changes: object) -> Decision:
    values: dict[str, object] = {
        "decision_id": name,
        "subject_ref": "ann",
        "purpose": "newsletter",
        "status": status,
        "effective_at": int(at * SECOND),
        "recorded_at": NOW,
    }
    return Decision(**{**values, **changes})  # type: ignore[arg-type]


def outcome(decision: Decision, addresses: list[list[Decision]], *, now: int) -> Outcome:
    if decision.status == GIVEN:
        return of_permission([verdict(there, decision.purpose) for there in addresses], now=now)
    return of_refusal(decision, addresses, now=now)


def test_a_refusal_that_nothing_lifts_is_in_effect() -> None:
    refusal = made("d1", at=10)
    for others in (
        [],
        [made("d2", GIVEN, at=1)],
        [made("d2", GIVEN, at=11.9)],
        [made("d2", GIVEN, at=20, purpose="x")],
    ):
        assert outcome(refusal, [[refusal, *others]], now=NOW).effect is Effect.IN_EFFECT


def test_a_refusal_that_loses_names_what_decides_and_since_when() -> None:
    refusal, newer = made("d1", at=0), made("d2", GIVEN, at=50)
    found = outcome(refusal, [[refusal], [newer]], now=NOW)
    assert (found.effect, found.superseded_by, found.superseded_since) == (Effect.SUPERSEDED, "d2", 50 * SECOND)


def test_a_refusal_of_everything_is_superseded_by_a_newer_permission_for_any_purpose() -> None:
    refusal = made("d1", at=0, purpose=EVERY_PURPOSE)
    lifted = outcome(refusal, [[refusal, made("d2", GIVEN, at=50, purpose="survey")]], now=NOW)
    assert (lifted.effect, lifted.superseded_by) == (Effect.SUPERSEDED, "d2")


def test_a_refusal_of_an_address_is_superseded_by_any_persons_newer_permission() -> None:
    stop = made("d1", at=0, subject_ref=None)
    assert outcome(stop, [[stop, made("d2", GIVEN, at=50)]], now=NOW).effect is Effect.SUPERSEDED


def test_another_persons_refusal_does_not_hide_that_a_refusal_is_superseded() -> None:
    refusal = made("d1", at=0)
    there = [refusal, made("d2", GIVEN, at=50), made("d3", at=60, subject_ref="bob")]
    assert outcome(refusal, [there], now=NOW).superseded_by == "d2"


def test_a_permission_that_has_ended_lifts_nothing() -> None:
    refusal = made("d1", at=0)
    there = [refusal, made("d2", GIVEN, at=50, expires_at=NOW)]
    assert outcome(refusal, [there], now=NOW).effect is Effect.IN_EFFECT


def test_what_reaches_no_address_is_said_so() -> None:
    for status in ("withdrawn", GIVEN):
        assert outcome(made("d1", status), [], now=NOW).effect is Effect.NO_ADDRESS


@pytest.mark.parametrize(
    ("other", "by"),
    [
        (made("d2", at=0), None),
        (made("d2", at=9), "d2"),
        (made("d2", at=20), "d2"),
        (made("d2", at=1, subject_ref="bob"), "d2"),
        (made("d2", at=20, purpose=EVERY_PURPOSE), "d2"),
        (made("d2", at=20, purpose="survey"), None),
    ],
)
def test_a_permission_is_in_effect_unless_something_forbids(other: Decision, by: str | None) -> None:
    permission = made("d1", GIVEN, at=10)
    found = outcome(permission, [[permission, other]], now=NOW)
    assert (found.effect, found.superseded_by) == (Effect.SUPERSEDED if by else Effect.IN_EFFECT, by)


def test_a_permission_that_had_ended_when_it_came_is_superseded_by_its_end() -> None:
    permission = made("d1", GIVEN, at=10, expires_at=20 * SECOND)
    found = outcome(permission, [[permission]], now=NOW)
    assert (found.effect, found.superseded_by, found.superseded_since) == (Effect.SUPERSEDED, "d1", 20 * SECOND)


DECISIONS = st.lists(
    st.builds(
        made,
        st.uuids().map(str),
        st.sampled_from([GIVEN, "withdrawn", "objected"]),
        st.integers(0, 12),
        subject_ref=st.sampled_from([None, "ann", "bob"]),
        purpose=st.sampled_from(["newsletter", "survey", EVERY_PURPOSE]),
        expires_at=st.sampled_from([None, NOW - 1, NOW + 1]),
    ).filter(lambda each: (each.status, each.purpose) != (GIVEN, EVERY_PURPOSE)),  # No submission records one.
    max_size=8,
)


@given(DECISIONS, DECISIONS)
def test_a_refusal_that_is_said_to_be_in_effect_forbids_at_every_address(
    one: list[Decision], two: list[Decision]
) -> None:
    for refusal in [each for each in one if each.status != GIVEN]:
        if outcome(refusal, [one, [refusal, *two]], now=NOW).effect is Effect.IN_EFFECT:
            for there in (one, [refusal, *two]):
                known = verdicts(there)
                asked = known if refusal.purpose == EVERY_PURPOSE else [refusal.purpose]
                assert not any(effective_verdict(known, purpose, NOW).permitted for purpose in asked)


@given(DECISIONS)
def test_what_is_older_than_a_refusal_or_of_another_person_need_not_be_read(there: list[Decision]) -> None:
    for refusal in [each for each in there if each.status != GIVEN]:
        newer = [
            each
            for each in there
            if each is refusal
            or (precedence(each) > precedence(refusal) and refusal.subject_ref in (None, each.subject_ref))
        ]
        assert outcome(refusal, [there], now=NOW) == outcome(refusal, [newer], now=NOW)


@given(DECISIONS)
def test_a_refusal_without_a_time_is_never_superseded(there: list[Decision]) -> None:
    for refusal in (made("d1", at=5, subject_ref=ref, purpose=p) for ref in (None, "ann") for p in ("newsletter", "*")):
        moved = msgspec.structs.replace(refusal, effective_at=counts_from(refusal, there))
        assert outcome(moved, [[moved, *there]], now=NOW).effect is Effect.IN_EFFECT


@given(DECISIONS, DECISIONS)
def test_a_permission_that_may_not_lift_changes_no_refusal_before_or_after_it(
    before: list[Decision], after: list[Decision]
) -> None:
    """Where nothing forbids before it: with it, nothing is permitted that later or older refusals would forbid without
    it."""
    for permission in (made("d1", GIVEN, at=12, subject_ref=ref) for ref in (None, "ann")):
        if forbids(verdict(before, permission.purpose)):
            continue
        moved = msgspec.structs.replace(permission, effective_at=lifts_nothing_from(permission, before))
        for there in (before, [*before, *(each for each in after if each.status != GIVEN)]):
            assert forbids(verdict([*there, moved], permission.purpose)) == forbids(verdict(there, permission.purpose))


def test_a_permission_that_may_not_lift_counts_from_the_one_that_it_renews() -> None:
    permission, first = made("d2", GIVEN, at=50), made("d1", GIVEN, at=10)
    assert lifts_nothing_from(permission, []) == BEFORE_ANY_CHOICE < SKEW_MICROS
    assert lifts_nothing_from(permission, [first]) == 10 * SECOND
    assert lifts_nothing_from(permission, [made("d1", GIVEN, at=10, subject_ref="bob")]) == BEFORE_ANY_CHOICE
