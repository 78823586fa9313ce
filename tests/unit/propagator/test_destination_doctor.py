"""What a tool answers about its destination, as a finding."""

from __future__ import annotations

import pytest

from consent_service.doctor.findings import Result
from propagator.cli.doctor import cure_of, judge
from propagator.cli.verification import DestinationVerification
from propagator.connectors.base import Verified
from propagator.errors import (
    CallFailedError,
    DestinationDownError,
    MisconfiguredError,
    ThrottledError,
    UnknownTargetsError,
)

ASKED = DestinationVerification(requests=2)
CONNECTED = DestinationVerification()
UNKNOWN = UnknownTargetsError("list", {"7": "list 7 does not exist", "8": "list 8 does not exist"})


@pytest.mark.parametrize(
    ("verification", "paused", "expected"),
    [
        (ASKED, False, [(Result.OK, ASKED.shown)]),
        (CONNECTED, False, [(Result.OK, CONNECTED.shown)]),
        (ASKED, True, [(Result.WARNING, "paused: nothing is sent, changes wait")]),
        (
            DestinationVerification(failure=MisconfiguredError("credentials", "401: check the credentials")),
            False,
            [(Result.FAULT, "not verified: credentials: 401: check the credentials")],
        ),
        (
            DestinationVerification(failure=UNKNOWN),
            False,
            [(Result.FAULT, "list 7 does not exist"), (Result.FAULT, "list 8 does not exist")],
        ),
        (
            DestinationVerification(found=Verified(ineffective={"t1": "no campaign"})),
            False,
            [(Result.WARNING, "no campaign")],
        ),
    ],
)
def test_a_tool_that_does_not_know_us_is_a_fault(
    verification: DestinationVerification, paused: bool, expected: list[tuple[Result, str]]
) -> None:
    found = judge("destination crm", verification, credentials=["secret"], paused=paused)
    assert [(each.result, each.found) for each in found] == expected
    assert all(bool(each.cure) == (each.result is not Result.OK) for each in found)


def test_what_was_asked_is_distinguished_from_what_was_only_connected_to() -> None:
    assert "credentials" in ASKED.shown
    assert "nothing was asked" in CONNECTED.shown


@pytest.mark.parametrize(
    ("failure", "field"),
    [
        (MisconfiguredError("credentials"), "`credentials` (account_sid, auth_token)"),
        (UNKNOWN, "`purposes`"),
        (MisconfiguredError("certificate", "check `url`"), "as it says"),
        (ThrottledError("throttled"), "`limits`"),
        (DestinationDownError("timeout"), "`timeout_seconds`"),
        (DestinationDownError("unreachable"), "`url`"),
        (DestinationDownError("http_503"), "`url`"),
    ],
)
def test_a_cure_names_the_field(failure: CallFailedError, field: str) -> None:
    assert field in cure_of(failure, ["account_sid", "auth_token"])
