"""A second process under our instance id is distinguished from a member without a process. # R43"""

from __future__ import annotations

import pytest

from consent_kafka.errors import DuplicateInstanceIdError
from consent_kafka.instance_watch import Holder, InstanceWatch

GHOST = Holder(member_id="one-7")
NO_MEMBER = Holder(member_id=None)


class Group:
    """Answers as scripted, a second apart; the last answer stays."""

    def __init__(self, *answers: Holder | None) -> None:
        self.answers = list(answers)
        self.now = 1_000.0
        self.looks = 0
        self.watch = InstanceWatch(instance_id="one", session_timeout=8.0, look=self.look, clock=lambda: self.now)

    def look(self) -> Holder | None:
        self.looks += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def replaced(self, *, times: int) -> None:
        for _ in range(times):
            self.watch.replaced()
            self.now += 5.0

    def seconds_to_join(self) -> int:
        seconds = 0
        while not self.watch.may_join():
            assert self.watch.waiting == "waits to see whether another process runs as one"
            self.now += 1.0
            seconds += 1
            assert seconds < 200
        return seconds


def test_who_is_replaced_for_the_first_time_joins_at_once() -> None:
    group = Group(GHOST)
    group.replaced(times=1)
    assert group.seconds_to_join() == 0
    assert group.looks == 0


def test_who_is_replaced_seldom_joins_at_once_each_time() -> None:
    group = Group(GHOST)
    for _ in range(5):
        group.replaced(times=1)
        assert group.seconds_to_join() == 0
        group.now += 61


def test_who_is_replaced_again_joins_once_the_other_member_is_gone() -> None:
    group = Group(*[GHOST] * 9, NO_MEMBER)
    group.replaced(times=2)
    assert group.seconds_to_join() == 9


def test_one_that_outlives_a_session_without_us_is_another_process() -> None:
    group = Group(GHOST)
    group.replaced(times=2)
    with pytest.raises(
        DuplicateInstanceIdError, match=r"another process runs as one: member one-7 is still there 19 s"
    ):
        group.seconds_to_join()


@pytest.mark.parametrize("silence", [None, Holder(member_id="one-7", stable=False)], ids=["no answer", "rebalance"])
def test_a_coordinator_that_was_unavailable_gives_every_member_another_session(silence: Holder | None) -> None:
    group = Group(*[GHOST] * 15, silence, *[GHOST] * 15, silence, silence, *[GHOST] * 15, NO_MEMBER)
    group.replaced(times=2)
    assert group.seconds_to_join() == 48


def test_a_broker_that_does_not_come_back_is_waited_for() -> None:
    group = Group(*[None] * 150, NO_MEMBER)
    group.replaced(times=3)
    assert group.seconds_to_join() == 150
