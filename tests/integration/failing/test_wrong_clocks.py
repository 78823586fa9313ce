"""The host of one process has a wrong clock: no person is permitted longer or earlier than they chose, a withdrawal
wins, and the process is not ready and gives the reason. # R43, R63"""

from __future__ import annotations

import pytest

from tests.integration.failing.failing_system import Answers, FailingSystem

HOUR = 3_600
ENDS_SECONDS = 25.0
PROCESSES = ("api", "ingest", "relay", "suppression", "gate", "propagator")


@pytest.mark.parametrize("hours", [-1, 1], ids=["behind", "ahead"])
@pytest.mark.parametrize("process", PROCESSES)
def test_an_hour_on_one_clock_changes_no_answer(failing: FailingSystem, process: str, hours: int) -> None:
    people = failing.people()
    ending, future, other_future = failing.person(), failing.person(), failing.person()
    failing.permit(ending, ends=ENDS_SECONDS)
    failing.eventually("it is permitted until its end", lambda answers: answers[ending].permitted)

    with failing.shifted_clock(process, hours * HOUR):
        failing.await_readiness(process, 503, "clock")
        failing.permit(future, begins=HOUR / 2)
        failing.permit_by_kafka(other_future, begins=HOUR / 2)
        failing.withdraw(people.withdrawing[0])
        failing.withdraw_by_kafka(people.withdrawing[1])

        def refused(answers: Answers) -> bool:
            permitted = [answers[each].permitted for each in (*people.withdrawing, ending)]
            return not any(permitted) and failing.is_over(ending)

        failing.eventually("who withdrew and what has ended is denied", refused)
    failing.eventually("answers are right", failing.are_right)
