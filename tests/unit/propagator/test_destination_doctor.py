"""What a tool answers about its destination, as a finding."""

from __future__ import annotations

import pytest

from consent_service.doctor.findings import Result
from propagator.cli.doctor import judge
from propagator.cli.verification import DestinationVerification

ASKED = DestinationVerification(requests=2)
RIGHT_FORM = "URL and secrets have the right form; the tool has no request that shows more and changes nothing"


@pytest.mark.parametrize(
    ("verification", "unreachable", "paused", "expected"),
    [
        (ASKED, None, False, [(Result.OK, "knows our account and every target")]),
        (DestinationVerification(), None, False, [(Result.OK, RIGHT_FORM)]),
        (DestinationVerification(), "no connection", False, [(Result.FAULT, "no connection")]),
        (ASKED, None, True, [(Result.WARNING, "paused: nothing is sent, changes wait")]),
        (DestinationVerification(errors=["no list 7"]), None, False, [(Result.FAULT, "no list 7")]),
        (DestinationVerification(warnings=["no campaign"]), None, False, [(Result.WARNING, "no campaign")]),
    ],
)
def test_a_tool_that_does_not_know_us_is_a_fault(
    verification: DestinationVerification,
    unreachable: str | None,
    paused: bool,
    expected: list[tuple[Result, str]],
) -> None:
    found = judge("destination crm", verification, unreachable=unreachable, paused=paused)
    assert [(each.result, each.found) for each in found] == expected
    assert all(bool(each.cure) == (each.result is not Result.OK) for each in found)
