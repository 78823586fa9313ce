"""Which states of a consumer in its group end by themselves, and the one that a restart ends."""

from __future__ import annotations

from itertools import product

import pytest

from consent_kafka.group_state import GroupState, group_state


@pytest.mark.parametrize(
    ("was_member", "is_member", "asks", "coordinator_known", "state"),
    [
        pytest.param(False, False, False, True, GroupState.NEW, id="it has only just begun"),
        pytest.param(True, True, False, True, GroupState.MEMBER, id="it idles, with partitions or without"),
        pytest.param(True, False, True, True, GroupState.ASKING, id="the group waits for another member"),
        pytest.param(True, False, False, False, GroupState.NO_COORDINATOR, id="the broker does not answer"),
        pytest.param(True, False, False, True, GroupState.LEFT_OUT, id="it was removed, and does not ask"),
    ],
)
def test_the_states_and_what_they_are(
    was_member: bool, is_member: bool, asks: bool, coordinator_known: bool, state: GroupState
) -> None:
    found = group_state(was_member=was_member, is_member=is_member, asks=asks, coordinator_known=coordinator_known)
    assert found is state


def test_only_a_lost_membership_that_is_not_asked_for_is_one_to_restart_for() -> None:
    left_out = [
        facts
        for facts in product((False, True), repeat=4)
        if group_state(**dict(zip(("was_member", "is_member", "asks", "coordinator_known"), facts, strict=True)))
        is GroupState.LEFT_OUT
    ]
    assert left_out == [(True, False, False, True)]
