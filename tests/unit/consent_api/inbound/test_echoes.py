"""Which reported opt-outs are our own pushes. # R57"""

from __future__ import annotations

import pytest

from consent_api.ledger.echoes import Push, is_echo
from consent_contracts.verdict import NO_DECISION, Verdict

REFUSED = Verdict(permitted=False, reason="withdrawn", since=1, decision_id="d1")
PERMITTED = Verdict(permitted=True, reason="given", since=1, decision_id="d2")


def push(target: str | None, action: str = "suppress") -> Push:
    return Push(target=target, action=action, reached_at=1)


@pytest.mark.parametrize(
    ("target", "current", "pushes", "echo"),
    [
        ("a", [REFUSED], [push("a")], True),
        ("a", [PERMITTED, REFUSED], [push("a")], True),  # refused for one list, pushed to that list
        ("a", [PERMITTED], [push("b")], False),
        ("a", [REFUSED], [push("a", "permit"), push("a")], False),
        ("a", [REFUSED], [push("b", "permit"), push("a")], True),
        ("a", [REFUSED], [], False),
        (None, [REFUSED], [push("a")], True),
        (None, [REFUSED, PERMITTED], [push("a")], False),
        (None, [NO_DECISION], [push("a")], False),
        (None, [REFUSED], [push("a", "permit"), push("a")], False),
        (None, [REFUSED], [], False),
    ],
)
def test_an_echo_is_known_by_what_was_pushed_last(
    target: str | None, current: list[Verdict], pushes: list[Push], echo: bool
) -> None:
    assert is_echo(target=target, current=current, pushes=pushes) is echo


@pytest.mark.parametrize(("permitted_at", "echo"), [(None, True), (0, True), (1, False), (2, False)])
def test_an_opt_out_from_what_was_permitted_after_the_push_is_a_persons(permitted_at: int | None, echo: bool) -> None:
    assert is_echo(target="a", current=[PERMITTED], pushes=[push("a")], permitted_at=permitted_at) is echo
