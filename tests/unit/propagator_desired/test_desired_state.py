"""Verdicts and a purpose mapping in, target states out."""

from __future__ import annotations

from consent_contracts.decisions import Decision
from consent_contracts.verdict import verdicts
from propagator.desired.desired_state import desired_state
from propagator.desired.model import PERMIT, SUPPRESS, DesiredState, ListEntry, Purposes

NOW = 1_700_000_000_000_000
SECOND = 1_000_000


def made(number: int, status: str, purpose: str, *, expires_at: int | None = None, subject: str = "ann") -> Decision:
    at = NOW - 100 * SECOND + number * 10 * SECOND
    return Decision(
        decision_id=f"d{number}",
        subject_ref=subject,
        purpose=purpose,
        status=status,
        effective_at=at,
        recorded_at=at,
        expires_at=expires_at,
    )


def listed(*decisions: Decision) -> ListEntry:
    return ListEntry(
        tenant="acme",
        channel="sms",
        address_key="h1.a",
        sealed_address=None,
        decisions=decisions,
        verdicts=verdicts(decisions),
        written_at=NOW,
    )


def desired(
    *decisions: Decision,
    same: bool = False,
    permissions: bool = True,
    known: tuple[str, ...] = (),
    **targets: tuple[str, ...],
) -> DesiredState:
    purposes = Purposes(targets={name.replace("every", "*"): each for name, each in targets.items()}, same=same)
    return desired_state(listed(*decisions), purposes, known_targets=known, now=NOW, permissions=permissions)


def actions(found: DesiredState) -> dict[str, str]:
    return {each.target: each.action for each in found.targets}


def test_without_a_decision_no_state_is_desired() -> None:
    assert not desired(newsletter=("n",)).targets


def test_a_purpose_decides_on_its_own_target_only() -> None:  # R3
    assert actions(desired(made(1, "withdrawn", "survey"), newsletter=("n",), survey=("s",))) == {"s": SUPPRESS}


def test_a_target_of_several_purposes_is_suppressed_by_one_refusal_and_permitted_by_all() -> None:
    refused, given = made(1, "refused", "survey"), made(2, "given", "newsletter")
    assert actions(desired(refused, given, newsletter=("x",), survey=("x",))) == {"x": SUPPRESS}
    assert actions(desired(given, newsletter=("x",), survey=("x",))) == {}
    both = desired(given, made(3, "given", "survey"), newsletter=("x",), survey=("x",))
    assert actions(both) == {"x": PERMIT}


def test_permissions_are_desired_only_where_they_may_be_sent() -> None:
    given = made(1, "given", "newsletter")
    assert actions(desired(given, newsletter=("n",))) == {"n": PERMIT}
    assert actions(desired(given, newsletter=("n",), permissions=False)) == {}


def test_an_expired_permission_suppresses() -> None:  # R4
    found = desired(made(1, "given", "newsletter", expires_at=NOW - 1), newsletter=("n",), permissions=False)
    assert actions(found) == {"n": SUPPRESS}
    assert found.targets[0].reason == "expired"


def test_a_permission_ends_with_the_earliest_of_its_target() -> None:
    first, second = (
        made(1, "given", "newsletter", expires_at=NOW + 9),
        made(2, "given", "survey", expires_at=NOW + 5),
    )
    assert desired(first, second, newsletter=("x",), survey=("x",)).targets[0].expires_at == NOW + 5


def test_a_refusal_of_everything_reaches_each_target_and_the_global_one() -> None:  # R6
    found = desired(made(1, "objected", "*"), newsletter=("n",), survey=("s",), every=("global",))
    assert actions(found) == {"n": SUPPRESS, "s": SUPPRESS, "global": SUPPRESS}


def test_beside_a_named_purpose_the_star_adds_nothing() -> None:
    refusal, given = made(1, "withdrawn", "*"), made(2, "given", "newsletter")
    found = desired(refusal, given, newsletter=("n",), survey=("s",), every=("n", "s"))
    assert actions(found) == {"n": PERMIT, "s": SUPPRESS}


def test_every_agreeing_decision_is_carried_so_that_each_gets_its_proof() -> None:  # R28
    found = desired(
        made(1, "withdrawn", "newsletter", subject="bob"), made(2, "withdrawn", "newsletter"), newsletter=("n",)
    )
    assert found.targets[0].decision_ids == ("d2", "d1")
    assert found.targets[0].recorded_at == made(2, "withdrawn", "newsletter").recorded_at


def test_a_refusal_without_a_target_is_reported_unless_the_tool_never_sends_for_it() -> None:
    refusal = made(1, "withdrawn", "billing")
    found = desired(refusal, newsletter=("n",))
    assert (found.unmapped_decisions, found.unmapped_recorded_at) == (("d1",), refusal.recorded_at)
    assert desired(refusal, newsletter=("n",), billing=()).unmapped_decisions == ()


def test_a_refusal_that_another_target_carries_is_not_unmapped() -> None:
    found = desired(made(1, "withdrawn", "*"), made(2, "given", "billing"), newsletter=("n",))
    assert (actions(found), found.unmapped_decisions) == ({"n": SUPPRESS}, ())


def test_with_our_own_names_each_purpose_is_a_target() -> None:
    found = desired(made(1, "withdrawn", "*"), made(2, "given", "newsletter"), same=True)
    assert actions(found) == {"*": SUPPRESS, "newsletter": PERMIT}


def test_with_our_own_names_a_known_target_has_the_state_of_the_star() -> None:
    assert actions(desired(made(1, "withdrawn", "*"), same=True, known=("survey",))) == {
        "*": SUPPRESS,
        "survey": SUPPRESS,
    }


def test_a_state_that_is_kept_ends_with_its_permission() -> None:  # R4
    first = made(1, "given", "newsletter", expires_at=NOW + 5)
    entry = listed(first, made(2, "given", "survey", expires_at=NOW + 9))
    purposes = Purposes(targets={"newsletter": ("n",), "survey": ("s",)})
    found = [desired_state(entry, purposes, now=NOW + later, permissions=True) for later in (0, 4, 5, 8, 9)]
    news, survey = [[each.targets[place].action for each in found] for place in (0, 1)]
    assert news == [PERMIT, PERMIT, SUPPRESS, SUPPRESS, SUPPRESS]
    assert survey == [PERMIT] * 4 + [SUPPRESS]
