"""Which refusals end a push for good."""

from __future__ import annotations

import pytest

from propagator.connectors.base import PERMIT, SUPPRESS, Accepted, Outcome, Refused, Retryable
from propagator.sending.refusals import Answered, Refusals, Ruling, TargetAction

ONE, OTHER = TargetAction("t1", SUPPRESS), TargetAction("t2", SUPPRESS)
LIFT = TargetAction("t1", PERMIT)
NO, UNKNOWN, YES, LATER = (
    Refused(code="bad"),
    Retryable(reason="http_400", refused=True),
    Accepted(),
    Retryable(reason="x"),
)


def call(*outcomes: Outcome, key: TargetAction = ONE, refused_before: bool = False) -> list[Answered]:
    return [Answered(key=key, outcome=outcome, refused_before=refused_before) for outcome in outcomes]


@pytest.mark.parametrize(
    ("outcomes", "ruling"),
    [
        ([NO], Ruling.ABOUT_ADDRESSES),
        ([NO, YES], Ruling.ABOUT_ADDRESSES),
        ([NO, NO, YES], Ruling.ABOUT_ADDRESSES),
        ([NO, LATER], Ruling.ABOUT_ADDRESSES),
        ([NO, NO, LATER], Ruling.TARGET_SUSPECTED),
        ([NO, NO], Ruling.DESTINATION_HELD),
        ([NO, UNKNOWN], Ruling.DESTINATION_HELD),
        ([UNKNOWN, UNKNOWN], Ruling.DESTINATION_HELD),
    ],
)
def test_the_refusals_of_a_first_call(outcomes: list[Outcome], ruling: Ruling) -> None:
    assert Refusals().judge(call(*outcomes)) == {ONE: ruling}


def test_nothing_was_refused_where_everything_is_tried_again() -> None:
    assert Refusals().judge(call(LATER, YES)) == {}


def test_two_refusals_in_a_row_are_not_about_addresses_unless_another_is_accepted_between() -> None:
    refusals = Refusals()
    assert refusals.judge(call(NO)) == {ONE: Ruling.ABOUT_ADDRESSES}
    assert refusals.judge(call(NO)) == {ONE: Ruling.TARGET_SUSPECTED}
    assert refusals.judge(call(NO)) == {ONE: Ruling.TARGET_HELD}
    refusals.judge(call(YES, key=OTHER) + call(YES, key=LIFT))
    assert refusals.judge(call(NO)) == {ONE: Ruling.TARGET_HELD}
    refusals.judge(call(YES))
    assert refusals.judge(call(NO)) == {ONE: Ruling.ABOUT_ADDRESSES}


def test_one_target_of_a_call_may_refuse_everything_and_another_nothing() -> None:
    rulings = Refusals().judge(call(NO, NO) + call(YES, NO, key=OTHER))
    assert rulings == {ONE: Ruling.TARGET_SUSPECTED, OTHER: Ruling.ABOUT_ADDRESSES}


def test_permissions_never_hold_the_destination() -> None:
    assert Refusals().judge(call(NO, NO, key=LIFT)) == {LIFT: Ruling.TARGET_SUSPECTED}


def test_a_held_destination_is_probed_by_single_pushes_until_it_accepts_one() -> None:
    refusals = Refusals()
    refusals.judge(call(NO, NO))
    assert refusals.judge(call(NO, refused_before=True)) == {ONE: Ruling.DESTINATION_HELD}
    assert refusals.judge(call(NO)) == {ONE: Ruling.DESTINATION_HELD}
    refusals.judge(call(YES))
    for _ in range(3):
        assert refusals.judge(call(NO, refused_before=True)) == {ONE: Ruling.ABOUT_ADDRESSES}


def test_a_target_that_refuses_holds_up_no_other_once_another_accepts() -> None:
    refusals = Refusals()
    refusals.judge(call(NO, NO))
    refusals.judge(call(YES, key=OTHER))
    assert refusals.judge(call(NO, NO)) == {ONE: Ruling.TARGET_HELD}
    assert refusals.judge(call(NO)) == {ONE: Ruling.TARGET_HELD}
