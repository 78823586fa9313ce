"""The host of one process has a wrong clock: no person is permitted longer or earlier than they chose, a withdrawal
wins, and the process is not ready and gives the reason. # R43, R63"""

from __future__ import annotations

import pytest

from tests.integration.failing.failing_system import Answers, FailingSystem, Person

HOUR = 3_600
ENDS_SECONDS = 15.0
PROCESSES = ("api", "ingest", "relay", "suppression", "gate", "propagator")


@pytest.mark.parametrize("process", PROCESSES)
def test_an_hour_on_one_clock_changes_no_answer(failing: FailingSystem, process: str) -> None:
    """First an hour ahead, then an hour behind: by that clock what ends meanwhile goes on."""
    ending = failing.person()
    shifts = [(hours, failing.people(), failing.person(), failing.person()) for hours in (1, -1)]
    failing.permit(ending, ends=ENDS_SECONDS)
    failing.eventually("it is permitted until its end", lambda answers: answers[ending].permitted)

    with failing.own_clock(process) as shift:
        for hours, people, future, other_future in shifts:
            shift(hours * HOUR)
            failing.await_readiness(process, 503, "clock")
            failing.permit(future, begins=HOUR / 2)
            failing.permit_by_kafka(other_future, begins=HOUR / 2)
            failing.withdraw(people.withdrawing[0])
            failing.withdraw_by_kafka(people.withdrawing[1])

            def refused(answers: Answers, withdrawing: tuple[Person, Person] = people.withdrawing) -> bool:
                return not any(answers[each].permitted for each in withdrawing)

            failing.eventually("who withdrew is denied", refused)

        def ended(answers: Answers) -> bool:
            return failing.is_over(ending) and not answers[ending].permitted

        failing.eventually("what has ended is denied", ended)
    failing.eventually("answers are right", failing.are_right)
